"""The index as a reader sees it: what is on disk, and on top of it the records it has not seen yet."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from esdfs.errors import Compacted, Unavailable
from esdfs.journal.entry import Entry
from esdfs.namenode.audit.building import Builder, Past
from esdfs.namenode.audit.index import IndexReader
from esdfs.namenode.audit.records import Journal, Records
from esdfs.namenode.audit.rows import LayeredRows, MemoryRows, Rows, read_meta

BEHIND_RECORDS_MAX: Final = 20_000
"""How many records a reader indexes itself; with more to go it has to be asked again."""
_KEPT_RECORDS_MAX: Final = 2_000
_PAGE_RECORDS: Final = 500


class View(Past, Protocol):
    """A state of the projection."""

    @property
    def settled_txid(self) -> int:
        """The newest transaction whose outcome is all there."""
        ...


class Projection(Protocol):
    """Where states of the namespace are read."""

    def snapshot(self) -> AbstractContextManager[View]:
        """The newest one."""
        ...

    def applied_txid(self) -> int:
        """Its txid."""
        ...


class AuditReader:
    """One worker's index. For one thread.

    Attributes:
        records: Those that the index is of.
    """

    def __init__(self, directory: Path, journal: Journal, projection: Projection) -> None:
        self.records = Records(directory, journal)
        self._index = IndexReader(directory)
        self._projection = projection
        self._over = MemoryRows()
        self._began = self._ended = 0

    @contextmanager
    def complete(self) -> Iterator[tuple[Rows, int]]:
        """(the index, up to which txid it is complete: all that is committed and settled).

        Raises:
            Unavailable: It is being made, and far from ready; says how far.
        """
        with self._index.read() as found, self._projection.snapshot() as view:
            base: Rows = MemoryRows() if found is None else found  # nothing is indexed yet
            until = view.settled_txid
            on_disk = read_meta(base).last_txid
            behind = until - max(on_disk, self._ended)
            if behind > BEHIND_RECORDS_MAX:
                raise Unavailable(
                    f"the index of the journal is being made: {on_disk} of {until} records so far; ask again",
                    indexed_txid=on_disk,
                )
            is_stale = on_disk > self._ended or on_disk < self._began
            if is_stale or (on_disk > self._began and self._ended - self._began > _KEPT_RECORDS_MAX):
                self._over, self._began, self._ended = MemoryRows(), on_disk, on_disk
            rows = LayeredRows(base, self._over)
            self._catch_up(rows, view, until)
            yield rows, until

    def _catch_up(self, rows: LayeredRows, view: View, until: int) -> None:
        builder = Builder(rows, view)
        while self._ended < until:
            try:
                entries = self.records.read(self._ended + 1, min(_PAGE_RECORDS, until - self._ended))
            except Compacted:
                entries = self._after_gap(until)
            if not entries:
                raise Unavailable(f"record {self._ended + 1} cannot be read yet: ask again")
            builder.add(entries)
            self._ended = entries[-1].txid

    def _after_gap(self, until: int) -> list[Entry]:
        """What comes after records that this node never had, or has no more: they came as a checkpoint."""
        first = self.records.oldest_txid()
        limit = min(_PAGE_RECORDS, until - first + 1)
        return self.records.read(first, limit) if limit > 0 else []

    def close(self) -> None:
        """Release the index."""
        self._index.close()
