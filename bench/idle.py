"""A command socket with nothing behind it: each call of a frame is answered at once. The real one's floor.

``python -m bench.idle PATH`` serves until its standard input ends.
"""

import asyncio
import sys

import uvloop

from esdfs.namenode import frames


async def serve(path: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = frames.LENGTH.unpack(await reader.readexactly(4))
                calls = frames.decode_calls(await reader.readexactly(length))
                writer.write(frames.encode([frames.Answer(call.id, 1, 1) for call in calls]))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_unix_server(answer, path)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
