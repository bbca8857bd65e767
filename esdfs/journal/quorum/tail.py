"""What the node knows of its own journal: where it ends, who wrote what, and the newest records."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from esdfs.ids import Epoch, Position, Txid
from esdfs.journal.entry import Entry, Head
from esdfs.journal.quorum.epochs import EpochHistory

_OVERHEAD_BYTES = 160  # of a record beside its payload, about


class Tail:
    """The journal as it will be once every write under way is done.

    Args:
        base: The last record that was compacted away; txid 0 when none was.
        base_ts_us: Its timestamp.
        epoch_ends: As for ``EpochHistory``.
        recent: The newest records, without a gap, up to the end. They reach back to the last record
            known committed, so that whatever may have to be cut off is among them.
    """

    def __init__(
        self, base: Head, base_ts_us: int, epoch_ends: Iterable[Position], recent: Sequence[Entry]
    ) -> None:
        self.history = EpochHistory(Position(base.epoch, base.last_txid), epoch_ends)
        self._base = base
        self._base_ts_us = base_ts_us
        self._recent = list(recent)
        self._set_end()
        assert self.last == self.history.last, f"{self.last} is not where {self.history.last} ends"

    @property
    def base(self) -> Position:
        """The last record that was compacted away."""
        return self.history.base

    @property
    def head(self) -> Head:
        """What the next record must continue."""
        return Head(self.last.epoch, self.last.txid, self.chain)

    def append(self, entries: Sequence[Entry]) -> None:
        """``entries`` follow on from the last record."""
        assert entries[0].txid == self.last.txid + 1, f"{entries[0].txid} after {self.last}"
        self._recent.extend(entries)
        epoch = entries[0].epoch
        if entries[-1].epoch != epoch:
            for before, entry in pairwise(entries):
                if entry.epoch != before.epoch:
                    self.history.append(before.position)
        self._set_end()
        self.history.append(self.last)

    def can_cut_to(self, keep: Txid) -> bool:
        """Whether the record at ``keep`` is remembered, so that the next one can be checked against it."""
        return keep == self._base.last_txid or self._first() <= keep <= self.last.txid

    def truncate(self, keep: Txid) -> None:
        """Drop every record above ``keep``."""
        assert self.can_cut_to(keep), f"cannot cut to {keep}: memory begins at {self._first()}"
        del self._recent[max(0, keep + 1 - self._first()) :]
        self.history.truncate(keep)
        self._set_end()

    def read(self, after: Txid, *, limit: int, max_bytes: int) -> tuple[Entry, ...] | None:
        """Records after ``after``, at least one unless there is none; None when they left memory."""
        start = after + 1 - self._first()
        if start < 0:
            return None
        found = self._recent[start : start + limit]
        size_bytes = 0
        for count, entry in enumerate(found):
            size_bytes += len(entry.payload) + _OVERHEAD_BYTES
            if size_bytes > max_bytes and count:
                return tuple(found[:count])
        return tuple(found)

    def forget(self, settled: Txid, *, keep_records: int) -> None:
        """Let go of records up to ``settled`` but for the newest ``keep_records`` ones."""
        surplus = min(settled - self._first(), len(self._recent) - keep_records)
        if surplus > keep_records // 4:  # a list is cut in one piece, now and then
            del self._recent[:surplus]

    def compact(self, base: Head, base_ts_us: int) -> None:
        """Records up to ``base``, inclusive, left the journal."""
        self.history.compact(Position(base.epoch, base.last_txid))
        self._base, self._base_ts_us = base, base_ts_us
        del self._recent[: max(0, base.last_txid + 1 - self._first())]
        self._set_end()

    def restart(self, base: Head, base_ts_us: int) -> None:
        """The journal begins anew after a checkpoint."""
        self.history = EpochHistory(Position(base.epoch, base.last_txid))
        self._base, self._base_ts_us = base, base_ts_us
        self._recent = []
        self._set_end()

    def epoch_at(self, txid: Txid) -> Epoch | None:
        """See ``EpochHistory.epoch_at``."""
        return self.history.epoch_at(txid)

    def _first(self) -> int:
        return self._recent[0].txid if self._recent else self.last.txid + 1

    def _set_end(self) -> None:
        if self._recent:
            end = self._recent[-1]
            self.last, self.chain, self.last_ts_us = Position(end.epoch, end.txid), end.chain, end.ts_us
        else:
            base = self._base
            self.last, self.chain = Position(base.epoch, base.last_txid), base.chain
            self.last_ts_us = self._base_ts_us
