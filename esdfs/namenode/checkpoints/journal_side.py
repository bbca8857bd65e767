"""What checkpoints need of the journal's owner."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from esdfs.ids import Txid
from esdfs.journal.driver import QuorumDriver
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


class DriverSide:
    """``JournalSide`` of one of several."""

    def __init__(self, driver: QuorumDriver) -> None:
        self._driver = driver

    def voters_at(self, txid: Txid) -> tuple[Txid, VoterSet]:
        """See ``JournalSide.voters_at``."""
        return self._driver.node.voters_at(txid)

    async def in_journal(self, work: Callable[[], T]) -> T:
        """See ``JournalSide.in_journal``."""
        return await self._driver.in_journal(work)

    def checkpointed(self, offer: CheckpointOffer) -> None:
        """See ``JournalSide.checkpointed``."""
        self._driver.checkpointed(offer)

    def compacted(self, base: Base) -> None:
        """See ``JournalSide.compacted``."""
        self._driver.compacted(base)
