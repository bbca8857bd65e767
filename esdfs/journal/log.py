"""The journal's ports. Implementations: ``memory``, ``sql``. All pass ``tests/contract/test_journal.py``."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from esdfs.ids import Txid
from esdfs.journal.checkpoint import Checkpoint, Checkpoints
from esdfs.journal.entry import Base, Entry, Head, Identity, Vote


class JournalReader(Protocol):
    """Reading a journal, beside its one writer."""

    def identity(self) -> Identity | None:
        """Whose journal this is; None when it was never formatted."""
        ...

    def head(self) -> Head:
        """Its end; the base when it holds no record."""
        ...

    def base(self) -> Base:
        """What its first record continues; txid 0 and ``NO_CHAIN`` unless it was compacted."""
        ...

    def oldest_txid(self) -> Txid:
        """The first record still here; 1 unless the journal was compacted, 0 when empty."""
        ...

    def read(self, after: Txid, *, limit: int) -> list[Entry]:
        """At most ``limit`` records with a txid above ``after``, in order."""
        ...

    def scan(self, after: Txid, *, until: Txid, page: int = 5000) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Raw rows with ``after`` < txid <= ``until``, in order, in pages: column tuples of ``Entry``.

        For replay and verification of millions of records, where building an ``Entry`` each would
        cost more than the work. Sees one consistent state of the database.
        """
        ...

    def txid_at(self, ts_us: int) -> Txid:
        """The last txid whose timestamp is at or before ``ts_us``; 0 when none is."""
        ...


class Journal(JournalReader, Checkpoints, Protocol):
    """A durable, gapless, fenced sequence of records with one writer at a time."""

    def format(self, identity: Identity, first: Sequence[Entry]) -> None:
        """Write the identity and the first records, durably.

        Raises:
            JournalFenced: It has an identity already. Nothing is changed.
        """
        ...

    def append(self, entries: Sequence[Entry]) -> None:
        """Store ``entries`` after the last one: all of them or none. Durable on return.

        One transaction moves the head row by compare-and-set from the position and chain before
        ``entries[0]``; that statement is order, density and fencing.

        Raises:
            JournalFenced: The journal does not end where ``entries`` begin.
            JournalUnavailable: The write failed; the caller must not go on as if it had not happened.
        """
        ...

    def truncate(self, keep: Txid) -> None:
        """Drop every record above ``keep``, which is the base or a record here. Durable on return."""
        ...

    def install(self, base: Base, checkpoint: Checkpoint, *, keep_tail: bool) -> None:
        """Begin after ``base``, for which ``checkpoint`` stands, and remember that; all or nothing.

        Args:
            base: Beyond the last record here, or one of them.
            checkpoint: Its file is durable already.
            keep_tail: Records after ``base`` stay, because they continue it; else all go.
        """
        ...

    def compact(self, until: Txid, *, limit: int) -> Base:
        """Drop at most ``limit`` of the oldest records, up to ``until`` inclusive; returns the new base.

        One transaction: at every crash point, the base is the record before the first one here. Call it
        again until the base is ``until``. The last record always stays.
        """
        ...

    def vote(self) -> Vote:
        """The remembered vote; epoch 0 when none was ever given."""
        ...

    def remember_vote(self, vote: Vote) -> None:
        """Durable on return."""
        ...

    def close(self) -> None:
        """Release the database."""
        ...
