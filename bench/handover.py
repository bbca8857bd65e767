"""Planned transfers under load: how long writes wait while leadership moves, by command and by SIGTERM."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from esdfs.client import DFSClient
from tests.faults.crowd import Crowd

ROUNDS = 20
STOPS = 5
WRITERS = 4


def run() -> list[dict[str, Any]]:
    """Rows; about a minute."""
    directory = Path(tempfile.mkdtemp(prefix="esdfs-b-"))
    try:
        info = json.loads(
            _esdfs("local", "up", "--dir", str(directory), "--namenodes", "2", "--witness", "--json")
        )
        try:
            with _Writers(info["urls"]) as writers:
                outages = [writers.outage(_Transfer(info["urls"])) for _ in range(ROUNDS)]
                stops = [writers.outage(_Stop(info, directory)) for _ in range(STOPS)]
        finally:
            _esdfs("local", "down", "--dir", str(directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return [
        _row(f"longest wait of a write over a transfer by command, median of {ROUNDS}", median(outages)),
        _row(f"longest wait of a write over a transfer by command, longest of {ROUNDS}", max(outages)),
        _row(f"longest wait of a write over SIGTERM of the leader, median of {STOPS}", median(stops)),
        _row(f"longest wait of a write over SIGTERM of the leader, longest of {STOPS}", max(stops)),
    ]


class _Transfer:
    def __init__(self, urls: list[str]) -> None:
        self._client = DFSClient(",".join(urls))

    def act(self) -> None:
        self._client.control.change("POST", "/quorum/transfer", dict[str, Any], {"to": ""})

    def undo(self) -> None:
        self._client.close()


class _Stop:
    def __init__(self, info: dict[str, Any], directory: Path) -> None:
        self._info, self._directory = info, directory
        self._stopped = ""

    def act(self) -> None:
        with DFSClient(",".join(self._info["urls"])) as client:
            self._stopped = client.control.get("/quorum", dict[str, Any])["leader"]
        _esdfs("local", "kill", self._stopped, "--signal", signal.SIGTERM.name, "--dir", str(self._directory))

    def undo(self) -> None:
        _esdfs("local", "restart", self._stopped, "--dir", str(self._directory))


class _Writers(Crowd):
    """Threads that make directories as fast as they are answered."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = ",".join(urls)
        self._acknowledged: list[list[float]] = [[] for _ in range(WRITERS)]
        super().__init__([partial(self._write, number) for number in range(WRITERS)])

    def _write(self, number: int) -> None:
        times = self._acknowledged[number]
        with DFSClient(self._urls) as client:
            while not self.stopping.is_set():
                client.make_directory(f"/w{number}-{len(times)}")
                times.append(time.monotonic())

    def _more(self, count: int) -> None:
        wanted = [len(times) + count for times in self._acknowledged]
        while any(len(times) < least for times, least in zip(self._acknowledged, wanted, strict=True)):
            assert self.all_work(), "a writer failed"
            self.stopping.wait(0.01)

    def outage(self, event: _Transfer | _Stop) -> float:
        """The longest time between two answers, to whomever, over what happens."""
        self._more(25)
        since = time.monotonic()
        event.act()
        self._more(25)
        until = time.monotonic()
        event.undo()
        times = sorted(at for times in self._acknowledged for at in times)
        return max(after - before for before, after in pairwise(times) if after > since and before < until)


def _row(what: str, seconds: float) -> dict[str, Any]:
    milliseconds = round(seconds * 1e3, 1)
    return {
        "name": what,
        "value": milliseconds,
        "unit": "ms",
        "limit": None,
        "limit_name": None,
        "ratio": None,
    }


def _esdfs(*args: str) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "esdfs.cli.app", *args], check=True, capture_output=True
    ).stdout
