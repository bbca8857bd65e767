"""How a NameNode's changes become committed: alone, or as one of a quorum. The service asks only this."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from esdfs.env import Clock
from esdfs.errors import MembershipRefused
from esdfs.ids import Epoch, Txid
from esdfs.journal.driver import QuorumDriver
from esdfs.journal.entry import Draft, Entry, Head, Identity
from esdfs.journal.quorum.messages import SyncKind
from esdfs.journal.solo import SoloReplication
from esdfs.namenode.control_records import addresses
from esdfs.namenode.features import FeatureRange
from esdfs.namenode.frames import QuorumChange
from esdfs.namenode.quorum_admin import QuorumAdmin
from esdfs.namenode.upgrading import NodeFeatures
from esdfs.rpc.peer_features import PeerFeatures

_SILENT_NS: Final = 10_000_000_000


class Quorum(Protocol):
    """What waits for others, beside ``Replication``."""

    async def committed(self, entries: Sequence[Entry]) -> None:
        """Return once what ``propose`` gave is committed.

        Raises:
            OutcomeUnknown: Leadership was lost before that was known.
            JournalError: This node's journal failed; the process must exit.
        """
        ...

    async def read_index(self) -> Txid:
        """State at the answer or newer shows everything acknowledged before this call.

        Raises:
            NotLeader: Ask the leader.
        """
        ...

    def is_alone(self) -> bool:
        """Whether nobody else has to hold what is committed."""
        ...

    def is_opening(self) -> bool:
        """Whether this node was just elected and will lead as soon as its first record is committed."""
        ...

    def leader(self) -> tuple[str, str]:
        """(node id, REST URL) of the leader; empty while nobody is known to lead."""
        ...

    def role(self) -> str:
        """What this node is: leader, follower, candidate, and so on."""
        ...

    def rests(self) -> tuple[str, ...]:
        """REST URLs of all NameNodes known here, for DataNodes to report to; empty when there is only one."""
        ...

    def status(self) -> dict[str, Any]:
        """See ``QuorumAdmin.status``."""
        ...

    async def change(self, wanted: QuorumChange) -> dict[str, Any]:
        """See ``QuorumAdmin.change``."""
        ...

    def features(self) -> list[NodeFeatures]:
        """See ``Fleet.features``."""
        ...


class Alone:
    """A cluster of one: what is durable here is committed.

    One thread for the journal, so that an fsync delays no heartbeat.
    """

    def __init__(
        self, replication: SoloReplication, identity: Identity, rest: str, supported: FeatureRange
    ) -> None:
        self._replication = replication
        self._identity = identity
        self._leader = (identity.node_id, rest)
        self._supported = supported
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")

    async def committed(self, entries: Sequence[Entry]) -> None:
        """See ``Quorum.committed``."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._replication.commit, entries)

    async def read_index(self) -> Txid:
        """See ``Quorum.read_index``: there is nobody else who could have acknowledged anything."""
        return self._replication.commit_txid

    def is_alone(self) -> bool:
        """See ``Quorum.is_alone``."""
        return True

    def is_opening(self) -> bool:
        """See ``Quorum.is_opening``: nobody else has to hold the first record."""
        return False

    def leader(self) -> tuple[str, str]:
        """See ``Quorum.leader``."""
        return self._leader

    def role(self) -> str:
        """See ``Quorum.role``."""
        return "leader" if self._replication.is_leader else "unattached"

    def rests(self) -> tuple[str, ...]:
        """See ``Quorum.rests``."""
        return ()

    def status(self) -> dict[str, Any]:
        """See ``Quorum.status``: one node, which has no quorum to speak of."""
        identity, replication = self._identity, self._replication
        last_txid = int(replication.head.last_txid)
        node_id, rest = self._leader
        me = {
            "node_id": node_id,
            "storage_id": identity.storage_id,
            "kind": "voter",
            "grpc": "",
            "rest": rest,
            "role": self.role(),
            "up": True,
            "match_txid": last_txid,
            "lag_records": 0,
            "last_contact_ms": 0,
            "health": "ok",
        }
        return {
            "cluster_id": identity.cluster_id,
            "generation": identity.cluster_generation,
            "node_id": node_id,
            "role": self.role(),
            "leader": node_id,
            "epoch": replication.epoch,
            "commit_txid": replication.commit_txid,
            "last_txid": last_txid,
            "voters": [me],
            "observers": [],
            "majority": 1,
            "up": 1,
            "survives": 0,
            "change_pending": False,
            "transfer_to": None,
            "alone": True,
        }

    async def change(self, wanted: QuorumChange) -> dict[str, Any]:
        """See ``Quorum.change``: there is nobody to change anything with."""
        del wanted
        raise MembershipRefused(
            "this cluster was formatted for one NameNode: stop it and run `esdfs namenode force-standalone"
            " --dir DIR --i-know-the-others-are-dead` once, and others can join"
        )

    def features(self) -> list[NodeFeatures]:
        """See ``Fleet.features``: there is nobody else."""
        return [NodeFeatures(self._leader[0], "voter", *self._supported)]

    def close(self) -> None:
        """Wait for the write under way."""
        self._thread.shutdown(wait=True)


class InQuorum:
    """One of several: ``Replication`` and ``Quorum`` on the quorum's driver."""

    def __init__(
        self, driver: QuorumDriver, supported: FeatureRange, peers: PeerFeatures, clock: Clock
    ) -> None:
        self._driver = driver
        self._supported, self._peers = supported, peers
        self._admin = QuorumAdmin(driver, clock)

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
        """See ``Quorum.committed``."""
        await self._driver.committed(entries[-1].txid, entries[-1].epoch)

    async def read_index(self) -> Txid:
        """See ``Quorum.read_index``."""
        return await self._driver.read_index()

    def is_alone(self) -> bool:
        """See ``Quorum.is_alone``."""
        return len(self._driver.node.voters.ids) < 2

    def is_opening(self) -> bool:
        """See ``Quorum.is_opening``."""
        return self._driver.is_opening

    def leader(self) -> tuple[str, str]:
        """See ``Quorum.leader``."""
        leader_id = self._driver.leader_id
        voter = None if leader_id is None else self._driver.node.voters.get(leader_id)
        return ("", "") if voter is None else (voter.node_id, addresses(voter.endpoint)[1])

    def role(self) -> str:
        """See ``Quorum.role``."""
        return self._driver.role

    def rests(self) -> tuple[str, ...]:
        """See ``Quorum.rests``: voters', and on the leader those of observers, too."""
        node = self._driver.node
        endpoints = [voter.endpoint for voter in node.voters]
        endpoints += [
            self._driver.introduced[each][1] for each in node.peers if each in self._driver.introduced
        ]
        return tuple(sorted({addresses(endpoint)[1] for endpoint in endpoints} - {""}))

    def status(self) -> dict[str, Any]:
        """See ``Quorum.status``."""
        return self._admin.status()

    async def change(self, wanted: QuorumChange) -> dict[str, Any]:
        """See ``Quorum.change``."""
        return await self._admin.change(wanted)

    def features(self) -> list[NodeFeatures]:
        """See ``Fleet.features``; whoever fetches was heard from within a second."""
        heard = self._peers.since(_SILENT_NS)
        found = []
        for voter in self._driver.node.voters:
            seen = heard.pop((voter.node_id, voter.storage_id), None)
            reads = (seen.oldest, seen.newest) if seen else (0, 0)
            if voter.node_id == self._driver.identity.node_id:
                reads = self._supported
            found.append(NodeFeatures(voter.node_id, voter.kind.value, *reads))
        return found + [
            NodeFeatures(seen.node_id, "observer", seen.oldest, seen.newest)
            for _, seen in sorted(heard.items())
            if seen.kind == SyncKind.OBSERVER
        ]
