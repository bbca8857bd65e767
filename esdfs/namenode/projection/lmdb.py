"""The one door to LMDB for the namespace: opening it, and whether what is found may be trusted.

The projection is disposable. It is written without fsync, so only the memory of a running kernel vouches
for it: after a reboot without a clean stop (another boot id) it is thrown away and rebuilt.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import lmdb

from esdfs.env_os import boot_id
from esdfs.errors import InsufficientStorage
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import Meta
from esdfs.namenode.projection.snapshot import Snapshot
from esdfs.namenode.projection.views import Dbs, PresentView, read_meta
from esdfs.namenode.projection.writer import Writer
from esdfs.namenode.upcasters import LEVEL_NEWEST

DIRECTORY: Final = "namespace.mdb"
_TRUST = "TRUST"
_CLEAN = "clean"
_READERS_MAX = 512
# A reader may not see past its own map, whose default is 10 MiB; it costs only address space.
_READER_BYTES_MAX: Final = 1 << 42


class Image(NamedTuple):
    """All of one committed state.

    Attributes:
        tables: (name, its pairs in key order), in the order of ``layout.TABLES``.
    """

    meta: Meta
    feature_level: int
    tables: Iterator[tuple[bytes, Iterator[tuple[bytes, bytes]]]]


class ProjectionStore:
    """The projection's one writer. Open it after any fork, in one process only.

    Args:
        directory: The NameNode's directory.
        bytes_max: LMDB's address space; reserves no disk.
        level_max: The highest feature level that records may raise the cluster to.
    """

    def __init__(self, directory: Path, *, bytes_max: int, level_max: int = LEVEL_NEWEST) -> None:
        self._level_max = level_max
        self.path = directory / DIRECTORY
        if self.path.exists() and not self._trusted():
            shutil.rmtree(self.path)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mark(boot_id())
        self._env = lmdb.open(
            str(self.path),
            map_size=bytes_max,
            max_dbs=len(layout.TABLES),
            max_readers=_READERS_MAX,
            sync=False,
            metasync=False,
            readahead=False,
        )
        self._env.reader_check()
        self._dbs: Dbs = {name: self._env.open_db(name) for name in layout.TABLES}

    def _trusted(self) -> bool:
        mark = self.path / _TRUST
        if not mark.exists():
            return False
        return mark.read_text(encoding="ascii") in {
            f"{layout.FORMAT} {boot_id()}",
            f"{layout.FORMAT} {_CLEAN}",
        }

    def _mark(self, text: str) -> None:
        (self.path / _TRUST).write_text(f"{layout.FORMAT} {text}", encoding="ascii")

    def meta(self) -> Meta:
        """Where the committed projection stands."""
        with self._env.begin() as txn:
            return read_meta(txn, self._dbs)

    def begin(self) -> Writer:
        """Open the speculative state. There is one at a time; commit or abort it in this thread.

        Raises:
            InsufficientStorage: The map is full.
        """
        try:
            txn = self._env.begin(write=True)
        except lmdb.MapFullError as error:
            raise InsufficientStorage(f"{self.path} is full: {error}") from error
        return Writer(self._env, txn, self._dbs, read_meta(txn, self._dbs), level_max=self._level_max)

    @contextmanager
    def present(self) -> Iterator[PresentView]:
        """The newest committed state, beside the writer."""
        with self._env.begin() as txn:
            yield PresentView(txn, self._dbs, read_meta(txn, self._dbs))

    @contextmanager
    def image(self) -> Iterator[Image]:
        """See ``ProjectionReader.image``."""
        with self._env.begin() as txn:
            yield _image(txn, self._dbs)

    def clear(self) -> None:
        """Empty every table: the projection is to be rebuilt from the journal's first record."""
        with self._env.begin(write=True) as txn:
            for db in self._dbs.values():
                txn.drop(db, delete=False)

    def replace(self, tables: Iterator[tuple[bytes, Iterator[tuple[bytes, bytes]]]]) -> None:
        """See ``ProjectionLoader.replace``."""
        _replace(self._env, self._dbs, self.path, tables)

    def close(self) -> None:
        """Stop cleanly: what is on disk may be trusted after a reboot, too."""
        self._env.sync(True)
        self._env.close()
        self._mark(_CLEAN)


class ProjectionReader:
    """Read-only access beside the writer, from another process. Open it after the fork."""

    def __init__(self, directory: Path) -> None:
        self._env = lmdb.open(
            str(directory / DIRECTORY),
            map_size=_READER_BYTES_MAX,
            readonly=True,
            max_dbs=len(layout.TABLES),
            max_readers=_READERS_MAX,
            readahead=False,
            create=False,
        )
        # Not in one transaction of ours: LMDB closes handles again that a read transaction opened.
        self._dbs: Dbs = {name: self._env.open_db(name, create=False) for name in layout.TABLES}

    @contextmanager
    def snapshot(self, as_of: int | None = None) -> Iterator[Snapshot]:
        """One consistent state; keep it for as short as possible, since it pins pages.

        Args:
            as_of: A txid of the past, or None for the newest committed state.

        Raises:
            Compacted: Older than the history kept.
            FutureTxid: Not yet.
        """
        with self._env.begin() as txn:
            present = PresentView(txn, self._dbs, read_meta(txn, self._dbs))
            yield Snapshot(present, as_of)

    @contextmanager
    def image(self) -> Iterator[Image]:
        """The newest committed state, which stays readable until the end, whatever is committed meanwhile."""
        with self._env.begin() as txn:
            yield _image(txn, self._dbs)

    def applied_txid(self) -> int:
        """The newest transaction readers can see."""
        with self._env.begin() as txn:
            return read_meta(txn, self._dbs).applied_txid

    def close(self) -> None:
        """Release the environment."""
        self._env.close()


class ProjectionLoader:
    """Puts a whole state in the place of another, from a process of its own beside the readers.

    The store's owner must not write meanwhile. It sees the new state at its next transaction.
    """

    def __init__(self, directory: Path, *, bytes_max: int) -> None:
        self._path = directory / DIRECTORY
        self._env = lmdb.open(
            str(self._path),
            map_size=bytes_max,
            max_dbs=len(layout.TABLES),
            max_readers=_READERS_MAX,
            sync=False,
            metasync=False,
            readahead=False,
            create=False,
        )
        self._dbs: Dbs = {name: self._env.open_db(name) for name in layout.TABLES}

    def replace(self, tables: Iterator[tuple[bytes, Iterator[tuple[bytes, bytes]]]]) -> None:
        """One transaction: an exception from ``tables``, or a crash, leaves the state of before.

        Raises:
            InsufficientStorage: The map is full.
        """
        _replace(self._env, self._dbs, self._path, tables)

    def close(self) -> None:
        """Release the environment."""
        self._env.close()


def _image(txn: Any, dbs: Dbs) -> Image:
    present = PresentView(txn, dbs, read_meta(txn, dbs))
    tables = ((name, iter(txn.cursor(dbs[name]))) for name in layout.TABLES)
    return Image(present.meta, present.feature_level(), tables)


def _replace(
    env: Any, dbs: Dbs, path: Path, tables: Iterator[tuple[bytes, Iterator[tuple[bytes, bytes]]]]
) -> None:
    try:
        with env.begin(write=True) as txn:
            for db in dbs.values():
                txn.drop(db, delete=False)
            for name, pairs in tables:
                cursor = txn.cursor(dbs[name])
                cursor.putmulti(pairs, append=True)
    except lmdb.MapFullError as error:
        raise InsufficientStorage(f"{path} is full: {error}") from error


def open_reader(directory: Path) -> ProjectionReader:
    """Open the projection of the NameNode in ``directory`` for reading.

    Raises:
        lmdb.Error: No projection there yet: the engine has not started.
    """
    return ProjectionReader(directory)


def raw_entries(
    source: ProjectionStore | ProjectionReader,
) -> Iterator[tuple[bytes, Iterator[tuple[bytes, bytes]]]]:
    """(table, its pairs in key order) of one committed state, for the digest."""
    with source._env.begin() as txn:  # noqa: SLF001 - same module, same owner
        for name in layout.TABLES:
            cursor: Any = txn.cursor(source._dbs[name])  # noqa: SLF001
            yield name, iter(cursor)
