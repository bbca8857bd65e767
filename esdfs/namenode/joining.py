"""How this NameNode takes part in its quorum, which may be of itself alone.

Made before the service, started with it.
"""

import asyncio
from typing import Any, Final

import structlog
from msgspec.structs import astuple

from esdfs.env import Clock, Rng
from esdfs.errors import Compacted
from esdfs.ids import Txid
from esdfs.journal.entry import Identity
from esdfs.journal.log import Journal
from esdfs.journal.quorum.effects import RoleChanged
from esdfs.namenode.checkpoints.files import CheckpointFiles
from esdfs.namenode.checkpoints.image import ImageHeader, require_layout
from esdfs.namenode.checkpoints.making import load
from esdfs.namenode.checkpoints.recovery import Found
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import FORMAT_EPOCH
from esdfs.namenode.features import beyond
from esdfs.namenode.leading import Quorum
from esdfs.namenode.member import Member, examine
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import Progress, catch_up
from esdfs.namenode.service import Service
from esdfs.namenode.sole_vote import SoleVote

_APPLY_AFTER_S: Final = 0.002  # a follower first writes what it fetched: the leader waits for that
_FIRST_RECORDS: Final = 500
_log = structlog.get_logger(__name__)


class Part:
    """A voter's or an observer's.

    Brings the projection as far as this node alone knows what is committed: all of the journal when nobody
    else votes.

    Raises:
        JournalCorrupt: The only vote there is has lost records: nothing was changed.
    """

    def __init__(
        self,
        config: NameNodeConfig,
        journal: Journal,
        identity: Identity,
        store: ProjectionStore,
        clock: Clock,
        rng: Rng,
        found: Found | None,
        *,
        progress: Progress,
    ) -> None:
        def level() -> int:
            with store.present() as view:
                return view.feature_level()

        disk = examine(config, journal, identity, found)
        self._is_sole = disk.is_sole(identity)
        if self._is_sole:
            applied = catch_up(store, journal, progress=progress)
            _log.info("projection caught up", records=applied, txid=store.meta().applied_txid)
        elif not store.meta().applied_txid:
            catch_up(store, journal, until=formatted_txid(journal))
        self._store = store
        self._service: Service | None = None
        self._config = config
        self._installed: Txid | None = None
        self._applying: asyncio.TimerHandle | None = None
        self._seeds = config.seeds
        self._is_started = False
        self._news = asyncio.Event()
        self._leads = asyncio.Event()
        self._has_records = bool(journal.head().last_txid)
        self._member = Member(
            config,
            journal,
            identity,
            clock,
            rng,
            disk=disk,
            level=level,
            applied_txid=Txid(store.meta().applied_txid),
            found=found,
            check=self._require_loadable,
            on_installed=self._on_installed,
            on_commit=self._on_commit,
            on_role=self._on_role,
        )
        self.driver = self._member.driver
        self._sole_vote = SoleVote(config.path)
        self.quorum = Quorum(self.driver, config, self._member.peers, clock, self._sole_vote)

    async def begin(self, store: ProjectionStore, stopping: asyncio.Event) -> bool:
        """Have the cluster's settings in the projection, which who joined has to fetch first.

        False when it was stopped before it had them, or can never go on.
        """
        if self._has_records:
            return True
        await self._start_member()
        _log.info("fetching the first records", seeds=self._seeds)
        while not store.meta().applied_txid:
            await self._first_of(stopping, self._news)
            if stopping.is_set() or self.driver.failed.done():
                return False
            self._news.clear()
            await self._begin_with(store)
        return True

    async def _begin_with(self, store: ProjectionStore) -> None:
        """The first records, or a checkpoint when the others have these no longer."""
        if self._installed is not None:
            path = CheckpointFiles(self._config.path).path(self._installed)
            await asyncio.to_thread(load, store, path)
            return
        try:
            entries = self.driver.records(Txid(0), _FIRST_RECORDS)
        except Compacted:
            return  # it is being installed
        writer = store.begin()
        try:
            for entry in entries:
                writer.apply_row(astuple(entry))
        except BaseException:
            writer.abort()
            raise
        writer.commit()

    async def start(self, service: Service) -> None:
        """Begin; the service hears of commits and roles from here on. Who votes alone leads on return."""
        self._service = service
        self.driver.failed.add_done_callback(
            lambda failed: None if failed.cancelled() else service.fail(failed.result())
        )
        service.role_changed()
        await self._start_member()
        self._on_commit(self.driver.commit_txid)
        if self._is_sole:
            await self._first_of(self._leads)

    async def leave(self) -> None:
        """Hand over leadership, while this node still answers."""
        await self.driver.leave_office()

    async def stop(self) -> None:
        """End."""
        await self._member.stop()
        self._sole_vote.close()

    async def _start_member(self) -> None:
        if not self._is_started:
            self._is_started = True
            await self._member.start()

    async def _first_of(self, *events: asyncio.Event) -> None:
        """Return when one of them is set, or this node can never go on."""
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        ends: set[asyncio.Future[Any]] = {*waits, self.driver.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _on_commit(self, _txid: Txid) -> None:
        self._news.set()
        if self._service is not None:
            if self.driver.is_active:
                self._service.apply_committed()
            elif self._applying is None:
                self._applying = asyncio.get_running_loop().call_later(_APPLY_AFTER_S, self._apply)
            self._service.role_changed_if_new()
        self._tell()

    def _apply(self) -> None:
        self._applying = None
        if self._service is not None:
            self._service.apply_committed()

    def _require_loadable(self, header: ImageHeader) -> None:
        require_layout(header)
        if header.feature_level > self._config.features.newest:
            raise beyond(header.feature_level, self._config.features.newest)

    def _on_installed(self, txid: Txid) -> None:
        if self._service is not None:
            self._service.checkpoint_installed(txid)
        else:
            self._installed = txid
            self._news.set()

    def _on_role(self, _change: RoleChanged) -> None:
        if self._service is not None:
            self._service.role_changed()
        self._tell()

    def _tell(self) -> None:
        self.quorum.tell_whether_sole(self._store.meta().applied_txid)
        if self.driver.is_active:
            self._leads.set()


def formatted_txid(journal: Journal) -> Txid:
    """The last record that formatting wrote: the same everywhere, so committed by definition."""
    first = journal.read(Txid(0), limit=4)
    return max((entry.txid for entry in first if entry.epoch == FORMAT_EPOCH), default=Txid(0))
