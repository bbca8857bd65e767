"""The journal in memory, for simulations and tests. Held to the same contract as the real ones."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from esdfs.errors import JournalFenced, JournalUnavailable
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import continues
from esdfs.journal.checkpoint import Checkpoint
from esdfs.journal.entry import Base, Entry, Head, Identity, Vote


class _Disk:
    """What survives a crash."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.vote = Vote(Epoch(0), "", "")
        self.base = Base()
        self.entries: list[Entry] = []
        self.checkpoints: dict[Txid, Checkpoint] = {}


class MemoryJournal:
    """A ``Journal`` whose disk is a list. Everything is durable on return, as the port says."""

    def __init__(self) -> None:
        self._disk = _Disk()
        self._open = True

    def crash(self) -> "MemoryJournal":
        """Kill this journal's process; what returns is the journal as the next process finds it."""
        survivor = MemoryJournal()
        survivor._disk = self._disk
        self.close()
        return survivor

    def identity(self) -> Identity | None:
        """See ``JournalReader.identity``."""
        return self._state().identity

    def head(self) -> Head:
        """See ``JournalReader.head``."""
        entries = self._state().entries
        if not entries:
            return self._state().base.head
        last = entries[-1]
        return Head(last.epoch, last.txid, last.chain)

    def base(self) -> Base:
        """See ``JournalReader.base``."""
        return self._state().base

    def oldest_txid(self) -> Txid:
        """See ``JournalReader.oldest_txid``."""
        entries = self._state().entries
        return entries[0].txid if entries else Txid(0)

    def read(self, after: Txid, *, limit: int) -> list[Entry]:
        """See ``JournalReader.read``."""
        start = self._index(after)
        return self._state().entries[start : start + limit]

    def scan(self, after: Txid, *, until: Txid, page: int = 5000) -> Iterator[Sequence[tuple[Any, ...]]]:
        """See ``JournalReader.scan``."""
        seen = iter(self._state().entries[self._index(after) : self._index(until)])
        while rows := [msgspec.structs.astuple(entry) for entry in islice(seen, page)]:
            yield rows

    def txid_at(self, ts_us: int) -> Txid:
        """See ``JournalReader.txid_at``."""
        return max((entry.txid for entry in self._state().entries if entry.ts_us <= ts_us), default=Txid(0))

    def format(self, identity: Identity, first: Sequence[Entry]) -> None:
        """See ``Journal.format``."""
        disk = self._state()
        if disk.identity is not None:
            raise JournalFenced("this journal is formatted already: choose an empty one")
        self.append(first)
        disk.identity = identity

    def append(self, entries: Sequence[Entry]) -> None:
        """See ``Journal.append``."""
        if not entries:
            return
        assert entries[-1].txid == entries[0].txid + len(entries) - 1, "a batch has no gaps"
        head = self.head()
        if entries[0].txid != head.last_txid + 1 or not continues(head.chain, entries[0]):
            raise JournalFenced(f"the journal ends at {head.last_txid}, not before {entries[0].txid}")
        self._state().entries.extend(entries)

    def truncate(self, keep: Txid) -> None:
        """See ``Journal.truncate``."""
        assert keep >= self.base().last_txid, f"record {keep} is not here to become the last"
        del self._state().entries[self._index(keep) :]

    def install(self, base: Base, checkpoint: Checkpoint, *, keep_tail: bool) -> None:
        """See ``Journal.install``."""
        disk = self._state()
        disk.entries = disk.entries[self._index(base.last_txid) :] if keep_tail else []
        disk.base = base
        self.remember_checkpoint(checkpoint)

    def compact(self, until: Txid, *, limit: int) -> Base:
        """See ``Journal.compact``."""
        disk = self._state()
        count = min(self._index(until), limit, len(disk.entries) - 1)
        if count > 0:
            last = disk.entries[count - 1]
            disk.base = Base(last.epoch, last.txid, last.chain, last.ts_us)
            disk.entries = disk.entries[count:]
        return disk.base

    def vote(self) -> Vote:
        """See ``Journal.vote``."""
        return self._state().vote

    def remember_vote(self, vote: Vote) -> None:
        """See ``Journal.remember_vote``."""
        self._state().vote = vote

    def checkpoints(self) -> list[Checkpoint]:
        """See ``Checkpoints.checkpoints``."""
        kept = self._state().checkpoints
        return [kept[txid] for txid in sorted(kept, reverse=True)]

    def remember_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See ``Checkpoints.remember_checkpoint``."""
        self._state().checkpoints[checkpoint.txid] = checkpoint

    def forget_checkpoint(self, txid: Txid) -> None:
        """See ``Checkpoints.forget_checkpoint``."""
        self._state().checkpoints.pop(txid, None)

    def close(self) -> None:
        """See ``Journal.close``."""
        self._open = False

    def _index(self, after: Txid) -> int:
        """Where the records above ``after`` begin."""
        return max(0, after - self._state().base.last_txid)

    def _state(self) -> _Disk:
        if not self._open:
            raise JournalUnavailable("this journal is closed: open it again")
        return self._disk
