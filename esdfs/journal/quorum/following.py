"""The follower's side: one fetch at a time, where it parts from the leader, and what it may believe."""

from typing import Final

from esdfs.ids import Epoch, Nanos, NodeId, Position, Txid
from esdfs.journal.chain import continues
from esdfs.journal.entry import Entry, Head
from esdfs.journal.quorum.effects import FetchCheckpoint, InstallCheckpoint, RaiseFloor
from esdfs.journal.quorum.messages import (
    CheckpointOffer,
    HeartbeatRequest,
    HeartbeatResponse,
    SyncKind,
    SyncRequest,
    SyncResponse,
)
from esdfs.journal.quorum.roles import NEVER, Fetching, Follower, Leader
from esdfs.journal.quorum.state import UNKNOWN_FLOOR, NodeState
from esdfs.journal.quorum.voters import VoterKind

_MISFITS_MAX: Final = 100  # some ten seconds of refusing what the leader sends


class Following:
    """What a follower does, and how a node becomes one."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._left_epoch = Epoch(0)  # its leader resigned: what it sent before and arrives late is void

    # --- finding and hearing the leader ---

    def probe(self, node_id: NodeId) -> None:
        """Ask ``node_id`` whether it leads. Its own answer is contact; having been told so is not."""
        # The disk a voter set names may be gone: a probe asks whoever is there.
        self._request(node_id, "", kind=SyncKind.PROBE)

    def handle_heartbeat(self, heartbeat: HeartbeatRequest) -> bool:
        """The leader lives. Returns whether it asks us to stand for election now."""
        state = self._state
        leader = heartbeat.envelope
        if leader.epoch < state.epoch:
            state.send(self._heartbeat_response(heartbeat, ok=False))
            return False
        if leader.epoch > state.epoch:
            state.adopt_epoch(leader.epoch)
        assert not isinstance(state.role, Leader), f"two leaders in epoch {state.epoch}"
        if leader.epoch == self._left_epoch:
            return False
        if heartbeat.resign:
            self._leader_left(leader.from_id)
            return False
        role = self._contact(leader.from_id, leader.from_storage_id)
        role.echo = max(role.echo, heartbeat.heartbeat_seq)
        role.epoch_start_txid = heartbeat.epoch_start_txid
        state.set_commit(self.commit_limit(role, heartbeat.commit_txid))
        if heartbeat.transfer_now:
            return True
        state.send(self._heartbeat_response(heartbeat, ok=True))
        if role.fetching is Fetching.NOTHING:
            self.fetch(role)
        return False

    def commit_limit(self, role: Follower, leader_commit_txid: Txid) -> Txid:
        """How far the leader's commit holds here: never beyond what is known to equal its journal."""
        return Txid(min(leader_commit_txid, role.matched_txid))

    def _contact(self, leader_id: NodeId, storage_id: str) -> Follower:
        state, role = self._state, self._state.role
        if not isinstance(role, Follower) or role.leader_id != leader_id:
            state.unattach(state.now_ns)
            role = Follower(leader_id, storage_id, state.now_ns)
            state.become(role)
        state.last_contact_ns = state.now_ns
        role.timer_ns = Nanos(state.now_ns + state.election_timeout_ns())
        return role

    def _leader_left(self, leader_id: NodeId) -> None:
        state, role = self._state, self._state.role
        if isinstance(role, Follower) and role.leader_id != leader_id:
            return
        self._left_epoch = state.epoch
        state.last_contact_ns = NEVER
        # Soon, but not all at once; a witness after the others.
        wait = state.rng.randrange(state.waits.heartbeat)
        patience = state.waits.heartbeat * 2 if state.kind is VoterKind.WITNESS else 0
        state.unattach(Nanos(state.now_ns + wait + patience))

    def _heartbeat_response(self, heartbeat: HeartbeatRequest, *, ok: bool) -> HeartbeatResponse:
        state = self._state
        return HeartbeatResponse(
            state.answer(heartbeat.envelope),
            ok,
            heartbeat.heartbeat_seq,
            state.tail.last,
            state.durable_txid,
            state.health,
        )

    # --- fetching ---

    def tick(self) -> None:
        """Fetch again when the last fetch was lost."""
        role = self._state.role
        if isinstance(role, Follower) and role.retry_ns is not None and self._state.now_ns >= role.retry_ns:
            self.fetch(role)

    def persisted(self) -> None:
        """A write is done: a fetch may have waited for it."""
        role = self._state.role
        if isinstance(role, Follower) and role.fetching is Fetching.DISK and self.may_acknowledge():
            self.fetch(role)

    def may_acknowledge(self) -> bool:
        """A fetch promises that all we have is on disk, also what we wrote when we led."""
        return self._state.durable_txid >= self._state.tail.last.txid

    def fetch(self, role: Follower) -> None:
        """Ask for what follows our last record, which acknowledges that one."""
        if not self.may_acknowledge():
            role.fetching, role.retry_ns = Fetching.DISK, None
            return
        role.fetching = Fetching.ANSWER
        role.retry_ns = Nanos(self._state.now_ns + self._state.waits.fetch_deadline)
        kind = SyncKind.OBSERVER
        if self._state.is_voter:
            kind = SyncKind.WITNESS if self._state.kind is VoterKind.WITNESS else SyncKind.VOTER
        self._request(role.leader_id, role.leader_storage_id, kind=kind, echo=role.echo)

    def _request(self, to_id: NodeId, to_storage_id: str, *, kind: SyncKind, echo: int = 0) -> None:
        state = self._state
        state.fetch_seq += 1
        state.send(
            SyncRequest(
                state.envelope(to_id, to_storage_id),
                kind,
                state.tail.last,
                state.commit_txid,
                state.config.fetch_bytes,
                state.config.fetch_wait_ms,
                state.fetch_seq,
                echo,
            )
        )

    def handle_sync_response(self, response: SyncResponse) -> None:
        """Take what the leader of our epoch answers to our one outstanding fetch; nothing else."""
        state = self._state
        sender = response.envelope
        if sender.epoch > state.epoch:
            state.adopt_epoch(sender.epoch)
        if sender.epoch < state.epoch:
            return
        role = state.role
        if response.error:
            if isinstance(role, Follower) and role.leader_id == sender.from_id:
                state.unattach()  # it says itself that it does not lead
            hint = response.leader_id
            if hint and hint != state.node_id and not isinstance(state.role, Leader):
                self.probe(hint)
            return
        if isinstance(role, Leader) or sender.epoch == self._left_epoch:
            return
        if not isinstance(role, Follower):
            # The answer to a probe. It is contact, but what it brought was not fetched as a follower.
            self.fetch(self._contact(sender.from_id, sender.from_storage_id))
            return
        if role.leader_id != sender.from_id or not self.is_outstanding(role, response):
            return
        self._contact(sender.from_id, sender.from_storage_id)
        role.echo = max(role.echo, response.heartbeat_seq)
        role.fetching, role.retry_ns = Fetching.NOTHING, None
        if response.checkpoint is not None:
            self._take_offer(role, response.checkpoint)
        elif response.diverging is not None:
            self.cut(role, response.diverging)
        else:
            self._take_records(role, response)

    def is_outstanding(self, role: Follower, response: SyncResponse) -> bool:
        """An older answer may order a cut that we have long made, and grown beyond."""
        return role.fetching is Fetching.ANSWER and response.fetch_seq == self._state.fetch_seq

    def _take_records(self, role: Follower, response: SyncResponse) -> None:
        state = self._state
        if response.records:
            if not self._continue_ours(response.records):
                self._refuse_records(role)
                return
            role.misfits = 0
            state.append(response.records)
        role.matched_txid = state.tail.last.txid
        state.set_commit(self.commit_limit(role, response.commit_txid))
        self._settle_unknown_floor(role, response.commit_txid)
        self.fetch(role)

    def _refuse_records(self, role: Follower) -> None:
        """Once, they were damaged on the way: as if lost. Ever again, one of the two journals is damaged."""
        state = self._state
        role.misfits += 1
        role.retry_ns = Nanos(state.now_ns + state.waits.heartbeat)
        if role.misfits == _MISFITS_MAX:
            state.halt(
                f"records of leader {role.leader_id} never continue this journal, which ends at"
                f" {state.tail.last.epoch}.{state.tail.last.txid}: one of the two is damaged. Verify both"
                " (`esdfs journal verify`), then replace the damaged one."
            )

    def _continue_ours(self, records: tuple[Entry, ...]) -> bool:
        last, chain = self._state.tail.last, self._state.tail.chain
        for entry in records:
            follows = entry.txid == last.txid + 1 and last.epoch <= entry.epoch <= self._state.epoch
            if not follows or not continues(chain, entry):
                return False
            last, chain = entry.position, entry.chain
        return True

    def _settle_unknown_floor(self, role: Follower, leader_commit_txid: Txid) -> None:
        """Whatever we ever acknowledged and was committed is here again: the sidecar may be trusted anew.

        A leader that committed a record of its own epoch knows all that was committed before.
        """
        state = self._state
        if state.floor is not UNKNOWN_FLOOR or not role.epoch_start_txid:
            return
        if role.matched_txid >= leader_commit_txid >= role.epoch_start_txid:
            state.floor = state.tail.last
            state.persist(RaiseFloor(state.floor))

    # --- where our journal is not the leader's ---

    def cut(self, role: Follower, end: Position) -> None:
        """Drop what this leader does not have. Committed records are never dropped: rather stop for good."""
        state = self._state
        keep = state.tail.history.cut_for(end)
        if not self.may_cut(keep):
            state.halt(
                f"leader {role.leader_id} of epoch {state.epoch} lacks records that are committed here: it"
                f" asks to drop all after {keep}, committed is {state.commit_txid}. Other disks lost data."
                " Keep this journal and ask an operator."
            )
        elif not state.tail.can_cut_to(keep):
            state.halt(
                f"leader {role.leader_id} of epoch {state.epoch} asks to drop all after {keep}, further back"
                f" than the {state.config.uncommitted_records} uncommitted records there may be. Keep this"
                " journal and ask an operator."
            )
        else:
            state.truncate(keep)
            self.fetch(role)

    def may_cut(self, keep: Txid) -> bool:
        """Whether nothing committed lies above ``keep``."""
        return keep >= self._state.commit_txid

    # --- checkpoints ---

    def _take_offer(self, role: Follower, offer: CheckpointOffer) -> None:
        state = self._state
        if offer.last.txid <= state.commit_txid:
            role.retry_ns = Nanos(state.now_ns + state.waits.heartbeat)
            return
        role.fetching = Fetching.CHECKPOINT
        state.effects.append(FetchCheckpoint(role.leader_id, offer))

    def checkpoint_failed(self) -> None:
        """The file did not arrive: fetch again, and be offered it or a newer one."""
        role = self._state.role
        if isinstance(role, Follower) and role.fetching is Fetching.CHECKPOINT:
            self.fetch(role)

    def checkpoint_fetched(self, offer: CheckpointOffer) -> None:
        """The offered file is durable here: begin the journal after it.

        A checkpoint holds committed records only, whoever leads by now.
        """
        state, role = self._state, self._state.role
        install = offer.last.txid > state.commit_txid and not isinstance(role, Leader)
        if install:
            self._install(offer)
        if isinstance(role, Follower) and (install or role.fetching is Fetching.CHECKPOINT):
            # Also instead of a fetch under way: its answer would speak of the journal we had.
            self.fetch(role)

    def _install(self, offer: CheckpointOffer) -> None:
        state = self._state
        base = Head(offer.last.epoch, offer.last.txid, offer.chain)
        ours = state.tail.epoch_at(offer.last.txid)
        keep_tail = ours == offer.last.epoch
        # All we acknowledged is here and now replaced by what was committed, or parted from it before.
        # But records lost from our disk may lie beyond the checkpoint: then the floor stays.
        release_floor = not keep_tail and (ours is not None or not state.is_recovering)
        if keep_tail:
            state.tail.compact(base, offer.last_ts_us)
        else:
            state.tail.restart(base, offer.last_ts_us)
            state.cap_durable(Txid(0))  # what is on disk at these txids is not what will be
        if release_floor:
            state.floor = min(state.floor, offer.last)
        if state.floor is not UNKNOWN_FLOOR:
            state.floor = max(state.floor, state.tail.last)
        state.voters.reset(offer.voters_txid, offer.voters, keep_after=keep_tail)
        state.checkpoint = offer
        state.persist(InstallCheckpoint(offer, keep_tail, state.tail.last, state.known_floor))
        state.set_commit(offer.last.txid)
