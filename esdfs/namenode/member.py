"""A node's place in the quorum: its journal and floor, the driver, and the wire. For voters and observers."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog

from esdfs import __version__
from esdfs.env import Clock, Rng
from esdfs.errors import EsdfsError, JournalCorrupt
from esdfs.ids import NodeId, Position, Txid
from esdfs.journal.driver import QuorumDriver
from esdfs.journal.entry import Entry, Identity
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.log import Journal
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import RoleChanged
from esdfs.journal.quorum.voters import Voter, VoterKind, VoterSet
from esdfs.journal.quorum_disk import find_voters, load, next_incarnation
from esdfs.namenode.checkpoints.files import CheckpointFiles
from esdfs.namenode.checkpoints.image import ImageHeader
from esdfs.namenode.checkpoints.recovery import Found
from esdfs.namenode.checkpoints.transfer import CheckpointExchange
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import VOTERS_KIND, EventControlRecords, addresses
from esdfs.namenode.mending import mend
from esdfs.namenode.upgrading import require_readable
from esdfs.rpc.namenode import NameNodeServicer, PeerTransport, serve
from esdfs.rpc.peer_features import PeerFeatures

_INCARNATION_FILE = "incarnation"
_log = structlog.get_logger(__name__)


class Disk(NamedTuple):
    """What belongs to a vote beside the journal.

    ``voters``: see ``find_voters``.
    """

    floor: AckFloor
    voters: tuple[tuple[Txid, VoterSet], ...]

    def is_sole(self, identity: Identity) -> bool:
        """Whether nobody else votes: then all that the journal holds is committed."""
        newest = self.voters[-1][1]
        return len(newest) == 1 and newest.has(NodeId(identity.node_id), identity.storage_id)


def examine(config: NameNodeConfig, journal: Journal, identity: Identity, found: Found | None) -> Disk:
    """Mend the journal, and look who votes and whether this node may; ``found`` is the newest checkpoint.

    Raises:
        JournalCorrupt: See ``mend``; or the only vote there is has lost records, or nobody can tell: an
            operator must decide.
        JournalUnavailable: Nobody votes, or the floor cannot be read.
    """
    known = None if found is None else found.voters
    mend(journal, config, None if known is None else known[1])
    me = NodeId(identity.node_id)
    voters = find_voters(
        journal,
        control=EventControlRecords(),
        voters_kind=VOTERS_KIND,
        # Who joined with an empty journal learns who votes from the records it fetches.
        known=known or ((Txid(0), VoterSet(())) if config.seed_addresses else None),
        base=journal.base().head,
        sole=Voter(me, identity.storage_id, VoterKind.FULL, endpoint_of(config)),
    )
    disk = Disk(AckFloor(config.path / FLOOR_FILE, identity), voters)
    if disk.is_sole(identity):
        _require_complete(config, journal, disk.floor.position)
    return disk


def _require_complete(config: NameNodeConfig, journal: Journal, floor: Position | None) -> None:
    head = journal.head()
    if floor is not None and floor <= Position(head.epoch, head.last_txid):
        return
    what = (
        f"{config.path / FLOOR_FILE} is missing or unreadable, so nobody can tell whether the journal still"
        " holds all that was acknowledged"
        if floor is None
        else f"the journal ends at record {head.last_txid} of epoch {head.epoch}, but record {floor.txid} of"
        f" epoch {floor.epoch} was acknowledged: {max(0, floor.txid - head.last_txid)} records are missing"
    )
    raise JournalCorrupt(
        f"{what}; no other NameNode votes, so nobody else can say. Restore what is missing, or go on with"
        f" what there is: `esdfs namenode trust-journal --dir {config.dir}`",
        txid=head.last_txid,
        damage="tail",
    )


def endpoint_of(config: NameNodeConfig) -> str:
    """How a node is reached, as voters have it."""
    return f"{config.grpc_address} {config.rest_url}".rstrip()


class Member:
    """Made, started and stopped in one event loop. The caller owns the journal.

    Args:
        disk: From ``examine``.
        level: The feature level to write at, see ``EventControlRecords``.
        applied_txid: The last record a durable projection holds; 0 when there is none.
        found: The newest checkpoint here.
        check: See ``CheckpointExchange``; so for ``on_installed``.
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
        disk: Disk,
        level: Callable[[], int],
        applied_txid: Txid,
        found: Found | None,
        check: Callable[[ImageHeader], None],
        on_installed: Callable[[Txid], None],
        on_commit: Callable[[Txid], None],
        on_role: Callable[[RoleChanged], None],
    ) -> None:
        control, quorum_config = EventControlRecords(level, __version__), QuorumConfig()
        self._config = config
        self._seeds = config.seed_addresses
        self._floor = disk.floor
        self.peers = PeerFeatures(identity.cluster_id, *config.features, clock)
        base = journal.base()
        stored = load(
            journal,
            self._floor,
            voters=disk.voters,
            incarnation=next_incarnation(config.path / _INCARNATION_FILE),
            applied_txid=applied_txid,
            recent_records=quorum_config.uncommitted_records,
            base=base.head,
            base_ts_us=base.ts_us,
            checkpoint=None if found is None else found.offer,
        )
        transport = PeerTransport(self._address_of, self.peers, self._on_refused)
        self.exchange = CheckpointExchange(
            CheckpointFiles(config.path),
            journal,
            clock,
            cluster_id=identity.cluster_id,
            fetch_chunk=partial(transport.fetch_chunk, cluster_id=identity.cluster_id),
            check=check,
            on_unfit=self._on_unfit,
            on_installed=on_installed,
            free_bytes_min=config.free_bytes_min,
        )
        self._server: Any = None
        self.driver = QuorumDriver(
            stored,
            config=quorum_config,
            control=control,
            seeds=tuple(self._seeds),
            journal=journal,
            floor=self._floor,
            transport=transport,
            clock=clock,
            rng=rng,
            on_commit=on_commit,
            on_role=on_role,
            on_stored=self._on_stored,
            checkpoints=self.exchange,
            endpoint=endpoint_of(config),
        )

    async def start(self) -> None:
        """Listen, and take part."""
        servicer = NameNodeServicer(self.driver, self.peers, self.exchange)
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

    def _on_unfit(self, why: str) -> None:
        self.driver.give_up(why)

    def _on_refused(self, by: NodeId, error: EsdfsError) -> None:
        self.driver.refused(by, error)

    def _address_of(self, node_id: NodeId) -> str | None:
        if node_id in self._config.peer_addresses:
            return self._config.peer_addresses[node_id]
        voter = self.driver.node.voters.get(node_id)
        return self._seeds.get(node_id) if voter is None else addresses(voter.endpoint)[0]
