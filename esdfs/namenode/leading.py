"""How a NameNode's changes become committed, and what is known of the others. The service asks only this."""

from collections.abc import Sequence
from typing import Any, Final

from esdfs.env import Clock
from esdfs.ids import Epoch, NodeId, Txid
from esdfs.journal.driver import QuorumDriver
from esdfs.journal.entry import Draft, Entry, Head
from esdfs.journal.quorum.messages import SyncKind
from esdfs.namenode.checkpoints.journal_side import DriverSide
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import addresses
from esdfs.namenode.frames import QuorumChange
from esdfs.namenode.quorum_admin import QuorumAdmin
from esdfs.namenode.sole_vote import SoleVote
from esdfs.namenode.upgrading import NodeFeatures
from esdfs.rpc.peer_features import PeerFeatures

_SILENT_NS: Final = 10_000_000_000


class Quorum(DriverSide):
    """``Replication``, and what waits for others, on the quorum's driver."""

    def __init__(
        self,
        driver: QuorumDriver,
        config: NameNodeConfig,
        peers: PeerFeatures,
        clock: Clock,
        sole_vote: SoleVote,
    ) -> None:
        super().__init__(driver)
        self._me, self._rest, self._supported = NodeId(config.node_id), config.rest_url, config.features
        self._peers = peers
        self._sole_vote = sole_vote
        self._elected_at: Txid | None = None
        self._admin = QuorumAdmin(driver, clock, changing=lambda: sole_vote.tell(False))

    @property
    def epoch(self) -> Epoch:
        """See ``Replication.epoch``."""
        return self._driver.epoch

    @property
    def head(self) -> Head:
        """See ``Replication.head``."""
        return self._driver.head

    @property
    def commit_txid(self) -> Txid:
        """See ``Replication.commit_txid``."""
        return self._driver.commit_txid

    @property
    def is_leader(self) -> bool:
        """See ``Replication.is_leader``: it leads, and knows all that is committed."""
        return self._driver.is_active

    def propose(self, drafts: Sequence[Draft]) -> list[Entry]:
        """See ``Replication.propose``."""
        return self._driver.propose(drafts)

    def tail(self, after: Txid, *, limit: int) -> list[Entry]:
        """See ``Replication.tail``."""
        return self._driver.records(after, limit)

    async def committed(self, entries: Sequence[Entry]) -> None:
        """Return once what ``propose`` gave is committed.

        Raises:
            OutcomeUnknown: Leadership was lost before that was known.
        """
        await self._driver.committed(entries[-1].txid, entries[-1].epoch)

    async def read_index(self) -> Txid:
        """State at the answer or newer shows everything acknowledged before this call.

        Raises:
            NotLeader: Ask the leader.
        """
        return await self._driver.read_index()

    def is_alone(self) -> bool:
        """Whether nobody else has to hold what is committed."""
        return len(self._driver.node.voters) < 2

    def tell_whether_sole(self, applied_txid: int) -> None:
        """Let workers read without asking while nobody else can lead.

        Call with each commit and role, and what the projection shows: it must have all that others, or this
        node before it was elected, ever acknowledged.
        """
        driver, node = self._driver, self._driver.node
        if not driver.is_active or not self.is_alone():
            self._elected_at = None
            self._sole_vote.tell(False)
            return
        if self._elected_at is None:
            self._elected_at = max(driver.head.last_txid, node.voters_txid)
        if applied_txid >= self._elected_at:
            self._sole_vote.tell(True)

    def is_opening(self) -> bool:
        """Whether this node was just elected and will lead as soon as its first record is committed."""
        return self._driver.is_opening

    def leader(self) -> tuple[str, str]:
        """(node id, REST URL) of the leader; empty while nobody is known to lead."""
        leader_id = self._driver.leader_id
        if leader_id == self._me:
            return self._me, self._rest  # it may have moved since it was made a voter
        voter = None if leader_id is None else self._driver.node.voters.get(leader_id)
        return ("", "") if voter is None else (voter.node_id, addresses(voter.endpoint)[1])

    def role(self) -> str:
        """What this node is: leader, follower, candidate, and so on."""
        return self._driver.role

    def rests(self) -> tuple[str, ...]:
        """REST URLs for DataNodes to report to: voters', and on the leader those of observers, too.

        Empty while there is only one: they know it.
        """
        node = self._driver.node
        endpoints = [voter.endpoint for voter in node.voters if voter.node_id != self._me]
        endpoints += [
            self._driver.introduced[each][1] for each in node.peers if each in self._driver.introduced
        ]
        others = {addresses(endpoint)[1] for endpoint in endpoints} - {""}
        return tuple(sorted({*others, self._rest})) if others else ()

    def status(self) -> dict[str, Any]:
        """See ``QuorumAdmin.status``."""
        return self._admin.status()

    async def change(self, wanted: QuorumChange) -> dict[str, Any]:
        """See ``QuorumAdmin.change``."""
        return await self._admin.change(wanted)

    def features(self) -> list[NodeFeatures]:
        """See ``Fleet.features``; whoever fetches was heard from within a second."""
        heard = self._peers.since(_SILENT_NS)
        found = []
        for voter in self._driver.node.voters:
            seen = heard.pop((voter.node_id, voter.storage_id), None)
            reads = (seen.oldest, seen.newest) if seen else (0, 0)
            if voter.node_id == self._me:
                reads = self._supported
            found.append(NodeFeatures(voter.node_id, voter.kind.value, *reads))
        return found + [
            NodeFeatures(seen.node_id, "observer", seen.oldest, seen.newest)
            for _, seen in sorted(heard.items())
            if seen.kind == SyncKind.OBSERVER
        ]
