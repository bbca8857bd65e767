"""A node's place in the quorum: its journal and floor, the driver, and the wire. For voters and observers."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from esdfs import __version__
from esdfs.env import Clock, Rng
from esdfs.errors import EsdfsError
from esdfs.ids import NodeId, Txid
from esdfs.journal.driver import QuorumDriver
from esdfs.journal.entry import Entry, Identity
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.log import Journal
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import RoleChanged
from esdfs.journal.quorum.voters import VoterSet
from esdfs.journal.quorum_disk import load, next_incarnation
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import VOTERS_KIND, EventControlRecords, addresses
from esdfs.namenode.mending import mend
from esdfs.namenode.upgrading import require_readable
from esdfs.rpc.namenode import NameNodeServicer, PeerTransport, serve
from esdfs.rpc.peer_features import PeerFeatures

_INCARNATION_FILE = "incarnation"
_log = structlog.get_logger(__name__)


class Member:
    """Made, started and stopped in one event loop. The caller owns the journal.

    Args:
        level: The feature level to write at, see ``EventControlRecords``.
        applied_txid: The last record a durable projection holds; 0 when there is none.
        on_commit: See ``QuorumDriver``.
        on_role: See ``QuorumDriver``.
    """

    def __init__(
        self,
        config: NameNodeConfig,
        journal: Journal,
        identity: Identity,
        clock: Clock,
        rng: Rng,
        *,
        level: Callable[[], int],
        applied_txid: Txid,
        on_commit: Callable[[Txid], None],
        on_role: Callable[[RoleChanged], None],
    ) -> None:
        control, quorum_config = EventControlRecords(level, __version__), QuorumConfig()
        self._config = config
        self._seeds = config.seed_addresses
        self.peers = PeerFeatures(identity.cluster_id, *config.features, clock)
        self._floor = AckFloor(config.path / FLOOR_FILE, identity)
        mend(journal, config)
        stored = load(
            journal,
            self._floor,
            control=control,
            voters_kind=VOTERS_KIND,
            incarnation=next_incarnation(config.path / _INCARNATION_FILE),
            applied_txid=applied_txid,
            recent_records=quorum_config.uncommitted_records,
            # Who joined with an empty journal learns who votes from the records it fetches.
            known_voters=(Txid(0), VoterSet(())) if self._seeds else None,
        )
        self._server: Any = None
        self.driver = QuorumDriver(
            stored,
            config=quorum_config,
            control=control,
            seeds=tuple(self._seeds),
            journal=journal,
            floor=self._floor,
            transport=PeerTransport(self._address_of, self.peers, self._on_refused),
            clock=clock,
            rng=rng,
            on_commit=on_commit,
            on_role=on_role,
            on_stored=self._on_stored,
            endpoint=f"{config.grpc_address} {config.rest_url}".rstrip(),
        )

    async def start(self) -> None:
        """Listen, and take part."""
        servicer = NameNodeServicer(self.driver, self.peers)
        self._server, _ = await serve(self._config.grpc_host, self._config.grpc_port, servicer)
        await self.driver.start()

    async def stop(self) -> None:
        """Hand over what others wait for, and end."""
        await self.driver.stop()
        if self._server is not None:
            await self._server.stop(0.2)
        self._floor.close()

    def _on_stored(self, entries: Sequence[Entry]) -> None:
        # Before it could be elected: a leader must know what it leads.
        require_readable(entries, self._config.features)

    def _on_refused(self, by: NodeId, error: EsdfsError) -> None:
        self.driver.refused(by, error)

    def _address_of(self, node_id: NodeId) -> str | None:
        if node_id in self._config.peer_addresses:
            return self._config.peer_addresses[node_id]
        voter = self.driver.node.voters.get(node_id)
        return self._seeds.get(node_id) if voter is None else addresses(voter.endpoint)[0]
