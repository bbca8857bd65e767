"""A network between NameNodes that can be cut, slowed and healed: a TCP proxy for each directed pair.

No root, no kernel module: each NameNode is told (``peer_addresses``) to reach each other one through a
proxy of that pair's own. A cut is silent, as a pulled cable is: connections stay, bytes wait, nothing is
reset. What had waited arrives after the cut is healed, as TCP would repeat it.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self

_HOST: Final = "127.0.0.1"
_CHUNK_BYTES: Final = 1 << 16
_CHUNKS_WAITING_MAX: Final = 64


class Network:
    """Proxies between ``addresses`` (``host:port`` by name), one for each ordered pair.

    It has a thread and an event loop of its own; every method may be called from any other thread.
    """

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses
        self._flows: dict[tuple[str, str], _Flow] = {}
        self._ports: dict[tuple[str, str], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network")

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start()).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._stop()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def address(self, source: str, target: str) -> str:
        """Where ``source`` reaches ``target``."""
        return f"{_HOST}:{self._ports[source, target]}"

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """From now on nothing gets from the first to the second of each pair, on any connection."""
        self._each(pairs, is_open=False)

    def heal(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Undo `cut`."""
        self._each(pairs, is_open=True)

    def delay(self, pairs: Iterable[tuple[str, str]], delay_s: float) -> None:
        """What is sent from now on from the first to the second of each pair arrives this much later."""

        async def set_all() -> None:
            for pair in pairs:
                self._flows[pair].delay_s = delay_s

        self._call(set_all()).result()

    def around(self, name: str) -> list[tuple[str, str]]:
        """Every pair that ``name`` is in, in both directions: cut, they leave it alone."""
        return [pair for pair in self._flows if name in pair]

    def _each(self, pairs: Iterable[tuple[str, str]], *, is_open: bool) -> None:
        async def set_all() -> None:
            for pair in pairs:
                flow = self._flows[pair]
                flow.open.set() if is_open else flow.open.clear()

        self._call(set_all()).result()

    def _call(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _start(self) -> None:
        pairs = [(a, b) for a in self._addresses for b in self._addresses if a != b]
        self._flows = {pair: _Flow() for pair in pairs}
        for source, target in pairs:
            server = await asyncio.start_server(self._accepting(source, target), _HOST, 0)
            self._servers.append(server)
            self._ports[source, target] = server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepting(self, source: str, target: str) -> Any:
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            try:
                await self._connect(source, target, reader, writer)
            except asyncio.CancelledError:
                pass  # the network ends; asyncio would report it as an error of the connection
            finally:
                writer.close()

        return accepted

    async def _connect(
        self, source: str, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = self._flows[source, target], self._flows[target, source]
        # A cut in either direction lets no handshake through.
        await there.open.wait()
        await back.open.wait()
        host, _, port = self._addresses[target].rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return  # nobody listens: the caller sees its connection end
        try:
            # Whichever end goes first, the other learns of it, once nothing keeps the news from it.
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer, there))
                group.create_task(_pump(far_reader, writer, back))
        except* _EndedError:
            pass
        finally:
            far_writer.close()


class _Flow:
    """What happens to bytes from one node to another."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.delay_s = 0.0


class _EndedError(Exception):
    """One end closed the connection."""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: _Flow) -> None:
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_WAITING_MAX)

    async def take() -> None:
        while True:
            data = b""
            with contextlib.suppress(OSError):
                data = await reader.read(_CHUNK_BYTES)
            await chunks.put((loop.time() + flow.delay_s, data))
            if not data:
                return

    taking = asyncio.create_task(take())
    try:
        while True:
            due, data = await chunks.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await flow.open.wait()
            if not data:
                raise _EndedError
            writer.write(data)
            try:
                await writer.drain()
            except OSError:
                raise _EndedError from None
    finally:
        taking.cancel()
