"""What a leader does unasked: it finishes restores, moves the horizon of history, forgets what is behind it.

Each chore is a record of bounded work, made from the state it will be applied to. One is under way at a
time, so that what clients ask for is decided in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from esdfs.errors import JournalError, NotLeader, OutcomeUnknown, Unavailable
from esdfs.namenode import events as ev
from esdfs.namenode.engine import Internal
from esdfs.namenode.events import Event
from esdfs.namenode.metadata_manager import MetadataManager
from esdfs.namenode.projection.views import PresentView
from esdfs.namenode.projection.writer import Writer

LOOK_S: Final = 1.0
"""How often to look for work that no event announced."""

STEPS_MAX: Final = 500
"""Of a restore, within one record: some milliseconds of the one thread."""

_log = structlog.get_logger(__name__)


class Chore(Protocol):
    """One kind of work."""

    def is_due(self, view: PresentView) -> bool:
        """Whether there is any; asked often, so it must be cheap."""
        ...

    def make(self, writer: Writer) -> Event | None:
        """The next bounded part of it; None when there is nothing left."""
        ...


class FinishRestores:
    """Go on with what a restore began; see ``namespace.fanout``."""

    def is_due(self, view: PresentView) -> bool:
        """See ``Chore.is_due``."""
        return bool(view.unfinished())

    def make(self, writer: Writer) -> Event | None:
        """See ``Chore.make``."""
        for began_txid, _ in writer.unfinished():
            return ev.WorkContinued(began_txid, STEPS_MAX)
        return None


class Housekeeping:
    """Does the chores while this node leads.

    Args:
        chores: In the order of their importance: a later one waits while an earlier one is due.
    """

    def __init__(self, metadata: MetadataManager, chores: Sequence[Chore]) -> None:
        self._metadata = metadata
        self._chores = chores
        self._woken = asyncio.Event()

    def on_committed(self, events: Sequence[Event]) -> None:
        """Look at once if one of ``events`` makes work."""
        if not _MAKING_WORK.isdisjoint(map(type, events)):
            self._woken.set()

    async def keep(self, propose: Callable[[Internal], Awaitable[Any]]) -> None:
        """Work for ever; ``propose`` as ``Service.propose``."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                while (chore := self._next()) is not None:
                    await propose(Internal(chore.make))
            except (NotLeader, OutcomeUnknown, Unavailable, JournalError) as error:
                _log.info("housekeeping put off", why=error.message)

    def _next(self) -> Chore | None:
        if not self._metadata.replication.is_leader:
            return None
        with self._metadata.present() as view:
            return next((chore for chore in self._chores if chore.is_due(view)), None)


_MAKING_WORK: Final = {
    ev.TreeLinked,
    ev.NamespaceRewound,
    ev.HorizonMoved,
    ev.SnapshotDeleted,
    ev.RetentionSet,
}
