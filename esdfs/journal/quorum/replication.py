"""The leader's side: its records, its heartbeats, what followers fetch, and what is thereby committed."""

from collections.abc import Sequence

from esdfs.ids import Nanos, NodeId, Position, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Entry
from esdfs.journal.quorum.effects import SendFromJournal
from esdfs.journal.quorum.epochs import BehindCheckpoint, Diverges, Matches, Reconciliation, commit_txid
from esdfs.journal.quorum.handover import Handover
from esdfs.journal.quorum.messages import (
    CheckpointOffer,
    HeartbeatRequest,
    HeartbeatResponse,
    SyncError,
    SyncKind,
    SyncRequest,
    SyncResponse,
)
from esdfs.journal.quorum.reads import ReadIndex
from esdfs.journal.quorum.roles import NEVER, Leader, Parked, Progress
from esdfs.journal.quorum.state import NodeState

_OBSERVER_MEMORY_NS = 2_000_000_000  # a node that fetched this recently gets heartbeats
_SENT_REMEMBERED = 64  # heartbeats whose departure is remembered, for leases


class LeaderReplication:
    """What a leader does; nothing unless ``state.role`` is ``Leader``."""

    def __init__(self, state: NodeState, reads: ReadIndex, handover: Handover) -> None:
        self._state = state
        self._reads = reads
        self._handover = handover

    # --- its own records ---

    def append(self, drafts: Sequence[Draft]) -> list[Entry]:
        """Seal ``drafts`` after our last record and send them out while our own disk writes them."""
        state = self._state
        entries = seal(state.tail.head, state.epoch, drafts, not_before_us=state.tail.last_ts_us)
        state.append(tuple(entries))
        for progress in list(_leader(state).peers.values()):
            self._unpark(progress)
        return entries

    def own_durable_txid(self) -> Txid:
        """A leader counts itself only for what its own disk holds (etcd #14370)."""
        return self._state.durable_txid

    def advance(self) -> None:
        """Commit what a majority of the newest voters holds, then serve those who waited for it."""
        state, role = self._state, _leader(self._state)
        held = [
            self.own_durable_txid() if node_id == state.node_id else _match(role, state, node_id)
            for node_id in state.voters.newest.ids
        ]
        committed = self.commit_rule(held, Txid(role.epoch_start_txid - 1))
        if state.set_commit(committed):
            if self._handover.left_after_removal():
                return
            self._announce_commit(role)
        self._reads.answer_ready()

    def _announce_commit(self, role: Leader) -> None:
        """Soon, not at once: under load the next records bring the news along, at half the messages."""
        soon_ns = Nanos(self._state.now_ns + self._state.waits.commit_notice)
        for progress in role.peers.values():
            if progress.parked and soon_ns < progress.parked.until_ns:
                progress.parked = Parked(progress.parked.request, soon_ns)

    def commit_rule(self, held: list[Txid], epoch_began_after: Txid) -> Txid:
        """See ``epochs.commit_txid``."""
        return commit_txid(held, epoch_began_after=epoch_began_after, committed=self._state.commit_txid)

    # --- staying in office ---

    def tick(self) -> None:
        """Heartbeats, the check for a quorum and for our own disk, and fetches that waited long enough."""
        state, role = self._state, _leader(self._state)
        now_ns = state.now_ns
        if state.is_stalled:
            self._handover.resign()
            return
        if now_ns >= role.check_quorum_ns:
            if not self.has_live_quorum():
                state.unattach()
                return
            role.check_quorum_ns = Nanos(now_ns + state.waits.check_quorum // 4)
        if role.transfer and now_ns > role.transfer.until_ns:
            role.transfer = None
        if now_ns >= role.next_heartbeat_ns:
            self.heartbeat()
        for progress in list(role.peers.values()):
            if progress.parked and now_ns >= progress.parked.until_ns:
                self._unpark(progress, overdue=True)

    def has_live_quorum(self) -> bool:
        """Whether a majority was heard of within the window (CheckQuorum)."""
        return self._reads.majority_ns("seen") >= self._state.now_ns - self._state.waits.check_quorum

    def heartbeat(self) -> None:
        """One round to every voter and to every other node that fetches."""
        state, role = self._state, _leader(self._state)
        now_ns = state.now_ns
        role.next_heartbeat_ns = Nanos(now_ns + state.waits.heartbeat)
        role.heartbeat_seq += 1
        for node_id in state.voters.newest.ids:
            if node_id != state.node_id and node_id not in role.peers:
                voter = state.voters.newest.get(node_id)
                assert voter is not None
                role.peers[node_id] = Progress(voter.storage_id)
        for node_id in sorted(role.peers):
            progress = role.peers[node_id]
            is_voter = state.voters.newest.get(node_id) is not None
            if not is_voter and now_ns - progress.seen_ns >= _OBSERVER_MEMORY_NS:
                continue
            progress.sent_ns[role.heartbeat_seq] = now_ns
            if len(progress.sent_ns) > _SENT_REMEMBERED:
                del progress.sent_ns[next(iter(progress.sent_ns))]
            state.send(
                HeartbeatRequest(
                    state.envelope(node_id, progress.storage_id),
                    state.commit_txid,
                    state.tail.last.txid,
                    role.epoch_start_txid,
                    role.heartbeat_seq,
                    leader_endpoint=state.endpoint_of(state.node_id),
                )
            )

    def handle_heartbeat_response(self, response: HeartbeatResponse) -> None:
        """It lives, and had seen our heartbeat: a quorum of these confirms reads and our office."""
        state = self._state
        sender = response.envelope
        if sender.epoch > state.epoch:
            state.adopt_epoch(sender.epoch)
            return
        role = state.role
        if not isinstance(role, Leader) or sender.epoch < state.epoch or not response.ok:
            return
        progress = role.peers.get(sender.from_id)
        if progress is None or progress.storage_id != sender.from_storage_id:
            return
        progress.health = response.health
        if state.voters.newest.has(sender.from_id, sender.from_storage_id):
            self._heard_from_voter(progress, response.heartbeat_seq)
            self._reads.answer_ready()

    # --- what others fetch ---

    def handle_sync_request(self, request: SyncRequest) -> None:
        """A fetch: news of a follower's journal, and a question for more."""
        state = self._state
        sender = request.envelope
        if sender.epoch > state.epoch:
            state.adopt_epoch(sender.epoch)
        role = state.role
        if not isinstance(role, Leader):
            state.refuse_sync(request, SyncError.NOT_LEADER, state.leader_id)
            return
        if sender.epoch < state.epoch:
            state.refuse_sync(request, SyncError.FENCED_EPOCH, state.node_id)
            return
        progress = role.peers.get(sender.from_id)
        if progress is None or progress.storage_id != sender.from_storage_id:
            progress = role.peers[sender.from_id] = Progress(sender.from_storage_id)
        if sender.from_incarnation < progress.incarnation:
            return
        progress.incarnation = sender.from_incarnation
        progress.seen_ns = state.now_ns
        progress.parked = None
        if self.counts_as_voter(request):
            self._heard_from_voter(progress, request.echo_heartbeat_seq)
        self._serve(progress, request, may_park=request.kind is not SyncKind.PROBE)

    def counts_as_voter(self, request: SyncRequest) -> bool:
        """Whether the sender votes, with the disk it speaks for."""
        sender = request.envelope
        return self._state.voters.newest.has(sender.from_id, sender.from_storage_id)

    def _heard_from_voter(self, progress: Progress, echo: int) -> None:
        progress.voter_seen_ns = self._state.now_ns
        if echo > progress.echo:
            progress.echo = echo
            progress.echo_sent_ns = max(progress.echo_sent_ns, progress.sent_ns.get(echo, NEVER))

    def _serve(self, progress: Progress, request: SyncRequest, *, may_park: bool) -> None:
        state = self._state
        match self.reconcile(request):
            case Matches():
                self._serve_records(progress, request, may_park=may_park)
            case Diverges(end):
                state.send(self._response(request, diverging=end))
            case BehindCheckpoint():
                assert state.checkpoint is not None, "records were compacted without a checkpoint"
                state.send(self._response(request, checkpoint=state.checkpoint))

    def reconcile(self, request: SyncRequest) -> Reconciliation:
        """See ``EpochHistory.reconcile``."""
        return self._state.tail.history.reconcile(request.last)

    def _serve_records(self, progress: Progress, request: SyncRequest, *, may_park: bool) -> None:
        state = self._state
        role = _leader(state)
        if request.kind is not SyncKind.PROBE:
            progress.fetched_txid = request.last.txid
            if self.counts_as_voter(request):
                progress.match_txid = request.last.txid
                self.advance()
                if state.role is not role:
                    state.refuse_sync(request, SyncError.NOT_LEADER, state.leader_id)
                    return
        if state.tail.last.txid > request.last.txid or not may_park:
            self._send_records(request)
        else:
            wait_ns = min(request.max_wait_ms * 1_000_000, state.waits.fetch_wait)
            if state.commit_txid > request.known_commit_txid:
                wait_ns = min(wait_ns, state.waits.commit_notice)
            progress.parked = Parked(request, Nanos(state.now_ns + wait_ns))
        self._handover.continue_transfer()
        self._handover.hand_over_as_caretaker(request)

    def _unpark(self, progress: Progress, *, overdue: bool = False) -> None:
        parked = progress.parked
        if parked is None or not isinstance(self._state.role, Leader):
            return
        progress.parked = None
        self._serve(progress, parked.request, may_park=not overdue)

    def _send_records(self, request: SyncRequest) -> None:
        """Also those our own disk is still writing: disks may work in parallel."""
        state = self._state
        after, limit = request.last.txid, state.config.fetch_records
        records = state.tail.read(after, limit=limit, max_bytes=request.max_bytes)
        if records is not None:
            state.send(self._response(request, records=records))
        else:
            state.emit_when_epoch_is_durable(
                SendFromJournal(
                    request.envelope.from_id, self._response(request), after, limit, request.max_bytes
                )
            )

    def _response(
        self,
        request: SyncRequest,
        *,
        records: tuple[Entry, ...] = (),
        diverging: Position | None = None,
        checkpoint: CheckpointOffer | None = None,
    ) -> SyncResponse:
        state = self._state
        return SyncResponse(
            state.answer(request.envelope),
            SyncError.NONE,
            state.node_id,
            state.endpoint_of(state.node_id),
            request.fetch_seq,
            _leader(state).heartbeat_seq,
            state.commit_txid,
            Txid(state.tail.base.txid + 1),
            records,
            diverging,
            checkpoint,
        )


def _leader(state: NodeState) -> Leader:
    assert isinstance(state.role, Leader), f"{state.node_id} does not lead"
    return state.role


def _match(role: Leader, state: NodeState, node_id: NodeId) -> Txid:
    progress = role.peers.get(node_id)
    if progress is None or not state.voters.newest.has(node_id, progress.storage_id):
        return Txid(0)
    return progress.match_txid
