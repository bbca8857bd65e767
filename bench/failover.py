"""Three NameNodes beside one: how long a lost leader leaves nobody to answer, and what a majority costs.

The leader is killed, frozen, cut off and asked to leave, in turn, while clients write and read at all three.
Every round's history is checked for linearizability, and every acknowledged write is looked for at the end.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.load import Plan, Result
from esdfs.client import DFSClient
from tests.faults.history import evidence
from tests.faults.load import Load
from tests.faults.rig import PLANNED, Fault, Rig, Verdict, rig

ROUNDS = 12
SECONDS = 3.0
CALLERS = 64
PLANNED_EVERY = 4  # one round in so many is a planned transfer
MINUTES = 0.5
SLICE_S = 10.0
SHOWN = 20  # calls, up to the one that no order explains

# What a failover may take: the middle, one in a hundred, and the longest.
P50_S, P99_S, MAX_S, TRANSFER_S = 0.8, 1.5, 3.0, 0.1


def run(rounds: int = ROUNDS, minutes: float = MINUTES) -> Iterator[dict[str, Any]]:
    """Rows; about six seconds a round.

    Args:
        rounds: How often the leader is lost; 200 for a full proof.
        minutes: Of full load that should depose no leader; 60 for a full proof.
    """
    with tempfile.TemporaryDirectory(prefix="esdfs-b-") as directory:
        with _cluster(Path(directory) / "1", 1) as one:
            alone = _rate(one["urls"][0])
        with _cluster(Path(directory) / "3", 3) as three:
            together = _rate(_leader(three)["rest"])
            yield _row(
                f"needless leader changes in {minutes:g} minutes of full load",
                _deposed(three, minutes),
                "changes",
                1,
                "in an hour",
            )
    name = f"REST mkdir, {CALLERS} callers, three voters"
    yield _row(name, together, "operations/s", alone, "the same with one voter")
    seed = time.time_ns() % 1_000_000
    with rig("--datanodes", "1", seed=seed) as cluster:
        load = Load(cluster.urls, seed=seed)
        load.start()
        try:
            _lose_leaders(cluster, load, rounds)
        finally:
            load.stop()
        assert not load.failed, load.failed
        verdict = cluster.verdict(load)
    for fault, waits in verdict.outages_s.items():
        sys.stderr.write(f"bench: {fault.value}: {' '.join(f'{wait:.3f}' for wait in sorted(waits))} s\n")
    yield from _rows(verdict, rounds)
    for part in verdict.unexplained:
        sys.stderr.write("".join(f"{operation}\n" for operation in evidence(part)[-SHOWN:]))


def _lose_leaders(cluster: Rig, load: Load, rounds: int) -> None:
    unplanned, orderly = [Fault.KILL, Fault.FREEZE, Fault.CUT], [Fault.TRANSFER, Fault.LEAVE]
    began = time.monotonic()
    for number in range(rounds):
        turn, place = divmod(number, PLANNED_EVERY)
        if place == PLANNED_EVERY - 1:
            fault = orderly[turn % len(orderly)]
        else:
            fault = unplanned[(number - turn) % len(unplanned)]
        outage = cluster.run(fault, load)
        sys.stderr.write(
            f"bench: round {number + 1} of {rounds}, {time.monotonic() - began:.0f} s: {outage.node},"
            f" {fault.value}; {len(load.acknowledged)} writes, {len(load.history)} calls to check\n"
        )


def _rows(verdict: Verdict, rounds: int) -> Iterator[dict[str, Any]]:
    crashes = [wait for fault, waits in verdict.outages_s.items() if fault not in PLANNED for wait in waits]
    yield from _waits("first write after any fault", crashes, (P50_S, P99_S, MAX_S))
    for fault, waits in verdict.outages_s.items():
        if fault not in PLANNED:
            yield from _waits(f"first write after {fault.value}", waits, (P50_S, P99_S, MAX_S))
    for fault in verdict.quiet_s:
        if fault in PLANNED:
            yield from _waits(f"no write during {fault.value}", verdict.quiet_s[fault], (TRANSFER_S,) * 3)
    found = f"in {rounds} rounds, {verdict.acknowledged} writes, {verdict.calls.total()} calls checked"
    yield _row(f"acknowledged writes lost {found}", len(verdict.lost), "writes", 0)
    yield _row("requests done twice", len(verdict.twice), "keys", 0)
    yield _row(
        "histories that no order explains (a stale read, a lost or repeated write)",
        len(verdict.unexplained),
        "objects",
        0,
    )
    yield _row("leader changes beyond the faults", verdict.needless, "changes")


def _waits(name: str, waits: Sequence[float], limits: tuple[float, float, float]) -> Iterator[dict[str, Any]]:
    ordered = sorted(waits)
    at = f"{name}, {{}} of {len(waits)}"
    yield _row(at.format("median"), median(ordered), "s", limits[0], "must not take longer")
    yield _row(at.format("p99"), ordered[ceil(0.99 * len(ordered)) - 1], "s", limits[1], "likewise")
    yield _row(at.format("longest"), ordered[-1], "s", limits[2], "likewise")


def _deposed(info: dict[str, Any], minutes: float) -> int:
    """How often the leader changed under as many callers as keep all busy, with nothing wrong."""
    first = _epoch(info)
    ends = time.monotonic() + minutes * 60
    while (left_s := ends - time.monotonic()) > 0:
        done = _loaded(_leader(info)["rest"], min(SLICE_S, left_s))
        rate = "its leader left it" if done is None else f"{done.operations / done.seconds:.0f} operations/s"
        sys.stderr.write(f"bench: full load, {left_s:.0f} s to go: {rate}; epoch {_epoch(info)}\n")
    return _epoch(info) - first


def _epoch(info: dict[str, Any]) -> int:
    with DFSClient(",".join(info["urls"])) as client:
        return int(client.control.get("/cluster", dict[str, Any])["epoch"])


def _leader(info: dict[str, Any]) -> dict[str, str]:
    """The NameNode that leads, by asking whichever answers."""
    with DFSClient(",".join(info["urls"])) as client:
        name = client.control.get("/cluster", dict[str, Any])["leader"]
    found: dict[str, str] = next(node for node in info["namenodes"] if node["id"] == name)
    return found


def _rate(url: str) -> float:
    result = _loaded(url, SECONDS)
    assert result is not None, "the NameNode ended"
    assert not result.failures, f"{result.failures} requests failed"
    return result.operations / result.seconds


def _loaded(url: str, seconds: float) -> Result | None:
    """What ``CALLERS`` got done; None when the NameNode ended meanwhile."""
    tag = f"r{time.monotonic_ns():x}"[-10:]
    plan = Plan(url.removeprefix("http://"), CALLERS, seconds, "make", "", tag)
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=False,
    )
    return msgspec.json.decode(done.stdout, type=Result) if done.returncode == 0 else None


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
    def rounded(number: float) -> float:
        return round(number, 3) if number < 100 else round(number)

    return {
        "name": name,
        "value": rounded(value),
        "unit": unit,
        "limit": None if limit is None else rounded(limit),
        "limit_name": limit_name or None,
        "ratio": None if not limit else round(value / limit, 2),
    }
