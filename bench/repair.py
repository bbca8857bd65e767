"""How fast lost copies are made anew, what clients notice of it, and how soon the last copies have company.

DataNodes are killed. Copies are bounded by ``copy_bytes_per_s``, set so low that it is neither two cores nor
one disk that bounds them. Heartbeats come every second, as they do unless somebody says otherwise.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final, NamedTuple

from bench.repairing import (
    WINDOW_S,
    CopyMade,
    Puts,
    badly_placed,
    copies,
    declared_dead_s,
    lines,
    status,
    store,
    whole,
)
from bench.serving import row
from esdfs.blocks import MIB
from tests.cluster import QUICK, Cluster, cluster, eventually

ROUNDS: Final = 5
NODES: Final = 6
SETTINGS: Final = QUICK | {
    "nn.safe_mode_min_ms": "0",
    "nn.heartbeat_interval_ms": "1000",
    "nn.inactive_after_ms": "3500",
    "nn.dead_after_ms": "6000",
    "dn.slow_fsync_ms": "0",
    "dn.balance_threshold_percent": "0",
}


class Stored(NamedTuple):
    """Files of one block each, and what each DataNode may copy: at least twenty seconds of it."""

    file_bytes: int
    files: int
    cap_bytes_per_s: int


LARGE: Final = Stored(8 * MIB, 300, 5_000_000)
SMALL: Final = Stored(64 << 10, 18_000, 4_000_000)
DRAINED: Final = Stored(8 * MIB, 120, 8_000_000)
THREEFOLD: Final = Stored(128 << 10, 3_000, 1_000_000)
QUIET_S: Final = 8 * WINDOW_S
SHARE_OF_CAP: Final = 0.7
SHARE_OF_PUTS: Final = 0.6
START_S: Final = 1.0


def run(rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """Rows.

    Args:
        rounds: Of last copies; each kills two DataNodes at once, and then two one after the other.
    """
    yield from _large()
    yield from _small()
    yield from _drained()
    yield from _last_copies(rounds)


def _large() -> Iterator[dict[str, Any]]:
    with _running(LARGE) as live:
        with Puts(live) as puts:
            began_s = time.time()
            eventually(lambda: time.time() - began_s >= QUIET_S, what="some quiet seconds")
            made = _lose_one(live)
        quiet = puts.rate(began_s, began_s + QUIET_S)
        during = puts.rate(min(copy.begun_s for copy in made), max(copy.made_s for copy in made))
    yield from _used("blocks of 8 MiB, and of what is put", made, LARGE)
    yield row("puts of 1 MiB by 4 clients before it", quiet, "files/s", None, "")
    yield row("puts meanwhile", during, "files/s", quiet, f"before; {SHARE_OF_PUTS} is asked for")


def _small() -> Iterator[dict[str, Any]]:
    with _running(SMALL) as live:
        made = _lose_one(live)
    yield from _used("blocks of 64 KiB", made, SMALL)


def _drained() -> Iterator[dict[str, Any]]:
    """A DataNode on one of two racks is decommissioned: its blocks belong on the two others there."""
    with _running(DRAINED, "--racks", "2") as live:
        had = len(set((live.volume("dn-1") / "current").rglob("*.data")))
        since_s = time.time()
        live.cli("node", "decommission", "dn-1")
        eventually(lambda: whole(live) and not badly_placed(live), what="every block to be on two racks")
        made = copies(live, since_s)
    yield row(
        f"copies made of the {had} blocks of a drained DataNode, two racks",
        len(made),
        "copies",
        had,
        "one each",
    )


def _lose_one(live: Cluster) -> list[CopyMade]:
    """Kill a DataNode; the copies that replaced its own."""
    since_s = time.time()
    live.kill("dn-1")
    eventually(lambda: status(live, "dn-1") == "DEAD", what="dn-1 to be dead")
    eventually(lambda: copies(live, since_s), what="a first copy")
    eventually(lambda: whole(live), within_s=300, what="every block to have its copies")
    return copies(live, since_s)


def _used(what: str, made: list[CopyMade], stored: Stored) -> Iterator[dict[str, Any]]:
    began_s, ended_s = min(copy.begun_s for copy in made), max(copy.made_s for copy in made)
    sources = sorted({copy.node_id for copy in made})
    caps = len(sources) * stored.cap_bytes_per_s
    copied = sum(copy.size_bytes for copy in made)
    yield row(
        f"repair, {what}: {len(made)} copies by {len(sources)} DataNodes in {ended_s - began_s:.1f} s",
        copied / (ended_s - began_s) / 1e6,
        "MB/s",
        caps / 1e6,
        f"their caps; {SHARE_OF_CAP} is asked for",
    )
    # Who has the most of what was lost is the last: that is a matter of chance.
    all_busy_s = min(max(copy.made_s for copy in made if copy.node_id == source) for source in sources)
    meanwhile = sum(copy.size_bytes for copy in made if copy.made_s <= all_busy_s)
    yield row(
        "the same until the first of them was done",
        meanwhile / (all_busy_s - began_s) / 1e6,
        "MB/s",
        caps / 1e6,
        "their caps",
    )


@contextmanager
def _running(stored: Stored, *more: str, replication: int = 2) -> Iterator[Cluster]:
    """Six DataNodes that have these files; ``more`` options."""
    options = ("--datanodes", str(NODES), "--block-size", "8M", *more)
    settings = SETTINGS | {"dn.copy_bytes_per_s": str(stored.cap_bytes_per_s)}
    with cluster(*options, settings=settings) as live:
        store(live, stored.files, stored.file_bytes, replication)
        yield live


def _last_copies(rounds: int) -> Iterator[dict[str, Any]]:
    """Two of six DataNodes are lost, of three copies each: some blocks have one left, more have two."""
    at_once: list[float] = []
    in_work: list[float] = []
    with _running(THREEFOLD, replication=3) as live:
        names = [node["id"] for node in live.info["datanodes"]]
        for number in range(rounds):
            first, second = names[number % NODES], names[(number + 1) % NODES]
            at_once.append(_until_begun(live, first, second, wait=False))
            in_work.append(_until_begun(live, second, first, wait=True))
    for what, waits in (
        ("two nodes dead at once", at_once),
        ("the second while the first one's is in work", in_work),
    ):
        for of, seconds in (("median", statistics.median(waits)), ("longest", max(waits))):
            name = f"from DEAD to a last copy's repair, {what}, {of} of {rounds}"
            yield row(name, seconds, "s", START_S, "what was asked for")


def _until_begun(live: Cluster, first: str, second: str, *, wait: bool) -> float:
    """Seconds from the second one's declared death to the first copy of a block with one copy left.

    Args:
        live: All well; and again on return.
        first: Killed first.
        second: Killed second.
        wait: Kill the second one when what the first one had is being copied.
    """
    since_s = time.time()
    live.kill(first)
    if wait:
        eventually(lambda: len(copies(live, since_s)) > NODES, what="copies to be in work")
    live.kill(second)
    eventually(lambda: status(live, second) == status(live, first) == "DEAD", what="both to be dead")
    eventually(lambda: _begun_of_last(live, since_s), what="a copy of a last copy")
    dead_s = max(declared_dead_s(live, node, since_s) for node in (first, second))
    begun_s = min(_begun_of_last(live, since_s))
    for node in (first, second):
        live.restart(node)
    eventually(lambda: status(live, first) == status(live, second) == "ACTIVE", what="both to be back")
    eventually(lambda: whole(live), within_s=120, what="every block to have its copies")
    return begun_s - dead_s


def _begun_of_last(live: Cluster, since_s: float) -> list[float]:
    """When copies were begun of blocks with one copy left."""
    last = {
        str(line["block_id"])
        for line in lines(live, "nn-1")
        if line["at_s"] >= since_s and line["event"] == "copy wanted" and "one_left" in line["why"]
    }
    told = chain.from_iterable(lines(live, node["id"]) for node in live.info["datanodes"])
    return [
        line["at_s"]
        for line in told
        if line["at_s"] >= since_s and line["event"] == "copy begun" and line["block_id"] in last
    ]
