"""The index's one door to LMDB: ``audit.mdb`` beside the projection. Soft state: written without fsync.

As with the projection, only the memory of a running kernel vouches for it: after a reboot it is made anew
from archive and journal.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import lmdb

from esdfs.env_os import boot_id
from esdfs.errors import InsufficientStorage
from esdfs.namenode.audit.rows import FORMAT, TABLES, Pair

DIRECTORY: Final = "audit.mdb"
_TRUST: Final = "TRUST"
_READERS_MAX: Final = 256
_READER_BYTES_MAX: Final = 1 << 42


class LmdbRows:
    """``Rows`` in one transaction."""

    def __init__(self, txn: Any, dbs: dict[str, Any]) -> None:
        self._txn, self._dbs = txn, dbs

    def get(self, table: str, key: bytes) -> bytes | None:
        """See ``Rows.get``."""
        found: bytes | None = self._txn.get(key, db=self._dbs[table])
        return found

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """See ``Rows.put``."""
        self._txn.put(key, value, db=self._dbs[table])

    def down(self, table: str, low: bytes, high: bytes) -> Iterator[Pair]:
        """See ``Rows.down``."""
        cursor = self._txn.cursor(self._dbs[table])
        more = cursor.set_range(high) or cursor.last()
        if more and cursor.key() > high:
            more = cursor.prev()
        while more and (key := cursor.key()) >= low:
            yield key, cursor.value()
            more = cursor.prev()

    def up(self, table: str, low: bytes, high: bytes) -> Iterator[Pair]:
        """See ``Rows.up``."""
        cursor = self._txn.cursor(self._dbs[table])
        if not cursor.set_range(low):
            return
        for key, value in cursor:
            if key > high:
                return
            yield key, value


class IndexStore:
    """The index's one writer, in one process.

    Args:
        directory: The NameNode's.
        bytes_max: LMDB's address space; reserves no disk.
    """

    def __init__(self, directory: Path, *, bytes_max: int) -> None:
        self.path = directory / DIRECTORY
        if self.path.exists() and not _trusted(self.path):
            shutil.rmtree(self.path)
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._env = _open(self.path, bytes_max)
        self._dbs = {table: self._env.open_db(table.encode()) for table in TABLES}
        (self.path / _TRUST).write_text(_vouched(), encoding="ascii")

    @contextmanager
    def write(self) -> Iterator[LmdbRows]:
        """Everything inside is seen by readers at once, or, after an exception, not at all.

        Raises:
            InsufficientStorage: The map is full.
        """
        try:
            with self._env.begin(write=True) as txn:
                yield LmdbRows(txn, self._dbs)
        except lmdb.MapFullError as error:
            raise InsufficientStorage(f"{self.path} is full: {error}") from error

    def clear(self) -> None:
        """Empty it."""
        with self._env.begin(write=True) as txn:
            for db in self._dbs.values():
                txn.drop(db, delete=False)

    def close(self) -> None:
        """Release it."""
        self._env.close()


class IndexReader:
    """Read-only access from another process, also before there is anything to read."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / DIRECTORY
        self._env: Any = None
        self._dbs: dict[str, Any] = {}

    @contextmanager
    def read(self) -> Iterator[LmdbRows | None]:
        """One consistent state; None when the writer has not begun."""
        if self._env is None and _trusted(self._path):
            # The mark is written last: what it stands beside has all its tables.
            self._env = _open(self._path, _READER_BYTES_MAX, readonly=True, create=False)
            self._dbs = {table: self._env.open_db(table.encode(), create=False) for table in TABLES}
        if self._env is None:
            yield None
            return
        with self._env.begin() as txn:
            yield LmdbRows(txn, self._dbs)

    def close(self) -> None:
        """Release it."""
        if self._env is not None:
            self._env.close()
            self._env = None


def _vouched() -> str:
    return f"{FORMAT} {boot_id()}"


def _trusted(path: Path) -> bool:
    mark = path / _TRUST
    return mark.exists() and mark.read_text(encoding="ascii") == _vouched()


def _open(path: Path, bytes_max: int, **options: Any) -> Any:
    return lmdb.open(
        str(path),
        map_size=bytes_max,
        max_dbs=len(TABLES),
        max_readers=_READERS_MAX,
        sync=False,
        metasync=False,
        readahead=False,
        **options,
    )
