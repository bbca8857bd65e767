"""Small files through the client library, as users move them: one caller, 16 callers, whole trees.

The limit of a put is the disk's: each small file costs the journal two fsyncs and each of two DataNodes
three (data, meta, directory). Measured beside it: how often a plain program writes 4 KiB and fsyncs.
"""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from esdfs.client import DFSClient

SIZE_BYTES = 4096
ROUNDS = 3
ALONE = 100
TOGETHER = 320
CALLERS = 16
TREE = 1000
_FSYNCS_PER_FILE = 2 * 3  # of two DataNodes; the journal's are shared by all that wait


def run(url: str) -> list[dict[str, Any]]:
    """Rows with ``name``, ``value``, ``unit``, ``limit``, ``limit_name``, ``ratio``."""
    with tempfile.TemporaryDirectory(prefix="esdfs-bench-") as directory, DFSClient(url) as client:
        return _Bench(client, Path(directory)).rows()


class _Bench:
    def __init__(self, client: DFSClient, directory: Path) -> None:
        self.client = client
        self.directory = directory
        self.top = f"/bench-client-{time.time_ns()}"
        self.small = directory / "small"
        self.small.write_bytes(os.urandom(SIZE_BYTES))
        self.number = 0
        self.lock = threading.Lock()

    def rows(self) -> list[dict[str, Any]]:
        self.client.make_directory(self.top)
        try:
            self._plant()
            alone = self._fsyncs_s(1) / _FSYNCS_PER_FILE
            together = self._fsyncs_s(CALLERS) / _FSYNCS_PER_FILE
            requests_s = self._best(ALONE, 1, lambda: self.client.stat(self.top))
            return [
                _row("put 4 KiB, 1 caller", self._puts(ALONE, 1), alone, "fsyncs, 1 thread / 6"),
                _row(
                    "put 4 KiB, 16 callers", self._puts(TOGETHER, CALLERS), together, "fsyncs, 16 threads / 6"
                ),
                _row("put -r of 1000 x 4 KiB", self._put_tree(), together, "fsyncs, 16 threads / 6"),
                _row("get 4 KiB, 1 caller", self._gets(ALONE, 1), requests_s, "stat, 1 caller"),
                _row("get 4 KiB, 16 callers", self._gets(TOGETHER, CALLERS), None, None),
                _row("get -r of 1000 x 4 KiB", self._get_tree(), None, None),
            ]
        finally:
            self.client.remove_directory(self.top, recursive=True)

    def _plant(self) -> None:
        for number in range(TREE):
            file = self.directory / "tree" / f"d{number % 10}" / f"f{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(number.to_bytes(4, "big") * (SIZE_BYTES // 4))

    def _fsyncs_s(self, callers: int) -> float:
        data = self.small.read_bytes()
        files = [(self.directory / f"fsync{number}").open("wb", buffering=0) for number in range(callers)]
        free = list(files)

        def write() -> None:
            file = free.pop()
            file.write(data)
            os.fsync(file.fileno())
            free.append(file)

        try:
            return self._best(TOGETHER, callers, write)
        finally:
            for file in files:
                file.close()

    def _best(self, count: int, callers: int, call: Callable[[], object]) -> float:
        """Calls a second: the median of some rounds."""
        rates = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            with ThreadPoolExecutor(callers) as pool:
                for done in [pool.submit(call) for _ in range(count)]:
                    done.result()
            rates.append(count / (time.perf_counter() - began))
        return statistics.median(rates)

    def _next(self) -> str:
        with self.lock:
            self.number += 1
            return f"{self.top}/f{self.number}"

    def _puts(self, count: int, callers: int) -> float:
        return self._best(count, callers, lambda: self.client.put_file(self.small, self._next()))

    def _gets(self, count: int, callers: int) -> float:
        path = f"{self.top}/f1"
        return self._best(count, callers, lambda: self.client.read_bytes(path))

    def _put_tree(self) -> float:
        rates = []
        for number in range(ROUNDS):
            began = time.perf_counter()
            self.client.put_tree(self.directory / "tree", f"{self.top}/t{number}")
            rates.append(TREE / (time.perf_counter() - began))
        return statistics.median(rates)

    def _get_tree(self) -> float:
        rates = []
        for number in range(ROUNDS):
            began = time.perf_counter()
            self.client.get_tree(f"{self.top}/t{number}", self.directory / f"back{number}")
            rates.append(TREE / (time.perf_counter() - began))
        return statistics.median(rates)


def _row(name: str, value: float, limit: float | None, limit_name: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 1),
        "unit": "files/s",
        "limit": None if limit is None else round(limit, 1),
        "limit_name": limit_name,
        "ratio": None if limit is None else round(value / limit, 3),
    }
