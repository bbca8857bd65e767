"""Bring the projection to the journal's end: at every start, and from nothing when it was thrown away."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from typing import Final

from esdfs.errors import JournalCorrupt
from esdfs.ids import Txid
from esdfs.journal.log import JournalReader
from esdfs.namenode.projection.ahead import PAGE_RECORDS, decoded_ahead, decoded_here
from esdfs.namenode.projection.decoding import Decoded
from esdfs.namenode.projection.lmdb import ProjectionStore

_EVENTS_PER_COMMIT: Final = 5_000
"""What a write transaction changes, and what it holds back, stays in the processor's caches."""
_RECORDS_PER_TELLING: Final = 50_000
_RECORDS_AHEAD: Final = 5_000
"""So many are worth the start of a process that decodes them."""

Progress = Callable[[int, int], None]
"""Called with (applied txid, target txid)."""


def catch_up(
    store: ProjectionStore,
    journal: JournalReader,
    *,
    until: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Apply every committed record the projection lacks; returns how many.

    A projection that does not continue this journal (another chain at its position) is emptied first.

    Raises:
        JournalCorrupt: The journal ends before what was already applied: records were lost.
    """
    target = journal.head().last_txid if until is None else until
    forget_if_foreign(store, journal)
    if journal.head().last_txid < store.meta().applied_txid:
        last, applied = journal.head().last_txid, store.meta().applied_txid
        raise JournalCorrupt(
            f"the journal ends at txid {last}, but txid {applied} was applied: records were lost; "
            f"restore the journal, or remove {store.path} to go on with what is left",
            txid=last,
        )
    first = store.meta().applied_txid
    pages = journal.scan(Txid(first), until=Txid(target), page=PAGE_RECORDS)
    with closing((decoded_ahead if target - first >= _RECORDS_AHEAD else decoded_here)(pages)) as decoded:
        return _apply(store, chain.from_iterable(decoded), first, target, progress)


def _apply(
    store: ProjectionStore, records: Iterator[Decoded], first: int, target: int, progress: Progress | None
) -> int:
    applied = told = first
    while applied < target:
        writer = store.begin()
        apply, left = writer.apply, _EVENTS_PER_COMMIT
        try:
            for record in records:
                left -= len(apply(record))
                applied += 1
                if left <= 0:
                    break
        except BaseException:
            writer.abort()
            raise
        writer.commit()
        if progress is not None and (applied >= told + _RECORDS_PER_TELLING or applied == target):
            told = applied
            progress(applied, target)
    return applied - first


def forget_if_foreign(store: ProjectionStore, journal: JournalReader) -> None:
    """Empty a projection that does not continue this journal: another chain at its position.

    One that lacks records which left the journal is left as it is: a checkpoint is to be loaded into it.
    """
    meta, base = store.meta(), journal.base()
    if meta.applied_txid <= base.last_txid:
        if meta.applied_txid == base.last_txid and meta.chain != base.chain:
            store.clear()
    elif journal.head().last_txid >= meta.applied_txid:
        (entry,) = journal.read(Txid(meta.applied_txid - 1), limit=1)
        if entry.chain != meta.chain:
            store.clear()
