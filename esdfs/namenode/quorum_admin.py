"""What an operator asks of the quorum: who is in it and how far, hand over, add, remove."""

from collections.abc import Mapping
from typing import Any, Final

from esdfs.env import Clock
from esdfs.errors import InvalidRequest, MembershipRefused, NotFound, NotLeader, Unavailable
from esdfs.ids import NodeId
from esdfs.journal.driver import QuorumDriver
from esdfs.journal.quorum.roles import Progress
from esdfs.journal.quorum.voters import Voter, VoterKind, VoterSet
from esdfs.namenode.control_records import addresses
from esdfs.namenode.frames import AddVoter, QuorumChange, RemoveVoter, TransferLeadership

_UP_NS: Final = 2_000_000_000
"""A node the leader heard of within this time is shown as up."""

_OBSERVER_NS: Final = 30_000_000_000
"""An observer that stays away for longer is not shown."""


class QuorumAdmin:
    """The operator's view of one node's driver."""

    def __init__(self, driver: QuorumDriver, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock

    def status(self) -> dict[str, Any]:
        """The quorum as this node knows it; what is unknown to a node that does not lead is None."""
        driver, node = self._driver, self._driver.node
        last_txid = int(driver.head.last_txid)
        voters = [self._voter(voter, last_txid) for voter in node.voters]
        up = [voter for voter in voters if voter["up"]]
        full_up = [voter for voter in up if voter["kind"] == VoterKind.FULL]
        majority = node.voters.majority
        return {
            "cluster_id": driver.identity.cluster_id,
            "generation": driver.identity.cluster_generation,
            "node_id": driver.identity.node_id,
            "role": driver.role,
            "leader": driver.leader_id,
            "epoch": driver.epoch,
            "commit_txid": driver.commit_txid,
            "last_txid": last_txid,
            "voters": voters,
            "observers": self._observers(last_txid),
            "majority": majority,
            "up": len(up) if node.is_leader else None,
            "survives": max(0, min(len(up) - majority, len(full_up) - 1)) if node.is_leader else None,
            "change_pending": node.voters_txid > driver.commit_txid,
            "transfer_to": node.transfer_target,
        }

    async def change(self, wanted: QuorumChange) -> dict[str, Any]:
        """Carry it out; on return it is committed.

        Raises:
            NotLeader: Ask the leader.
            MembershipRefused: Not now, and why.
            NotFound: No such node.
            InvalidRequest: It makes no sense whatever the state.
            OutcomeUnknown: Leadership was lost meanwhile.
        """
        if not self._driver.node.is_leader:
            raise NotLeader("this NameNode does not lead: ask the leader")
        match wanted:
            case TransferLeadership(to):
                return await self._transfer(NodeId(to))
            case AddVoter(node_id):
                return await self._add(NodeId(node_id))
            case RemoveVoter(node_id):
                return await self._remove(NodeId(node_id))

    # --- changes --------------------------------------------------------------------------------

    async def _transfer(self, to: NodeId) -> dict[str, Any]:
        node = self._driver.node
        me = NodeId(self._driver.identity.node_id)
        target = to or node.successor
        if target is None:
            raise MembershipRefused(
                f"no other full NameNode is up to date: {me} goes on leading; see `esdfs quorum status`"
            )
        if target != me:
            voter = node.voters.get(target)
            if voter is None:
                raise _no_voter(target, node.voters)
            if voter.kind is VoterKind.WITNESS:
                raise InvalidRequest(
                    f"{target} is a witness: it votes but serves nobody; name a full NameNode"
                )
            if not self._is_up(target):
                raise MembershipRefused(f"{target} does not answer {me}: it cannot take over; start it first")
            if not await self._driver.hand_over(target):
                raise MembershipRefused(
                    f"{target} did not take over in time: {me} goes on leading; try again"
                )
        return {"leader": self._driver.leader_id, "epoch": self._driver.epoch}

    async def _add(self, node_id: NodeId) -> dict[str, Any]:
        node = self._driver.node
        known = node.peers.get(node_id)
        present = node.voters.get(node_id)
        if present is not None:
            if known is None or known.storage_id == present.storage_id:
                return self._changed(changed=False)
            raise MembershipRefused(
                f"{node_id} votes with another disk (storage id {present.storage_id}): remove it first, then "
                "add it with the disk it has now"
            )
        introduced = self._driver.introduced.get(node_id)
        if known is None or introduced is None or introduced[0] != known.storage_id:
            raise NotFound(
                f"no observer {node_id} fetches from the leader: make one with `esdfs namenode format --join`"
                " and start it"
            )
        storage_id, endpoint = introduced
        kind = VoterKind.FULL if addresses(endpoint)[1] else VoterKind.WITNESS
        return await self._put(node.voters.with_voter(Voter(node_id, storage_id, kind, endpoint)))

    async def _remove(self, node_id: NodeId) -> dict[str, Any]:
        voters = self._driver.node.voters
        if voters.get(node_id) is None:
            raise _no_voter(node_id, voters)
        left = voters.without(node_id)
        if all(voter.kind is VoterKind.WITNESS for voter in left):
            raise InvalidRequest(f"{node_id} is the only full NameNode that votes: without it nobody serves")
        return await self._put(left)

    async def _put(self, voters: VoterSet) -> dict[str, Any]:
        try:
            self._driver.change_voters(voters)
        except Unavailable as error:
            # For a client this is no reason to try again by itself: somebody has to do something first.
            raise MembershipRefused(error.message) from error
        txid, epoch = self._driver.node.voters_txid, self._driver.epoch
        await self._driver.committed(txid, epoch)
        return self._changed(changed=True)

    def _changed(self, *, changed: bool) -> dict[str, Any]:
        return {
            "changed": changed,
            "voters": list(self._driver.node.voters.ids),
            "txid": int(self._driver.node.voters_txid),
        }

    # --- what is so -----------------------------------------------------------------------------

    def _is_up(self, node_id: NodeId) -> bool:
        return self._since_ns(node_id) <= _UP_NS

    def _since_ns(self, node_id: NodeId) -> int:
        """Since when nothing was heard of a node with the disk it votes with."""
        progress, voter = self._driver.node.peers.get(node_id), self._driver.node.voters.get(node_id)
        if progress is None or voter is None or progress.storage_id != voter.storage_id:
            return 1 << 62
        return self._clock.monotonic_ns() - progress.voter_seen_ns

    def _voter(self, voter: Voter, last_txid: int) -> dict[str, Any]:
        driver = self._driver
        leads = driver.node.is_leader
        is_me = voter.node_id == driver.identity.node_id
        progress = driver.node.peers.get(voter.node_id)
        role: str | None = driver.role if is_me else None
        match_txid: int | None = None
        last_contact_ms: int | None = None
        up: bool | None = True if is_me else None
        health = ""
        if not is_me and voter.node_id == driver.leader_id:
            role, up = "leader", True
        elif leads and not is_me:
            up = self._is_up(voter.node_id)
            role = "follower" if up else "away"
            if progress is not None and progress.storage_id != voter.storage_id:
                role = "another disk"
            elif progress is not None:
                last_contact_ms, health = _ms(self._since_ns(voter.node_id)), progress.health.value
                if last_contact_ms is not None:  # a new leader knows nothing of one it never heard
                    match_txid = int(progress.match_txid)
        if is_me:
            match_txid = int(driver.node.durable_txid)
            last_contact_ms = 0
            health = "recovering" if driver.node.is_recovering else "ok"
        grpc, rest = addresses(voter.endpoint)
        return {
            "node_id": voter.node_id,
            "storage_id": voter.storage_id,
            "kind": voter.kind.value,
            "grpc": grpc,
            "rest": rest,
            "role": role,
            "up": up,
            "match_txid": match_txid,
            "lag_records": None if match_txid is None else max(0, last_txid - match_txid),
            "last_contact_ms": last_contact_ms,
            "health": health,
        }

    def _observers(self, last_txid: int) -> list[dict[str, Any]]:
        peers: Mapping[NodeId, Progress] = self._driver.node.peers
        now_ns = self._clock.monotonic_ns()
        found = []
        for node_id in sorted(peers):
            progress = peers[node_id]
            away_ns = now_ns - progress.seen_ns
            if self._driver.node.voters.has(node_id, progress.storage_id) or away_ns > _OBSERVER_NS:
                continue
            storage_id, endpoint = self._driver.introduced.get(node_id, ("", ""))
            grpc, rest = addresses(endpoint if storage_id == progress.storage_id else "")
            found.append(
                {
                    "node_id": node_id,
                    "storage_id": progress.storage_id,
                    "kind": "observer" if rest else "witness observer",
                    "grpc": grpc,
                    "rest": rest,
                    "fetched_txid": int(progress.fetched_txid),
                    "lag_records": max(0, last_txid - progress.fetched_txid),
                    "last_contact_ms": _ms(away_ns),
                }
            )
        return found


def _ms(elapsed_ns: int) -> int | None:
    return elapsed_ns // 1_000_000 if elapsed_ns < 1 << 61 else None


def _no_voter(node_id: str, voters: VoterSet) -> NotFound:
    return NotFound(f"{node_id} is no voter of this cluster: they are {', '.join(voters.ids)}")
