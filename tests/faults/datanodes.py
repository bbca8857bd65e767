"""A cluster of real processes whose DataNodes die, lose disks, rot, leave, come and fill up, under traffic.

Every file's bytes follow from its path, so that whoever reads one knows whether they are right.
"""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from esdfs.blocks import MIB
from esdfs.client import DFSClient
from tests.cluster import QUICK, Cluster, cluster, eventually
from tests.faults.crowd import Crowd

SETTINGS: Final = QUICK | {"nn.safe_mode_min_ms": "0", "nn.purge_grace_ms": "1000"}
NODES: Final = 6
VOLUMES: Final = 2
COPIES: Final = 2
FLIPS: Final = 200
MEANWHILE: Final = 100
DISK_BYTES: Final = 1 << 30
RECOVERY_S: Final = 300.0
_IN_DIRECTORY: Final = 500
_FILE_BYTES: Final = (500, 3_000)


class Step(NamedTuple):
    """What was done, how long it took until all was well again, and what was seen."""

    what: str
    seconds: float
    seen: str


def content(path: str) -> bytes:
    """A file's bytes."""
    chance = random.Random(path)
    return chance.randbytes(chance.randint(*_FILE_BYTES))


class Traffic(Crowd):
    """Clients that write new files and read old ones, all the time.

    Attributes:
        failed: What no client should ever see.
        slowest_s: The longest that one call took.
    """

    def __init__(self, url: str, paths: Sequence[str], *, pause_s: float = 0.02) -> None:
        self.failed: list[str] = []
        self.written: list[str] = []
        self.reads = 0
        self.slowest_s = 0.0
        self._url = url
        self._paths = list(paths)
        self._pause_s = pause_s
        works = (self._write, self._write, self._read, self._read)
        super().__init__([partial(self._run, one, number) for number, one in enumerate(works)])

    def more(self, count: int) -> float:
        """Wait until so many more files are written; answers how long that took."""
        wanted, began = len(self.written) + count, time.monotonic()
        eventually(lambda: len(self.written) >= wanted, what=f"{count} more files to be written")
        return time.monotonic() - began

    def _run(self, one: Callable[[DFSClient, random.Random, str], None], number: int) -> None:
        chance = random.Random(number)
        with DFSClient(self._url) as dfs:
            turn = 0
            while not self.stopping.wait(self._pause_s):
                turn += 1
                began = time.monotonic()
                try:
                    one(dfs, chance, f"/live-{number}/{turn // _IN_DIRECTORY}/{turn}")
                except Exception as error:  # noqa: BLE001 - each is told
                    self.failed.append(f"{one.__name__} {turn}: {type(error).__name__}: {error}")
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def _write(self, dfs: DFSClient, _: random.Random, path: str) -> None:
        dfs.make_directory(str(Path(path).parent), parents=True)
        dfs.write_bytes(path, content(path))
        self.written.append(path)

    def _read(self, dfs: DFSClient, chance: random.Random, _: str) -> None:
        path = chance.choice(self._paths)
        if dfs.read_bytes(path) != content(path):
            self.failed.append(f"{path}: other bytes than were written")
        self.reads += 1


class Wear:
    """The cluster, and what befalls it. Each method returns when all is well again."""

    def __init__(self, live: Cluster, paths: Sequence[str], traffic: Traffic) -> None:
        self.live = live
        self.paths = list(paths)
        self.traffic = traffic
        self._chance = random.Random(7)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """DataNodes as the NameNode sees them."""
        return {one["node_id"]: one for one in self.live.rest("GET", "/datanodes").body["datanodes"]}

    def blocks(self) -> dict[str, int]:
        found: dict[str, int] = self.live.rest("GET", "/cluster").body["blocks"]
        return found

    def whole(self) -> bool:
        """Whether every block has all its copies, as far as the NameNode knows."""
        blocks = self.blocks()
        return not (blocks["under_replicated"] or blocks["missing"] or blocks["corrupt"] or blocks["pending"])

    def until_whole(self) -> None:
        """Wait until the NameNode thinks so, and then until the disks say so."""
        try:
            eventually(self.whole, within_s=RECOVERY_S)
            # Clients write while the disks are walked through: a block may be seen on one node and not yet on
            # the other. What is lacking now may not be lacking in every later walk.
            lacking = self.lacking()
            eventually(lambda: not lacking & self.lacking())
        except AssertionError as error:
            raise AssertionError(
                f"not whole: {self.blocks()}, {len(self.lacking())} blocks lack a copy"
            ) from error

    def lacking(self) -> set[str]:
        """Replicas that only one node's disks have, as they are walked through one after the other."""
        copies = Counter(name for node in self._running() for name in self._names(node))
        return {name for name, count in copies.items() if count < COPIES}

    def kill_one(self) -> Step:
        """A node dies for good; later it returns."""
        began = time.monotonic()
        self.live.kill("dn-1")
        eventually(lambda: self.nodes()["dn-1"]["status"] == "DEAD", what="dn-1 to be dead")
        dead_s = time.monotonic() - began
        had = self.nodes()["dn-1"]["blocks_stored"]
        self.until_whole()
        whole_s = time.monotonic() - began - dead_s
        self.live.restart("dn-1")
        eventually(lambda: self.nodes()["dn-1"]["status"] == "ACTIVE", what="dn-1 to be back")
        return Step(
            "kill a node", whole_s, f"{had} replicas lost, dead after {dead_s:.1f} s, {had / whole_s:.0f}/s"
        )

    def wipe_volume(self) -> Step:
        """A disk is replaced by an empty one while its node is down for a moment."""
        volume = self.live.volumes("dn-2")[0]
        had = sum(1 for _ in (volume / "current").rglob("*.data"))
        left = sum(1 for _ in (self.live.volumes("dn-2")[1] / "current").rglob("*.data"))
        self.live.kill("dn-2")
        shutil.rmtree(volume)
        volume.mkdir()
        self.live.restart("dn-2")
        began = time.monotonic()
        self.until_whole()
        whole_s = time.monotonic() - began
        return Step("wipe a volume", whole_s, f"{had} of {had + left} replicas lost, {had / whole_s:.0f}/s")

    def flip_bits(self, count: int = FLIPS) -> Step:
        """Bits rot in replicas at rest, in at most one of each block: nobody is ever given one."""
        files = [file for node in self._running() for file in self._replicas(node)]
        self._chance.shuffle(files)
        rotten: dict[str, Path] = {}
        for file in files:
            block = file.name.split("_")[0]
            if block not in rotten and self._flip(file):
                rotten[block] = file
            if len(rotten) == count:
                break
        began = time.monotonic()
        told = self.live.cli("fsck", "--repair", "--deep").stdout.decode().splitlines()
        totals = next(line for line in told if " files, " in line)
        found = sum(1 for node in self._running() for _ in self._aside(node))
        self.until_whole()
        again = [file for file in rotten.values() if file.exists() and not self._sound(file)]
        if again:
            raise AssertionError(f"still there and rotten: {again}")
        return Step("flip bits", time.monotonic() - began, f"{count} flipped, {found} set aside; {totals}")

    def _flip(self, file: Path) -> bool:
        """In place: the same file, as a disk would have it. False when it was moved or removed just now."""
        try:
            with file.open("r+b") as open_file:
                data = bytearray(open_file.read())
                data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
                open_file.seek(0)
                open_file.write(data)
        except FileNotFoundError:
            return False
        return True

    def decommission(self) -> Step:
        """A node is drained and switched off."""
        began = time.monotonic()
        self.live.cli("node", "decommission", "dn-3")
        drained_s = time.monotonic() - began
        held = self._names("dn-3")
        # Twice: a block on its way to another rack may be missed by one walk through the disks, not by two.
        needed = self._needed_on("dn-3") & self._needed_on("dn-3")
        if needed:
            raise AssertionError(
                f"{len(needed)} of {len(held)} replicas are needed on dn-3: {sorted(needed)[:5]}"
            )
        self.live.kill("dn-3", "TERM")
        eventually(lambda: self.nodes()["dn-3"]["status"] == "DEAD", what="dn-3 to be dead")
        self.until_whole()
        return Step("decommission a node", drained_s, f"{len(held)} replicas were on it, none needed")

    def _needed_on(self, node: str) -> set[str]:
        """Replicas of a node that fewer others have than there should be, as the disks are walked through."""
        others = Counter(name for other in self._running() if other != node for name in self._names(other))
        return {name for name in self._names(node) if others[name] < COPIES}

    def add_and_balance(self, threshold_percent: int = 4) -> Step:
        """A new, empty node on the rack of the one that left takes its share."""
        self.live.cli("local", "add", "--dir", str(self.live.dir), "--rack", self.nodes()["dn-3"]["rack"])
        began = time.monotonic()
        before = self._spread()
        self.live.cli("balance", "--threshold", str(threshold_percent), "--bandwidth", "200M")
        after = float(self.live.rest("GET", "/balance").body["ended_spread"])
        balanced_s = time.monotonic() - began
        self.until_whole()
        if not before > threshold_percent / 100 >= after:
            raise AssertionError(f"spread {before} before, {after} after: more than {threshold_percent} %")
        stored = sorted(one["blocks_stored"] for one in self.nodes().values() if one["status"] == "ACTIVE")
        seen = f"furthest from the mean {before:.1%} before, {after:.1%} after; replicas by node {stored}"
        return Step("add a node, balance", balanced_s, seen)

    def _spread(self) -> float:
        return float(self.live.rest("GET", "/balance").body["spread"])

    def fill_disk(self, volumes: Sequence[Path]) -> Step:
        """Somebody else fills a node's disks: it takes no more, and nothing is refused to clients."""
        node = volumes[0].parent.name
        began = time.monotonic()
        for volume in volumes:
            eventually(partial(_fill, volume), what=f"{volume} to be filled")
        eventually(lambda: self.nodes()[node]["available_space"] == 0, what=f"{node} to be full")
        had = self.nodes()[node]["blocks_stored"]
        self.traffic.more(MEANWHILE)
        for volume in volumes:
            (volume / "filler").unlink()
        eventually(lambda: self.nodes()[node]["available_space"] > 0, what=f"{node} to have room again")
        self.until_whole()
        return Step(
            "fill a disk",
            time.monotonic() - began,
            f"{node} had {had} replicas; {MEANWHILE} files written meanwhile",
        )

    def all_read(self) -> Step:
        """Every file that was ever acknowledged, byte by byte."""
        began = time.monotonic()
        paths = [*self.paths, *self.traffic.written]
        with self.live.client() as dfs:
            wrong = [path for path in paths if dfs.read_bytes(path) != content(path)]
        if wrong:
            raise AssertionError(f"{len(wrong)} of {len(paths)} files read differently: {wrong[:5]}")
        return Step("read every file", time.monotonic() - began, f"{len(paths)} files as they were written")

    def _running(self) -> list[str]:
        return [name for name, one in self.nodes().items() if one["status"] == "ACTIVE"]

    def _replicas(self, node: str) -> Iterator[Path]:
        for volume in self.live.volumes(node):
            yield from sorted((volume / "current").rglob("*.data"))

    def _names(self, node: str) -> set[str]:
        return {file.name for file in self._replicas(node)}

    def _aside(self, node: str) -> Iterator[Path]:
        for volume in self.live.volumes(node):
            yield from (volume / "corrupt").glob("*.data")

    def _sound(self, file: Path) -> bool:
        copies = [each for node in self._running() for each in self._replicas(node) if each.name == file.name]
        return len({each.read_bytes() for each in copies}) == 1


def _fill(volume: Path) -> bool:
    """Take what is free, and tell whether that was all: clients write meanwhile.

    Nearly all at first: what takes long fails as a whole when they were quicker. Then the rest.
    """
    free = shutil.disk_usage(volume).free
    with (volume / "filler").open("ab") as filler:
        piece = free - MIB if free > 2 * MIB else free
        if piece:
            os.posix_fallocate(filler.fileno(), filler.tell(), piece)
    return not shutil.disk_usage(volume).free


@contextmanager
def small_disk(node: str, size_bytes: int = DISK_BYTES) -> Iterator[Callable[[Path], list[Path]]]:
    """Gives a node's volumes a disk of their own each: call it with the cluster's directory before `up`."""
    mounted: list[Path] = []

    def mount(directory: Path) -> list[Path]:
        for number in range(1, VOLUMES + 1):
            volume = directory / node / f"data-{number}"
            volume.mkdir(parents=True)
            options = f"size={size_bytes}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(volume)], check=True)
            mounted.append(volume)
        return mounted

    try:
        yield mount
    finally:
        for volume in mounted:
            subprocess.run(["umount", str(volume)], check=True)


def store(live: Cluster, blocks: int) -> list[str]:
    """So many files of one block each; their paths."""
    with tempfile.TemporaryDirectory(prefix="esdfs-b-") as directory:
        names = [f"{number // _IN_DIRECTORY}/{number}" for number in range(blocks)]
        for name in names:
            file = Path(directory) / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content(f"/data/{name}"))
        with live.client() as dfs:
            dfs.put_tree(directory, "/data")
    return [f"/data/{name}" for name in names]


def through_it_all(blocks: int) -> Iterator[Step]:
    """Six nodes in two racks, with two disks each: every misfortune in turn, while clients write and read."""
    with small_disk("dn-5") as mount:
        options = ("--datanodes", str(NODES), "--racks", "2", "--volumes", str(VOLUMES), "--block-size", "1M")
        full: list[Path] = []
        # So much of each disk that a new node is empty by more than the threshold.
        settings = SETTINGS | {"dn.capacity_bytes": str(2_200_000 + 1_000 * blocks)}
        with cluster(*options, settings=settings, prepare=lambda path: full.extend(mount(path))) as live:
            try:
                yield from _through_it_all(live, blocks, full)
            finally:
                live.down()


def _through_it_all(live: Cluster, blocks: int, full: Sequence[Path]) -> Iterator[Step]:
    began = time.monotonic()
    paths = store(live, blocks)
    seconds = time.monotonic() - began
    yield Step("store", seconds, f"{blocks} blocks, two copies each, {blocks / seconds:.0f}/s")
    with Traffic(live.url, paths) as traffic:
        wear = Wear(live, paths, traffic)
        seconds = traffic.more(MEANWHILE)
        yield Step("quiet", seconds, f"{MEANWHILE / seconds:.1f} files/s written")
        for step in (
            wear.kill_one,
            wear.wipe_volume,
            wear.flip_bits,
            wear.decommission,
            wear.add_and_balance,
            lambda: wear.fill_disk(full),
        ):
            yield step()
    yield wear.all_read()
    seen = f"{traffic.reads} reads, {len(traffic.written)} writes, slowest {traffic.slowest_s:.1f} s"
    yield Step("traffic meanwhile", time.monotonic() - began, f"{seen}, {len(traffic.failed)} failed")
    if traffic.failed:
        raise AssertionError(f"{len(traffic.failed)} calls failed: {traffic.failed[:5]}")
