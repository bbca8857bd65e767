"""How this NameNode takes part: alone, or as one of a quorum.

Made before the service, started with it.
"""

import asyncio
from typing import Any, Final, Protocol

import structlog
from msgspec.structs import astuple

from esdfs import __version__
from esdfs.env import Clock, Rng
from esdfs.ids import Txid
from esdfs.journal.entry import Identity
from esdfs.journal.log import Journal
from esdfs.journal.quorum.effects import RoleChanged
from esdfs.journal.quorum.voters import VoterSet
from esdfs.journal.replication import Replication
from esdfs.journal.solo import SoloReplication
from esdfs.namenode import events as ev
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import EventControlRecords
from esdfs.namenode.engine import Internal
from esdfs.namenode.formatting import FORMAT_EPOCH
from esdfs.namenode.leading import Alone, InQuorum, Quorum
from esdfs.namenode.member import Member
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.writer import Writer
from esdfs.namenode.service import Service

_APPLY_AFTER_S: Final = 0.002  # a follower first writes what it fetched: the leader waits for that
_FIRST_RECORDS: Final = 500
_log = structlog.get_logger(__name__)


class Part(Protocol):
    """This node's part in the cluster."""

    @property
    def replication(self) -> Replication:
        """For the metadata manager."""
        ...

    @property
    def quorum(self) -> Quorum:
        """For the service."""
        ...

    async def begin(self, store: ProjectionStore, stopping: asyncio.Event) -> bool:
        """Have the cluster's settings in the projection, which who joined has to fetch first.

        False when it was stopped before it had them, or can never go on.
        """
        ...

    async def start(self, service: Service) -> None:
        """Begin; the service hears of commits and roles from here on."""
        ...

    async def leave(self) -> None:
        """Hand over leadership, while this node still answers."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


class LonePart:
    """The only NameNode: leader from its start."""

    def __init__(self, config: NameNodeConfig, journal: Journal, identity: Identity) -> None:
        self.replication = SoloReplication(journal)
        self.quorum = Alone(self.replication, identity, config.rest_url, config.features)
        self._identity = identity

    async def begin(self, store: ProjectionStore, stopping: asyncio.Event) -> bool:
        """See ``Part.begin``."""
        del store, stopping
        return True

    async def start(self, service: Service) -> None:
        """See ``Part.start``."""

        def opened(writer: Writer) -> ev.Event:
            node_id, storage_id = self._identity.node_id, self._identity.storage_id
            return ev.LeaderChanged(node_id, storage_id, __version__, writer.feature_level())

        await service.propose(Internal(opened))

    async def leave(self) -> None:
        """See ``Part.leave``: there is nobody."""

    async def stop(self) -> None:
        """See ``Part.stop``."""
        await asyncio.to_thread(self.quorum.close)


class MemberPart:
    """A voter or an observer."""

    def __init__(
        self,
        config: NameNodeConfig,
        journal: Journal,
        identity: Identity,
        store: ProjectionStore,
        clock: Clock,
        rng: Rng,
    ) -> None:
        def level() -> int:
            with store.present() as view:
                return view.feature_level()

        self._service: Service | None = None
        self._applying: asyncio.TimerHandle | None = None
        self._seeds = config.seeds
        self._is_started = False
        self._news = asyncio.Event()
        self._has_records = bool(journal.head().last_txid)
        self._member = Member(
            config,
            journal,
            identity,
            clock,
            rng,
            level=level,
            applied_txid=Txid(store.meta().applied_txid),
            on_commit=self._on_commit,
            on_role=self._on_role,
        )
        self.driver = self._member.driver
        self.replication = self.quorum = InQuorum(self.driver, config.features, self._member.peers, clock)

    async def begin(self, store: ProjectionStore, stopping: asyncio.Event) -> bool:
        """See ``Part.begin``."""
        if self._has_records:
            return True
        await self._start_member()
        waits = [asyncio.ensure_future(event.wait()) for event in (stopping, self._news)]
        ends: set[asyncio.Future[Any]] = {*waits, self.driver.failed}
        _log.info("fetching the first records", seeds=self._seeds)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self.driver.commit_txid:
            return False
        writer = store.begin()
        try:
            for entry in self.driver.records(Txid(0), _FIRST_RECORDS):
                writer.apply_row(astuple(entry))
        except BaseException:
            writer.abort()
            raise
        writer.commit()
        return True

    async def start(self, service: Service) -> None:
        """See ``Part.start``."""
        self._service = service
        self.driver.failed.add_done_callback(
            lambda failed: None if failed.cancelled() else service.fail(failed.result())
        )
        service.role_changed()
        await self._start_member()
        self._on_commit(self.driver.commit_txid)

    async def _start_member(self) -> None:
        if not self._is_started:
            self._is_started = True
            await self._member.start()

    async def leave(self) -> None:
        """See ``Part.leave``."""
        await self.driver.leave_office()

    async def stop(self) -> None:
        """See ``Part.stop``."""
        await self._member.stop()

    def _on_commit(self, _txid: Txid) -> None:
        self._news.set()
        if self._service is not None:
            if self.driver.is_active:
                self._service.apply_committed()
            elif self._applying is None:
                self._applying = asyncio.get_running_loop().call_later(_APPLY_AFTER_S, self._apply)
            self._service.role_changed_if_new()

    def _apply(self) -> None:
        self._applying = None
        if self._service is not None:
            self._service.apply_committed()

    def _on_role(self, _change: RoleChanged) -> None:
        if self._service is not None:
            self._service.role_changed()


def is_lone(config: NameNodeConfig, journal: Journal, identity: Identity) -> bool:
    """Whether this cluster was formatted for one NameNode, and never opened to others since."""
    joined = bool(config.seeds)
    return not joined and identity.cluster_generation == 1 and formatted_voters(journal) is None


def formatted_voters(journal: Journal) -> VoterSet | None:
    """Who voted when the cluster was made; None for a cluster of one."""
    control = EventControlRecords()
    for entry in journal.read(Txid(0), limit=4):
        if entry.epoch == FORMAT_EPOCH and (found := control.voters_of(entry)) is not None:
            return found
    return None


def formatted_txid(journal: Journal) -> Txid:
    """The last record that formatting wrote: the same everywhere, so committed by definition."""
    first = journal.read(Txid(0), limit=4)
    return max((entry.txid for entry in first if entry.epoch == FORMAT_EPOCH), default=Txid(0))
