"""What checkpoints need of the journal's owner."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from esdfs.ids import Txid
from esdfs.journal.entry import Base
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.journal.quorum.voters import VoterSet

T = TypeVar("T")


class JournalSide(Protocol):
    """What a keeper needs of the quorum, or of the lone journal."""

    def voters_at(self, txid: Txid) -> tuple[Txid, VoterSet]:
        """The set in force at ``txid``, and the record that holds it; nobody in a cluster of one."""
        ...

    async def in_journal(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the journal's thread, between writes."""
        ...

    def checkpointed(self, offer: CheckpointOffer) -> None:
        """A newer checkpoint is durable here and may be offered."""
        ...

    def compacted(self, base: Base) -> None:
        """Records up to ``base`` are about to leave the journal."""
        ...
