"""One node of the quorum: inputs in, effects out. Only dispatch; each rule is in the module named for it."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from esdfs.env import Rng
from esdfs.errors import InvalidRequest, NotLeader, Overloaded, Unavailable
from esdfs.ids import Epoch, Nanos, NodeId, Position, Txid
from esdfs.journal.entry import Draft, Entry, Head
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import Effect
from esdfs.journal.quorum.election import LeaderElection
from esdfs.journal.quorum.following import Following
from esdfs.journal.quorum.handover import Handover
from esdfs.journal.quorum.inputs import ControlRecords, Instant, Stored
from esdfs.journal.quorum.membership import Membership
from esdfs.journal.quorum.messages import (
    CheckpointOffer,
    HeartbeatRequest,
    HeartbeatResponse,
    Message,
    Refusal,
    SyncRequest,
    SyncResponse,
    VoteRequest,
    VoteResponse,
)
from esdfs.journal.quorum.reads import ReadIndex
from esdfs.journal.quorum.replication import LeaderReplication
from esdfs.journal.quorum.roles import Follower, Leader, Progress
from esdfs.journal.quorum.state import NodeState
from esdfs.journal.quorum.voters import VoterKind, VoterSet


class QuorumNode:
    """A deterministic state machine: the same inputs give the same effects.

    Every method that takes ``now`` is an input and returns the effects to carry out, in order. ``now``
    never goes back. After ``deadline_ns`` a ``tick`` is due.

    Args:
        stored: What this node's disk says.
        seeds: Nodes to ask for the leader, besides the voters.
    """

    def __init__(
        self,
        stored: Stored,
        *,
        config: QuorumConfig,
        control: ControlRecords,
        rng: Rng,
        seeds: Sequence[NodeId] = (),
    ) -> None:
        state = NodeState(stored, config=config, control=control, rng=rng, seeds=seeds)
        self._state = state
        self._reads = ReadIndex(state)
        self._handover = Handover(state)
        self._replication = LeaderReplication(state, self._reads, self._handover)
        self._following = Following(state)
        self._membership = Membership(state, self._replication)
        self._election = LeaderElection(state, self._replication, self._following)

    # --- inputs ---

    def start(self, now: Instant) -> list[Effect]:
        """Once, before any other input."""
        self._set_time(now)
        self._state.start()
        self._election.start()
        return self._taken()

    def step(self, message: Message, now: Instant) -> list[Effect]:
        """A message arrived."""
        if self._state.halted:
            return []
        self._set_time(now)
        if self._is_for_us(message):
            self._dispatch(message)
        return self._taken()

    def tick(self, now: Instant) -> list[Effect]:
        """Time passed. Harmless when nothing is due."""
        if self._state.halted:
            return []
        self._set_time(now)
        match self._state.role:
            case Leader():
                self._replication.tick()
            case Follower():
                self._following.tick()
                self._election.tick()
            case _:
                self._election.tick()
        return self._taken()

    def persisted(self, token: int, now: Instant) -> list[Effect]:
        """The write with ``token`` is durable. Writes are reported in the order they were asked for."""
        if self._state.halted:
            return []
        self._set_time(now)
        self._state.persisted(token)
        self._election.vote_persisted(token)
        match self._state.role:
            case Leader():
                self._replication.advance()
            case Follower():
                self._following.persisted()
            case _:
                pass
        return self._taken()

    def propose(self, drafts: Sequence[Draft], now: Instant) -> tuple[list[Entry], list[Effect]]:
        """Append ``drafts`` in this leader's epoch. They are committed when ``Commit`` reaches them.

        When ``RoleChanged`` comes first, nobody knows: the caller answers "outcome unknown".

        Raises:
            NotLeader: Nothing was appended. Ask the leader.
            Unavailable: Nothing was appended. Leadership is being handed over: try again soon.
            Overloaded: Nothing was appended. Too much is not committed yet.
        """
        state = self._state
        role = state.role
        if not self.is_active or not isinstance(role, Leader):
            raise NotLeader("this NameNode does not lead: ask the leader", leader=state.leader_id or "")
        if role.transfer:
            raise Unavailable("leadership is being handed over: try again")
        if not drafts:
            raise InvalidRequest("propose at least one record")
        if state.tail.last.txid + len(drafts) - state.commit_txid > state.config.uncommitted_records:
            raise Overloaded("too many records wait for a majority of NameNodes: try again")
        self._set_time(now)
        entries = self._replication.append(drafts)
        return entries, self._taken()

    def read(self, read_id: int, now: Instant) -> list[Effect]:
        """Ask for the right to answer a read linearizably; ``Reply`` brings it."""
        self._set_time(now)
        self._reads.read(read_id)
        return self._taken()

    def transfer(self, target: NodeId, now: Instant) -> list[Effect]:
        """Hand leadership to ``target``. See ``Handover.transfer`` for the errors."""
        self._set_time(now)
        self._handover.transfer(target)
        return self._taken()

    def resign(self, now: Instant) -> list[Effect]:
        """Stop leading, at once. Nothing happens when this node does not lead."""
        self._set_time(now)
        if isinstance(self._state.role, Leader):
            self._handover.resign()
        return self._taken()

    def change_voters(self, voters: VoterSet, now: Instant) -> list[Effect]:
        """Put ``voters`` in force. See ``Membership.change_voters`` for the errors."""
        self._set_time(now)
        self._membership.change_voters(voters)
        return self._taken()

    def checkpointed(self, offer: CheckpointOffer) -> None:
        """A newer checkpoint of ours is durable and can be offered."""
        assert offer.last.txid <= self._state.commit_txid, "only committed records go into a checkpoint"
        self._state.checkpoint = offer

    def compacted(self, base: Head, base_ts_us: int) -> None:
        """Records up to ``base`` left our journal; a checkpoint at or after it is durable."""
        state = self._state
        assert state.checkpoint is not None, "compacting needs a checkpoint"
        assert base.last_txid <= state.checkpoint.last.txid, "compacting beyond the newest checkpoint"
        state.tail.compact(base, base_ts_us)
        state.voters.compact(base.last_txid)

    def checkpoint_fetched(self, offer: CheckpointOffer, now: Instant) -> list[Effect]:
        """The file asked for by ``FetchCheckpoint`` is durable here, and verified."""
        if self._state.halted:
            return []
        self._set_time(now)
        self._following.checkpoint_fetched(offer)
        return self._taken()

    def checkpoint_failed(self, now: Instant) -> list[Effect]:
        """The file asked for by ``FetchCheckpoint`` did not come."""
        if self._state.halted:
            return []
        self._set_time(now)
        self._following.checkpoint_failed()
        return self._taken()

    # --- what is so ---

    @property
    def deadline_ns(self) -> Nanos:
        """When the next ``tick`` is due, on the monotonic clock."""
        role = self._state.role
        match role:
            case Leader():
                due = min(role.next_heartbeat_ns, role.check_quorum_ns)
                for progress in role.peers.values():
                    if progress.parked and progress.parked.until_ns < due:
                        due = progress.parked.until_ns
                return due
            case Follower() if role.retry_ns is not None and role.retry_ns < role.timer_ns:
                return role.retry_ns
            case _:
                return role.timer_ns

    @property
    def role(self) -> str:
        """``unattached``, ``prospective``, ``candidate``, ``follower`` or ``leader``."""
        return self._state.role.name

    @property
    def halted(self) -> str:
        """Why this node stopped for good; "" while it has not."""
        return self._state.halted

    @property
    def epoch(self) -> Epoch:
        """The newest epoch this node knows."""
        return self._state.epoch

    @property
    def leader_id(self) -> NodeId | None:
        """Who leads it, as far as this node knows."""
        return self._state.leader_id

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, perhaps without knowing yet all that is committed."""
        return isinstance(self._state.role, Leader)

    @property
    def is_active(self) -> bool:
        """Whether it leads, may take proposals and answer reads. A witness never does."""
        state, role = self._state, self._state.role
        return (
            isinstance(role, Leader)
            and state.commit_txid >= role.epoch_start_txid
            and state.kind is not VoterKind.WITNESS
        )

    @property
    def is_recovering(self) -> bool:
        """Whether records this node once acknowledged are missing, so that it must not lead."""
        return self._state.is_recovering

    @property
    def commit_txid(self) -> Txid:
        """The last record known committed, inclusive."""
        return self._state.commit_txid

    @property
    def durable_txid(self) -> Txid:
        """The last record on this node's disk."""
        return self._state.durable_txid

    @property
    def last(self) -> Position:
        """Where this node's journal ends once every write under way is done."""
        return self._state.tail.last

    @property
    def base(self) -> Position:
        """The last record that was compacted away; later ones can be had from this journal."""
        return self._state.tail.base

    @property
    def voters(self) -> VoterSet:
        """The newest set: in force, if perhaps not committed."""
        return self._state.voters.newest

    @property
    def voters_txid(self) -> Txid:
        """The record that holds it; 0 when formatting did."""
        return self._state.voters.newest_txid

    def voters_at(self, txid: Txid) -> tuple[Txid, VoterSet]:
        """The set in force at ``txid`` and the record that holds it, for a checkpoint there."""
        return self._state.voters.committed(txid)

    @property
    def successor(self) -> NodeId | None:
        """The full voter that a graceful stop should hand over to: the one that lacks least."""
        return self._membership.successor()

    @property
    def peers(self) -> Mapping[NodeId, Progress]:
        """What a leader knows of the others, for looking at; empty when this node does not lead."""
        role = self._state.role
        return role.peers if isinstance(role, Leader) else {}

    @property
    def transfer_target(self) -> NodeId | None:
        """To whom leadership is being handed over at the moment."""
        role = self._state.role
        return role.transfer.target if isinstance(role, Leader) and role.transfer else None

    # --- inside ---

    def _dispatch(self, message: Message) -> None:
        match message:
            case SyncRequest():
                self._replication.handle_sync_request(message)
            case SyncResponse():
                self._following.handle_sync_response(message)
            case HeartbeatRequest():
                if self._following.handle_heartbeat(message):
                    self._election.campaign(transfer=True)
            case HeartbeatResponse():
                self._replication.handle_heartbeat_response(message)
            case VoteRequest():
                self._election.handle_vote_request(message)
            case VoteResponse():
                self._election.handle_vote_response(message)
            case _:
                assert_never(message)

    def _is_for_us(self, message: Message) -> bool:
        """Another cluster, or a disk we no longer have, is refused before its epoch is looked at."""
        envelope, identity = message.envelope, self._state.identity
        if (
            envelope.cluster_id != identity.cluster_id
            or envelope.cluster_generation != identity.cluster_generation
            or envelope.to_id != identity.node_id
        ):
            return False
        if envelope.to_storage_id in ("", identity.storage_id):
            return True
        if isinstance(message, VoteRequest):
            self._election.reply(message, Refusal.STORAGE)
        return False

    def _set_time(self, now: Instant) -> None:
        assert now.monotonic_ns >= self._state.now_ns, "the monotonic clock went back"
        self._state.now_ns, self._state.wall_us = now

    def _taken(self) -> list[Effect]:
        effects = self._state.effects
        self._state.effects = []
        return effects
