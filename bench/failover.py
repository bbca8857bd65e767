"""Three NameNodes beside one: how long a killed leader leaves nobody to answer, what a majority costs."""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.load import Plan, Result
from esdfs.client import DFSClient

ROUNDS = 10
SECONDS = 3.0
CALLERS = 64


def run() -> list[dict[str, Any]]:
    """Rows; about two minutes."""
    with tempfile.TemporaryDirectory(prefix="esdfs-b-") as directory:
        with _cluster(Path(directory) / "1", 1) as one:
            alone = _rate(one["urls"][0])
        with _cluster(Path(directory) / "3", 3) as three:
            together = _rate(_leader(three)["rest"])
            outages = _outages(three, str(Path(directory) / "3"))
    return [
        _row(
            f"REST mkdir, {CALLERS} callers, three voters",
            together,
            "operations/s",
            alone,
            "the same with one voter",
        ),
        _row(f"outage on kill -9 of the leader, median of {ROUNDS}", median(outages), "s"),
        _row(f"outage on kill -9 of the leader, longest of {ROUNDS}", max(outages), "s"),
    ]


def _outages(info: dict[str, Any], directory: str) -> list[float]:
    """The longest wait for an acknowledgement around each kill, with one writer; nothing may be lost."""
    acknowledged: list[tuple[float, str]] = []
    stop = threading.Event()
    urls = ",".join(info["urls"])

    def write() -> None:
        with DFSClient(urls) as client:
            while not stop.is_set():
                path = f"/w-{len(acknowledged)}"
                client.make_directory(path)
                acknowledged.append((time.monotonic(), path))

    def more(count: int) -> None:
        wanted = len(acknowledged) + count
        while len(acknowledged) < wanted:
            assert writer.is_alive(), "the writer failed"
            stop.wait(0.01)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    outages = []
    for _ in range(ROUNDS):
        more(50)
        killed = _leader(info)["id"]
        since = time.monotonic()
        _local("kill", killed, directory=directory)
        more(50)
        times = [at for at, _ in acknowledged]
        outages.append(max(after - before for before, after in pairwise(times) if after > since))
        _local("restart", killed, directory=directory)
    stop.set()
    writer.join()
    with DFSClient(urls) as client:
        there = {entry.path for entry in client.list_directory("/")}
    assert {path for _, path in acknowledged} <= there, "an acknowledged directory is lost"
    return outages


def _leader(info: dict[str, Any]) -> dict[str, str]:
    """The NameNode that leads, by asking whichever answers."""
    with DFSClient(",".join(info["urls"])) as client:
        name = client.control.get("/cluster", dict[str, Any])["leader"]
    found: dict[str, str] = next(node for node in info["namenodes"] if node["id"] == name)
    return found


def _rate(url: str) -> float:
    plan = Plan(url.removeprefix("http://"), CALLERS, SECONDS, "make", "", "rate")
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
    )
    result = msgspec.json.decode(done.stdout, type=Result)
    assert not result.failures, f"{result.failures} requests failed"
    return result.operations / result.seconds


def _local(*args: str, directory: str) -> bytes:
    command = [sys.executable, "-m", "esdfs.cli.app", "local", *args, "--dir", directory]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


@contextmanager
def _cluster(directory: Path, namenodes: int) -> Iterator[dict[str, Any]]:
    up = ("up", "--namenodes", str(namenodes), "--datanodes", "1", "--json")
    try:
        yield json.loads(_local(*up, directory=str(directory)))
    finally:
        _local("down", directory=str(directory))
        shutil.rmtree(directory)


def _row(
    name: str, value: float, unit: str, limit: float | None = None, limit_name: str = ""
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 2) if value < 100 else round(value),
        "unit": unit,
        "limit": None if limit is None else round(limit),
        "limit_name": limit_name or None,
        "ratio": None if limit is None else round(value / limit, 2),
    }
