"""The data path beside its limits, measured in the same run: same bytes, same number of processes.

A put through two DataNodes beside sockets, files and fsync alone; a hot get beside plain pread; a get over
gRPC beside a plain socket that is fed from the file.
"""

import itertools
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from esdfs.blocks import MIB
from esdfs.checksum import chunk_crcs, combine_chunks
from esdfs.rpc.channel import Channels
from esdfs.rpc.datanode import read_range, store_blocks
from esdfs.rpc.local import LocalReaders
from esdfs.rpc.malloc import keep_large_buffers
from esdfs.rpc.messages import BlockRequest, Frame, Target

SIZE_BYTES = 128 * MIB
ROUNDS = 5
ROOT = Path(__file__).parent.parent


def run() -> list[dict[str, Any]]:
    """Rows with ``name``, ``value``, ``unit``, ``limit``, ``limit_name``, ``ratio``."""
    keep_large_buffers()
    with tempfile.TemporaryDirectory(prefix="esdfs-bench-") as directory:
        bench = _Bench(Path(directory))
        try:
            return bench.rows()
        finally:
            bench.close()


class _Bench:
    def __init__(self, directory: Path) -> None:
        self.source = directory / "source"
        piece = os.urandom(4 * MIB)
        with self.source.open("wb") as file:
            for _ in range(SIZE_BYTES // len(piece)):
                file.write(piece)
        self.raw = _RawPipeline(directory)
        self.directory = directory
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.addresses = [self._start(number) for number in (1, 2)]
        self.channels = Channels()
        self.readers = LocalReaders()
        self.block_id = 0

    def _start(self, number: int) -> str:
        config = {
            "node_id": f"dn-{number}",
            "volumes": [str(self.directory / f"dn-{number}")],
            "namenodes": [],
            "reserve_bytes": 0,
            "scrub_period_s": 0,
        }
        node = subprocess.Popen(
            [sys.executable, "-m", "esdfs.datanode.main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self.nodes.append(node)
        assert node.stdin is not None
        assert node.stdout is not None
        node.stdin.write(msgspec.json.encode(config))
        node.stdin.close()
        return str(json.loads(node.stdout.readline())["address"])

    def rows(self) -> list[dict[str, Any]]:
        put, raw_put = _side_by_side(self.put, self.raw_put)
        get, raw_get = _side_by_side(self.get, self.raw_get)
        local, pread = _side_by_side(self.get_local, self.pread)
        return [
            _row("put, 2 replicas, fsynced", put, raw_put, "sockets, files and fsync alone"),
            _row("get, hot, over gRPC", get, raw_get, "a plain socket fed from the file"),
            _row("get, hot, same host", local, pread, "pread of the same file"),
        ]

    def frames(self) -> Iterator[Frame]:
        buffer = memoryview(bytearray(MIB))
        crcs: list[int] = []
        with self.source.open("rb", buffering=0) as file:
            for at in range(0, SIZE_BYTES, MIB):
                file.readinto(buffer)
                mine = chunk_crcs(buffer)
                crcs += mine
                last = at + MIB == SIZE_BYTES
                yield Frame(
                    block_id=self.block_id,
                    data=buffer,
                    offset=at,
                    chunk_crcs=mine,
                    total_size=SIZE_BYTES,
                    generation=int(at == 0),
                    targets=(Target("dn-2", self.addresses[1]),) if at == 0 else (),
                    last=last,
                    crc32c=combine_chunks(crcs, SIZE_BYTES) if last else 0,
                )

    def put(self) -> None:
        self.block_id += 1
        channel = self.channels.get(self.addresses[0])
        (result,) = store_blocks(channel, self.frames(), timeout_s=120)
        assert len(result.receipts) == 2, result

    def raw_put(self) -> None:
        self.raw.put(self.source)

    def get(self) -> None:
        channel = self.channels.get(self.addresses[1])
        pieces = read_range(channel, BlockRequest(block_id=self.block_id), timeout_s=120)
        assert sum(map(len, pieces)) == SIZE_BYTES

    def raw_get(self) -> None:
        assert self.raw.get() == SIZE_BYTES

    def get_local(self) -> None:
        (path,) = (self.directory / "dn-2").glob("*.sock")
        pieces = self.readers.read_range(str(path), BlockRequest(block_id=self.block_id), timeout_s=120)
        assert sum(map(len, pieces)) == SIZE_BYTES

    def pread(self) -> None:
        (path,) = (self.directory / "dn-2" / "current").rglob(f"{self.block_id}_1.data")
        buffer = memoryview(bytearray(MIB))
        with path.open("rb", buffering=0) as file:
            got = sum(os.preadv(file.fileno(), [buffer], at) for at in range(0, SIZE_BYTES, MIB))
        assert got == SIZE_BYTES

    def close(self) -> None:
        self.channels.close()
        self.readers.close()
        self.raw.close()
        for node in self.nodes:
            node.terminate()
            node.wait()
            assert node.stdout is not None
            node.stdout.close()


class _RawPipeline:
    """Two processes that receive, write, pass on and fsync, and nothing else."""

    def __init__(self, directory: Path) -> None:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.address = listeners[0].getsockname()
        nexts = [listeners[1].getsockname(), None]
        spawn = multiprocessing.get_context("fork")
        self.processes = [
            spawn.Process(target=_raw_node, args=(listener, following, directory / f"raw-{number}"))
            for number, (listener, following) in enumerate(zip(listeners, nexts, strict=True))
        ]
        for process in self.processes:
            process.start()
        for listener in listeners:
            listener.close()

    def put(self, source: Path) -> None:
        buffer = memoryview(bytearray(MIB))
        with socket.create_connection(self.address) as connection, source.open("rb", buffering=0) as file:
            connection.sendall(b"p")
            while file.readinto(buffer):
                connection.sendall(buffer)
            assert connection.recv(1) == b"k"

    def get(self) -> int:
        buffer = memoryview(bytearray(MIB))
        got = 0
        with socket.create_connection(self.address) as connection:
            connection.sendall(b"g")
            while count := connection.recv_into(buffer):
                got += count
        return got

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
            process.join()


def _raw_node(listener: socket.socket, following: Any, path: Path) -> None:
    buffer = memoryview(bytearray(MIB))
    for number in itertools.count():
        connection, _ = listener.accept()
        with connection:
            if connection.recv(1) == b"p":
                # A new file each time, as ours are: to write over freed blocks of the disk is cheaper.
                path = path.with_name(f"{path.name}-{number}")
                _raw_receive(connection, following, path, buffer)
            else:
                _raw_send(connection, path, buffer)


def _raw_send(connection: socket.socket, path: Path, buffer: memoryview) -> None:
    with path.open("rb", buffering=0) as file:
        for at in range(0, SIZE_BYTES, MIB):
            os.preadv(file.fileno(), [buffer], at)
            connection.sendall(buffer)


def _raw_receive(connection: socket.socket, following: Any, path: Path, buffer: memoryview) -> None:
    onward = socket.create_connection(following) if following else None
    with path.open("wb", buffering=0) as file:
        if onward:
            onward.sendall(b"p")
        for at in range(0, SIZE_BYTES, MIB):
            filled = 0
            while filled < MIB:
                filled += connection.recv_into(buffer[filled:])
            if onward:
                onward.sendall(buffer)
            os.pwrite(file.fileno(), buffer, at)
        os.fdatasync(file.fileno())
    if onward:
        assert onward.recv(1) == b"k"
        onward.close()
    connection.sendall(b"k")


def _side_by_side(ours: Callable[[], None], limit: Callable[[], None]) -> tuple[float, float]:
    """Medians in MB/s, taken in turn so that a noisy machine disturbs both."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 1):
        for which, work in enumerate((ours, limit)):
            os.sync()
            began = time.perf_counter()
            work()
            if number:  # the first round warms up
                taken[which].append(time.perf_counter() - began)
    first, second = (SIZE_BYTES / 1e6 / statistics.median(seconds) for seconds in taken)
    return first, second


def _row(name: str, value: float, limit: float, limit_name: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value),
        "unit": "MB/s",
        "limit": round(limit),
        "limit_name": limit_name,
        "ratio": round(value / limit, 2),
    }


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row))
