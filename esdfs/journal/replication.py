"""How records become committed: the port between whoever decides and the quorum."""

from collections.abc import Sequence
from typing import Protocol

from esdfs.ids import Epoch, Txid
from esdfs.journal.entry import Draft, Entry, Head


class Replication(Protocol):
    """Makes the leader's records durable on a majority, one batch at a time."""

    @property
    def epoch(self) -> Epoch:
        """The newest epoch this node knows; its own when it leads."""
        ...

    @property
    def head(self) -> Head:
        """The end of this node's journal, without a batch in flight."""
        ...

    @property
    def commit_txid(self) -> Txid:
        """The last committed record, inclusive. Never goes back."""
        ...

    @property
    def is_leader(self) -> bool:
        """Whether ``propose`` may be called."""
        ...

    def propose(self, drafts: Sequence[Draft]) -> list[Entry]:
        """Seal ``drafts`` after the head, in this leader's epoch. Nothing is written yet.

        Only one batch may be in flight: the next call follows a ``commit`` of what this one returned.
        A timestamp lower than the last record's is raised to it.

        Raises:
            NotLeader: This node does not lead.
            JournalUnavailable: An earlier write failed; the process must exit.
        """
        ...

    def tail(self, after: Txid, *, limit: int) -> list[Entry]:
        """At most ``limit`` committed records with a txid above ``after``, in order."""
        ...
