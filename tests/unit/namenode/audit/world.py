"""A NameNode's core in one thread, and the index of its journal on disk and in a reader."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from esdfs.journal.entry import Entry
from esdfs.journal.sql import open_reader
from esdfs.journal.sql_reader import SqlReader
from esdfs.namenode.audit.changes import Change
from esdfs.namenode.audit.index import IndexStore
from esdfs.namenode.audit.indexer import Indexing
from esdfs.namenode.audit.questions import Question, changes_at, find, inodes_at, scan
from esdfs.namenode.audit.reading import AuditReader
from esdfs.namenode.audit.rows import Rows
from esdfs.namenode.rest.audit import Found, look
from tests.unit.namenode.world import World


class Projection:
    """LMDB may be opened once in a process, and the core has it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def snapshot(self) -> Any:
        return self._world.snapshot()

    def applied_txid(self) -> int:
        return self._world.txid


class Counted:
    """A journal that counts the rows it gives."""

    def __init__(self, reader: SqlReader) -> None:
        self._reader = reader
        self.rows = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, *args: Any, **options: Any) -> list[Entry]:
        found = self._reader.read(*args, **options)
        self.rows += len(found)
        return found

    def pick(self, wanted: Any) -> list[Entry]:
        found = self._reader.pick(wanted)
        self.rows += len(found)
        return found

    def chains(self, wanted: Any) -> dict[int, bytes]:
        found = self._reader.chains(wanted)
        self.rows += len(found)
        return found


class Audited:
    """``world``'s index."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.projection: Any = Projection(world)
        self.journal = Counted(open_reader(world.config.database_url))

    def index(self) -> int:
        """Bring the index on disk up to date; returns how many records that took."""
        identity = self.journal.identity()
        assert identity is not None
        store = IndexStore(self.world.config.path, bytes_max=1 << 32)
        indexing = Indexing(
            store, self.journal, self.projection, self.world.config.path, storage_id=identity.storage_id
        )
        total = 0
        while count := indexing.step():
            total += count
        store.close()
        return total

    @contextmanager
    def rows(self) -> Iterator[tuple[Rows, int]]:
        """What a reader sees."""
        reader = AuditReader(self.world.config.path, self.journal, self.projection)
        try:
            with reader.complete() as found:
                yield found
        finally:
            reader.close()

    def about(self, path: str, *, below: bool = False, **given: Any) -> list[tuple[int, Change]]:
        """(txid, change) of the records about a path, newest first."""
        with self.rows() as (rows, until), self.world.snapshot() as view:
            inodes = inodes_at(rows, path.split("/")[1:])
            question = Question(inodes, below, until=until, place_of=view.place_at)._replace(**given)
            numbers, _ = find(rows, question, limit=1 << 30, steps_max=1 << 30)
            return [(txid, one) for txid in numbers for one in changes_at(rows, txid)]

    def look(self, path: str, **given: Any) -> Found:
        """What REST answers of a path."""
        reader = AuditReader(self.world.config.path, self.journal, self.projection)
        try:
            return look(reader, self.projection, path, Question(until=self.world.txid, **given), 1000)
        finally:
            reader.close()

    def feed(self, prefix: str = "", *kinds: int, first: int = 1) -> list[tuple[int, Change]]:
        """(txid, change) of a filtered feed, from ``first`` to its end."""
        with self.rows() as (rows, until):
            found, _ = scan(
                rows,
                first,
                until=until,
                prefix=prefix,
                kinds=frozenset(kinds),
                limit=1 << 30,
                steps_max=1 << 30,
            )
        return [(one.txid, change) for one in found for change in one.changes]
