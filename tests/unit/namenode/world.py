"""A NameNode's core without processes: real SQLite, real LMDB, in one thread."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from esdfs.errors import NotEnoughDataNodes
from esdfs.ids import Micros, Nanos
from esdfs.journal.sql import open_journal
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.commands import Command
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import EventControlRecords
from esdfs.namenode.engine import Engine, Internal, Request, Settled
from esdfs.namenode.events import Event
from esdfs.namenode.formatting import cluster_settings, format_namenode
from esdfs.namenode.frames import Execute
from esdfs.namenode.housekeeping import Chore
from esdfs.namenode.leases import LeaseTable
from esdfs.namenode.member import examine
from esdfs.namenode.metadata_manager import MetadataManager
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import catch_up
from esdfs.namenode.projection.snapshot import Snapshot
from esdfs.namenode.projection.writer import Writer
from esdfs.namenode.upcasters import LEVEL_NEWEST
from tests.lone import LoneVoter

T = TypeVar("T")


class FakeClock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000

    def monotonic_ns(self) -> Nanos:
        return Nanos(self.now_us * 1000)

    def wall_us(self) -> Micros:
        return Micros(self.now_us)

    def sleep(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)


class CountingRng:
    """Predictable identities."""

    def __init__(self) -> None:
        self._next = 0

    def randrange(self, stop: int) -> int:
        self._next += 1
        return self._next % stop

    def random(self) -> float:
        return 0.5

    def choice(self, items: Sequence[T]) -> T:
        return items[0]

    def token_bytes(self, size: int) -> bytes:
        return bytes(size)

    def uuid(self) -> str:
        self._next += 1
        return f"00000000-0000-4000-8000-{self._next:012d}"


class FixedPlacer:
    """Two DataNodes that always have room, until told that there are none."""

    def __init__(self) -> None:
        self.live = 2
        self.foreign_below = 0

    def place(
        self,
        count: int,
        replication: int,  # noqa: ARG002 - the port's signature
        exclude: set[str],  # noqa: ARG002
        block_size_bytes: int,  # noqa: ARG002
    ) -> list[tuple[int, ...]]:
        if self.live < 2:
            raise NotEnoughDataNodes(f"{self.live} live DataNodes, 2 copies are needed")
        return [(1, 2)] * count

    def serving(self) -> frozenset[int]:
        return frozenset(range(1, self.live + 1))


class World:
    """One NameNode core in a directory; closing and opening it again is a restart."""

    def __init__(self, directory: Path, *, cluster_id: str = "c1", feature_level: int = LEVEL_NEWEST) -> None:
        self.clock = FakeClock()
        self.placer = FixedPlacer()
        self.released: list[int] = []
        self.rewanted: list[int] = []
        self.config = NameNodeConfig(node_id="nn-1", dir=str(directory))
        if not (directory / "namenode.toml").exists():
            settings = cluster_settings(
                CountingRng(),
                cluster_id=cluster_id,
                replication=2,
                block_size_bytes=1 << 20,
                feature_level=feature_level,
            )
            format_namenode(self.config, settings, clock=self.clock, rng=CountingRng())
        self.open()

    def open(self, *, announce: bool = True, anew: bool = False) -> None:
        """Start; ``announce`` leads and journals DataNodes, ``anew`` forgets the projection first."""
        self.journal = open_journal(self.config.database_url)
        identity = self.journal.identity()
        assert identity is not None
        self.store = ProjectionStore(self.config.path, bytes_max=1 << 32)
        if anew:
            self.store.clear()
        try:
            disk = examine(self.config, self.journal, identity, None)
            self.caught_up = catch_up(self.store, self.journal)
        except BaseException:
            self.kill()
            raise
        if not announce:
            disk.floor.close()
            return
        control = EventControlRecords(self._level)
        self.replication = LoneVoter(
            self.journal, disk.floor, disk.voters, control, self.clock, CountingRng()
        )
        self.metadata = MetadataManager(self.journal, identity, self.replication, self.store)
        self.metadata.catch_up()
        self.leases = LeaseTable(self.clock, soft_ms=60_000, hard_ms=1_200_000)
        self.engine = Engine(self.metadata, self.placer, self.leases, self.clock)
        for number, name in ((1, "dn-1"), (2, "dn-2")):
            self.settle(Internal(partial(_added, name, number)))

    def kill(self) -> None:
        """Stop without vouching for the projection, as a killed process does."""
        mark = self.config.path / "namespace.mdb" / "TRUST"
        before = mark.read_text()
        self.close()
        mark.write_text(before)

    def settle(self, *requests: Request) -> list[Settled]:
        """One batch, committed."""
        batch = self.engine.prepare(requests)
        if not batch.drafts:
            batch.abort()
            return batch.settled
        entries = self.replication.propose(batch.drafts)
        self.replication.commit(entries)
        batch.commit(entries)
        self.released += batch.released
        self.rewanted += batch.rewanted
        return batch.settled

    def run(self, *commands: Command) -> dict[str, Any]:
        """One transaction of ann's; the last command's result, or the refusal raised."""
        (settled,) = self.settle(asking(*commands))
        if settled.error is not None:
            raise settled.error
        results: list[dict[str, Any]] = msgspec.msgpack.decode(settled.result)
        return results[-1]

    def write(
        self,
        path: str,
        size_bytes: int = 10,
        *,
        overwrite: bool = False,
        crc32c: int = 0,
        replication: int = 0,
        blocks: int = 1,
    ) -> int:
        """A whole file: opened, written, published. Returns its inode; ``size_bytes`` are of each block."""
        create = cmd.CreateFile(path, "lease", overwrite=overwrite, blocks=blocks, replication=replication)
        opened = self.run(create)
        written = [
            cmd.WrittenBlock(block_id, generation, size_bytes, size_bytes, crc32c, ["dn-1", "dn-2"])
            for block_id, generation, _ in opened["blocks"]
        ]
        inode: int = self.run(cmd.CompleteFile(opened["inode"], "lease", written, crc32c))["inode"]
        return inode

    def do_all(self, chore: Chore) -> int:
        """Do a chore until it is done; in how many records."""
        records = 0
        while True:
            with self.metadata.present() as view:
                if not chore.is_due(view):
                    return records
            self.settle(Internal(chore.make))
            records += 1

    @contextmanager
    def snapshot(self, as_of: int | None = None) -> Iterator[Snapshot]:
        """What a reader sees."""
        with self.metadata.present() as present:
            yield Snapshot(present, as_of)

    @property
    def txid(self) -> int:
        """The newest committed transaction."""
        return self.metadata.meta().applied_txid

    def close(self) -> None:
        self.store.close()
        self.journal.close()

    def _level(self) -> int:
        with self.store.present() as view:
            return view.feature_level()


def _added(node_id: str, number: int, writer: Writer) -> Event | None:
    known = writer.number_of(node_id)
    return None if known else ev.DataNodeAdded(node_id, f"uuid-{number}", number)


def asking(*commands: Command, client: bytes = b"", seq: int = 0, request_hash: int = 0) -> Execute:
    """A request of ann's."""
    return Execute(list(commands), "ann", "127.0.0.1", client, seq, request_hash)
