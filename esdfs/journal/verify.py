"""Prove a whole journal: every record is the one that was sealed, in its place, and none is missing."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec

from esdfs.errors import JournalCorrupt, JournalUnavailable
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import verify_rows
from esdfs.journal.entry import NO_CHAIN, Head
from esdfs.journal.log import JournalReader
from esdfs.journal.sql import open_reader
from esdfs.journal.sql_reader import SqlReader

BEGINNING: Final = Head(Epoch(0), Txid(0), NO_CHAIN)

_RANGE_RECORDS: Final = 50_000
# Starting a helper costs about as long as verifying this many records.
_HELPERS_FROM_RECORDS: Final = 500_000


class EpochStart(NamedTuple):
    """The first record of an epoch."""

    epoch: Epoch
    txid: Txid


class VerifyReport(msgspec.Struct, frozen=True):
    """What was proven.

    Attributes:
        first_txid: The first record read; 0 when there is none.
        last_txid: The last one, inclusive: the head when verification began.
        chain: Its chain value. Compare it with another node's at the same txid: equal means equal journals.
        epochs: Every epoch that wrote here, in order.
    """

    first_txid: Txid
    last_txid: Txid
    records: int
    chain: bytes
    epochs: tuple[EpochStart, ...]


class _Reached(msgspec.Struct):
    """How far a range is proven."""

    txid: Txid
    chain: bytes
    epoch: int
    ts_us: int
    epochs: list[EpochStart] = msgspec.field(default_factory=list)

    def take(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Prove one page. Raises for its first bad record."""
        damage: JournalCorrupt | None = None
        try:
            self.chain = verify_rows(self.chain, self.txid, rows)
        except JournalCorrupt as error:
            damage = error
            bad = error.details["txid"]
            assert isinstance(bad, int)
            rows = rows[: bad - self.txid - 1]
        for row in rows:
            txid, epoch, ts_us = row[0], row[1], row[2]
            if epoch != self.epoch or not self.epochs:
                if epoch < self.epoch:
                    raise _damaged(txid, "epoch", f"epoch {epoch} after epoch {self.epoch}")
                self.epoch = epoch
                self.epochs.append(EpochStart(epoch, txid))
            if ts_us < self.ts_us:
                raise _damaged(txid, "time", "its timestamp is before that of the record before it")
            self.ts_us = ts_us
        self.txid = Txid(self.txid + len(rows))
        if damage is not None:
            raise damage


def verify(
    reader: JournalReader,
    *,
    since: Head = BEGINNING,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> VerifyReport:
    """Check density, checksums, chain, order of epochs and times, and that the head row agrees.

    Args:
        reader: A large journal in a database is read by ``workers`` helper processes besides this one.
        since: What stands before the first record, when older ones were compacted away.
        progress: Called with (records proven, records in all), now and then.
        workers: 1 keeps everything in this process.

    Raises:
        JournalCorrupt: For the first bad record. ``txid`` names it; ``damage`` says how: ``gap``,
            ``malformed``, ``crc``, ``chain``, ``epoch``, ``time``, or ``head`` when the head row disagrees.
        JournalUnavailable: The database failed, which proves nothing.
    """
    head = reader.head()
    total = head.last_txid - since.last_txid
    reached = _Reached(since.last_txid, since.chain, since.epoch, 0)
    epochs: list[EpochStart] = []
    for part in _parts(reader, since, head.last_txid, workers):
        epochs += [start for start in part.epochs if not epochs or start.epoch != epochs[-1].epoch]
        reached = part
        if progress is not None:
            progress(part.txid - since.last_txid, total)
    if head != Head(Epoch(reached.epoch), reached.txid, reached.chain):
        raise _damaged(
            head.last_txid, "head", f"the head row does not agree with the last record, {reached.txid}"
        )
    beyond = reader.read(head.last_txid, limit=1)
    if beyond and reader.head().last_txid < beyond[0].txid:
        raise _damaged(beyond[0].txid, "head", "it stands after the end that the head row names")
    first = Txid(since.last_txid + 1) if total else Txid(0)
    return VerifyReport(first, head.last_txid, total, reached.chain, tuple(epochs))


def _parts(reader: JournalReader, since: Head, last: Txid, workers: int) -> Iterator[_Reached]:
    """Prove consecutive ranges, in order. Each is checked from the stored chain value before it."""
    cuts = [*range(since.last_txid, last, _RANGE_RECORDS), last]
    ranges = [(Txid(after), Txid(until)) for after, until in pairwise(cuts)]
    if workers == 1 or last - since.last_txid < _HELPERS_FROM_RECORDS or not isinstance(reader, SqlReader):
        for after, until in ranges:
            yield _prove(reader, since, after, until)
        return
    spawn = multiprocessing.get_context("spawn")  # forking would share the database's connections
    with ProcessPoolExecutor(workers, spawn, _open_in_helper, (reader.url,)) as helpers:
        pending: list[Future[_Reached]] = [
            helpers.submit(_prove_in_helper, since, after, until) for after, until in ranges
        ]
        try:
            for future in pending:
                yield future.result()
        except BrokenProcessPool as error:
            raise JournalUnavailable("a helper that verified the journal died: run it again") from error
        finally:
            helpers.shutdown(wait=True, cancel_futures=True)


def _prove(reader: JournalReader, since: Head, after: Txid, until: Txid) -> _Reached:
    reached = _Reached(since.last_txid, since.chain, since.epoch, 0)
    if after > since.last_txid:
        # Row by row and raw: a damaged record must not fail before it is reported.
        found = [row for page in reader.scan(Txid(after - 1), until=after) for row in page]
        if not found:
            raise _damaged(after, "gap", "missing")
        row = found[0]
        reached = _Reached(after, row[11], row[1], row[2])
    for page in reader.scan(after, until=until):
        reached.take(page)
    if reached.txid != until:
        raise _damaged(Txid(reached.txid + 1), "gap", "missing")
    return reached


_helper_reader: list[SqlReader] = []


def _open_in_helper(url: str) -> None:
    _helper_reader.append(open_reader(url))


def _prove_in_helper(since: Head, after: Txid, until: Txid) -> _Reached:
    return _prove(_helper_reader[0], since, after, until)


def _damaged(txid: Txid, damage: str, what: str) -> JournalCorrupt:
    return JournalCorrupt(f"journal record {txid}: {what}", txid=txid, damage=damage)
