"""Processes beside an event loop whose process has gRPC's threads."""

import asyncio
import signal
import subprocess
import sys

import pytest

from esdfs.namenode.children import Child

ECHO = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1, flush=True)\nsignal.pause()"
)
BESIDE_GRPC = """
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor
import grpc, uvloop
from esdfs.namenode.children import Child

server = grpc.server(ThreadPoolExecutor(4))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
stop = threading.Event()

def call():
    while not stop.is_set():
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                channel.unary_unary("/none/none")(b"", timeout=5)
            except grpc.RpcError:
                pass

callers = [threading.Thread(target=call) for _ in range(3)]
for caller in callers:
    caller.start()

async def start_many():
    for _ in range(60):
        child = await Child.start(["true"])
        assert await child.wait() == 0

uvloop.run(start_many())
stop.set()
for caller in callers:
    caller.join()
server.stop(None)
"""


def run(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_it_is_told_things_and_read() -> None:
    async def all_of_it() -> tuple[bytes, int]:
        child = await Child.start(run(ECHO), piped=True)
        assert child.stdout is not None
        child.tell(b"abc\n")
        line = await child.stdout.readline()
        await child.end(within_s=20)
        assert await child.stdout.readline() == b""
        return line, await child.wait()

    assert asyncio.run(all_of_it()) == (b"cba\n", -signal.SIGTERM)


def test_one_that_does_not_want_to_end_is_killed_and_one_that_ended_is_left_alone() -> None:
    async def all_of_it() -> int:
        child = await Child.start(run(STUBBORN), piped=True)
        assert child.stdout is not None
        await child.stdout.readline()
        await child.end(within_s=0.05)
        await child.end(within_s=0.05)
        child.kill()
        with pytest.raises(BrokenPipeError, match="ended: -9"):
            child.tell(b"nobody")
        return await child.wait()

    assert asyncio.run(all_of_it()) == -signal.SIGKILL


def test_no_handler_of_grpc_runs_in_a_child() -> None:
    """Forked, one child in some thousands was aborted by them; each tells of them on standard error."""
    done = subprocess.run(run(BESIDE_GRPC), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "fork" not in done.stderr
