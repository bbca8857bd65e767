"""A node's place in the quorum: its journal and floor, the driver, and the wire. For voters and observers."""

from collections.abc import Callable
from typing import Any

import structlog

from esdfs.env import Clock, Rng
from esdfs.errors import EsdfsError
from esdfs.ids import NodeId, Txid
from esdfs.journal.driver import QuorumDriver
from esdfs.journal.entry import Identity
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.log import Journal
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import RoleChanged
from esdfs.journal.quorum.voters import VoterSet
from esdfs.journal.quorum_disk import load, next_incarnation
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import VOTERS_KIND, EventControlRecords, addresses
from esdfs.rpc.namenode import NameNodeServicer, PeerTransport, serve

_INCARNATION_FILE = "incarnation"
_log = structlog.get_logger(__name__)


class Member:
    """Made, started and stopped in one event loop. The caller owns the journal.

    Args:
        applied_txid: The last record a durable projection holds; 0 when there is none.
        on_commit: See ``QuorumDriver``.
        on_role: See ``QuorumDriver``.
    """

    def __init__(
        self,
        config: NameNodeConfig,
        journal: Journal,
        identity: Identity,
        applied_txid: int,
        clock: Clock,
        rng: Rng,
        *,
        on_commit: Callable[[Txid], None],
        on_role: Callable[[RoleChanged], None],
    ) -> None:
        control, quorum_config = EventControlRecords(), QuorumConfig()
        self._config = config
        self._seeds = config.seed_addresses
        self._floor = AckFloor(config.path / FLOOR_FILE, identity)
        is_new = not journal.head().last_txid
        stored = load(
            journal,
            self._floor,
            control=control,
            voters_kind=VOTERS_KIND,
            incarnation=next_incarnation(config.path / _INCARNATION_FILE),
            applied_txid=Txid(applied_txid),
            recent_records=quorum_config.uncommitted_records,
            # Who joined with an empty journal learns who votes from its first records.
            known_voters=(Txid(0), VoterSet(())) if is_new else None,
        )
        self._server: Any = None
        self.driver = QuorumDriver(
            stored,
            config=quorum_config,
            control=control,
            seeds=tuple(self._seeds),
            journal=journal,
            floor=self._floor,
            transport=PeerTransport(self._address_of, self._on_refused),
            clock=clock,
            rng=rng,
            on_commit=on_commit,
            on_role=on_role,
            endpoint=f"{config.grpc_address} {config.rest_url}".rstrip(),
        )

    async def start(self) -> None:
        """Listen, and take part."""
        servicer = NameNodeServicer(self.driver)
        self._server, _ = await serve(self._config.grpc_host, self._config.grpc_port, servicer)
        await self.driver.start()

    async def stop(self) -> None:
        """Hand over what others wait for, and end."""
        await self.driver.stop()
        if self._server is not None:
            await self._server.stop(0.2)
        self._floor.close()

    def _on_refused(self, by: NodeId, error: EsdfsError) -> None:
        self.driver.refused(by, error)

    def _address_of(self, node_id: NodeId) -> str | None:
        voter = self.driver.node.voters.get(node_id)
        return self._seeds.get(node_id) if voter is None else addresses(voter.endpoint)[0]
