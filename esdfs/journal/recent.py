"""The newest records in memory: all that a disk may not hold yet, and what appliers and followers ask for."""

from collections.abc import Sequence
from threading import Lock

from esdfs.ids import Txid
from esdfs.journal.entry import Entry, Head
from esdfs.journal.quorum.effects import AppendRecords, InstallCheckpoint, TruncateJournal, Write


class RecentRecords:
    """The journal's end as it will be once every write under way is done. Safe to read from any thread.

    Args:
        base: What the first of ``recent`` continues; the journal's end when there are none.
        recent: The newest records, without a gap.
    """

    def __init__(self, base: Head, recent: Sequence[Entry]) -> None:
        self._lock = Lock()
        self._base = base
        self._entries = list(recent)

    @property
    def head(self) -> Head:
        """Where the journal ends."""
        with self._lock:
            if not self._entries:
                return self._base
            last = self._entries[-1]
            return Head(last.epoch, last.txid, last.chain)

    @property
    def first_txid(self) -> Txid:
        """The oldest record in memory; the next one to come when there is none."""
        with self._lock:
            return self._first()

    def change(self, write: Write) -> None:
        """Do to memory what ``write`` will do to the disk."""
        with self._lock:
            match write:
                case AppendRecords(entries):
                    self._entries.extend(entries)
                case TruncateJournal(keep):
                    del self._entries[max(0, keep.txid + 1 - self._first()) :]
                case InstallCheckpoint(offer, keep_tail):
                    kept = self._entries if keep_tail else []
                    self._entries = [entry for entry in kept if entry.txid > offer.last.txid]
                    self._base = Head(offer.last.epoch, offer.last.txid, offer.chain)
                case _:
                    pass

    def forget(self, settled: Txid, *, keep_records: int) -> None:
        """Let go of records up to ``settled`` (committed, and on the disk) but for the newest ones."""
        with self._lock:
            surplus = min(settled + 1 - self._first(), len(self._entries) - keep_records)
            if surplus > keep_records // 4:  # a list is cut in one piece, now and then
                last = self._entries[surplus - 1]
                self._base = Head(last.epoch, last.txid, last.chain)
                del self._entries[:surplus]

    def read(self, after: Txid, *, limit: int, until: Txid) -> list[Entry] | None:
        """Records with ``after`` < txid <= ``until``; None when the first of them left memory."""
        with self._lock:
            start = after + 1 - self._first()
            if start < 0:
                return None
            return self._entries[start : min(start + limit, max(start, until + 1 - self._first()))]

    def _first(self) -> Txid:
        return self._entries[0].txid if self._entries else Txid(self._base.last_txid + 1)
