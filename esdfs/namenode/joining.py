"""How this NameNode takes part: alone, or as one voter of several.

Made before the service, started with it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from esdfs import __version__
from esdfs.env import Clock, Rng
from esdfs.errors import InvalidRequest
from esdfs.ids import NodeId, Txid
from esdfs.journal.driver import QuorumDriver
from esdfs.journal.entry import Entry, Identity
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.log import Journal
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import RoleChanged
from esdfs.journal.quorum.voters import Voter, VoterSet
from esdfs.journal.quorum_disk import load, next_incarnation
from esdfs.journal.replication import Replication
from esdfs.journal.solo import SoloReplication
from esdfs.namenode import events as ev
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import VOTERS_KIND, EventControlRecords, addresses
from esdfs.namenode.engine import Internal
from esdfs.namenode.formatting import FORMAT_EPOCH
from esdfs.namenode.leading import Alone, InQuorum, Quorum
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.writer import Writer
from esdfs.namenode.service import Service
from esdfs.namenode.upgrading import require_readable
from esdfs.rpc.namenode import NameNodeServicer, PeerTransport, serve
from esdfs.rpc.peer_features import PeerFeatures

_INCARNATION_FILE: Final = "incarnation"
_APPLY_AFTER_S: Final = 0.002  # a follower first writes what it fetched: the leader waits for that


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

    async def start(self, service: Service) -> None:
        """Begin; the service hears of commits and roles from here on."""
        ...

    async def hand_over(self) -> None:
        """Let another lead, if this node does: what is asked here after that is sent there."""
        ...

    async def stop(self) -> None:
        """Hand over what others wait for, and end."""
        ...


class LonePart:
    """The only NameNode: leader from its start."""

    def __init__(self, config: NameNodeConfig, journal: Journal, identity: Identity) -> None:
        self.replication = SoloReplication(journal)
        rest = f"http://{config.rest_host}:{config.rest_port}"
        self.quorum = Alone(self.replication, config.node_id, rest, config.features)
        self._identity = identity

    async def start(self, service: Service) -> None:
        """See ``Part.start``."""

        def opened(writer: Writer) -> ev.Event:
            node_id, storage_id = self._identity.node_id, self._identity.storage_id
            return ev.LeaderChanged(node_id, storage_id, __version__, writer.feature_level())

        await service.propose(Internal(opened))

    async def hand_over(self) -> None:
        """See ``Part.hand_over``: there is nobody."""

    async def stop(self) -> None:
        """See ``Part.stop``."""
        await asyncio.to_thread(self.quorum.close)


class VoterPart:
    """One of several NameNodes."""

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

        control = EventControlRecords(level, __version__)
        peers = PeerFeatures(identity.cluster_id, *config.features, clock)
        self._config = config
        self._floor = AckFloor(config.path / FLOOR_FILE, identity)
        quorum_config = QuorumConfig()
        stored = load(
            journal,
            self._floor,
            control=control,
            voters_kind=VOTERS_KIND,
            incarnation=next_incarnation(config.path / _INCARNATION_FILE),
            applied_txid=Txid(store.meta().applied_txid),
            recent_records=quorum_config.uncommitted_records,
        )
        self._service: Service | None = None
        self._applying: asyncio.TimerHandle | None = None
        self._server: Any = None
        self.driver = QuorumDriver(
            stored,
            config=quorum_config,
            control=control,
            journal=journal,
            floor=self._floor,
            transport=PeerTransport(self._address_of, peers),
            clock=clock,
            rng=rng,
            on_commit=self._on_commit,
            on_role=self._on_role,
            on_stored=self._on_stored,
        )
        self._peers = peers
        self.replication = self.quorum = InQuorum(self.driver, config.node_id, config.features, peers)

    async def start(self, service: Service) -> None:
        """See ``Part.start``."""
        self._service = service
        self.driver.failed.add_done_callback(
            lambda failed: None if failed.cancelled() else service.fail(failed.result())
        )
        servicer = NameNodeServicer(self.driver, self._peers)
        self._server, _ = await serve(self._config.grpc_host, self._config.grpc_port, servicer)
        service.role_changed()
        await self.driver.start()

    async def hand_over(self) -> None:
        """See ``Part.hand_over``."""
        await self.driver.hand_over()

    async def stop(self) -> None:
        """See ``Part.stop``."""
        await self.driver.stop()
        if self._server is not None:
            await self._server.stop(0.2)
        self._floor.close()

    def _address_of(self, node_id: NodeId) -> str | None:
        if node_id in self._config.peer_addresses:
            return self._config.peer_addresses[node_id]
        voter = self.driver.node.voters.get(node_id)
        return None if voter is None else addresses(voter.endpoint)[0]

    def _on_commit(self, _txid: Txid) -> None:
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

    def _on_stored(self, entries: Sequence[Entry]) -> None:
        # Before it could be elected: a leader must know what it leads.
        require_readable(entries, self._config.features)

    def _on_role(self, _change: RoleChanged) -> None:
        if self._service is not None:
            self._service.role_changed()


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


def own_voter(voters: VoterSet, node_id: str) -> Voter:
    """This node among the voters.

    Raises:
        InvalidRequest: It is not there.
    """
    voter = voters.get(NodeId(node_id))
    if voter is None:
        raise InvalidRequest(f"{node_id} is not one of this cluster's NameNodes: {', '.join(voters.ids)}")
    return voter
