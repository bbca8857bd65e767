"""What all rules share: who we are, what is on our disk, what we are at the moment, and how to leave that."""

from collections import deque
from collections.abc import Sequence

from esdfs.env import Rng
from esdfs.ids import Epoch, Micros, Nanos, NodeId, Position, Txid
from esdfs.journal.entry import Entry, Vote
from esdfs.journal.quorum.config import QuorumConfig, Waits
from esdfs.journal.quorum.effects import (
    AppendRecords,
    Commit,
    Effect,
    Halt,
    InstallCheckpoint,
    NotHere,
    Persist,
    RaiseFloor,
    RememberVote,
    Reply,
    RoleChanged,
    Send,
    TruncateJournal,
    Write,
)
from esdfs.journal.quorum.inputs import ControlRecords, Stored
from esdfs.journal.quorum.messages import (
    Envelope,
    Health,
    Message,
    SyncError,
    SyncRequest,
    SyncResponse,
)
from esdfs.journal.quorum.roles import NEVER, Follower, Leader, Role, Unattached
from esdfs.journal.quorum.tail import Tail
from esdfs.journal.quorum.voters import VoterHistory, VoterKind

UNKNOWN_FLOOR = Position(Epoch(1 << 62), Txid(1 << 62))
"""The floor of a node whose sidecar cannot be read: it may have acknowledged anything."""

_WITNESS_PATIENCE = 3  # a witness stands for election only when no full voter did


class _Pending:
    """A write that was asked for and not yet reported done."""

    __slots__ = ("is_vote", "last_txid", "since_ns", "token")

    def __init__(self, token: int, since_ns: Nanos, last_txid: Txid | None, is_vote: bool) -> None:
        self.token, self.since_ns = token, since_ns
        self.last_txid = last_txid  # where the journal on disk then ends; None: unchanged
        self.is_vote = is_vote


class NodeState:
    """One node's state, and the transitions every rule may cause."""

    def __init__(
        self,
        stored: Stored,
        *,
        config: QuorumConfig,
        control: ControlRecords,
        rng: Rng,
        seeds: Sequence[NodeId],
    ) -> None:
        self.config, self.waits = config, Waits(config)
        self.control, self.rng = control, rng
        self.identity = stored.identity
        self.node_id = NodeId(stored.identity.node_id)
        self.storage_id = stored.identity.storage_id
        self.incarnation = stored.incarnation
        self.seeds = tuple(sorted(seed for seed in seeds if seed != self.node_id))
        self.vote = stored.vote
        self.tail = Tail(stored.base, stored.base_ts_us, stored.epoch_ends, stored.recent)
        # Records of an epoch prove that it began, whatever the vote row says.
        self.epoch = Epoch(max(stored.vote.epoch, self.tail.last.epoch))
        if self.epoch > self.vote.epoch:
            self.vote = Vote(self.epoch, "", "")
        self.floor = UNKNOWN_FLOOR if stored.floor is None else stored.floor
        self.voters = VoterHistory(stored.voters)
        self.checkpoint = stored.checkpoint
        self.commit_txid = stored.committed_txid
        self.durable_txid = self.tail.last.txid
        self.role: Role = Unattached(NEVER)
        self.last_contact_ns = NEVER
        self.fetch_seq = 0
        self.now_ns, self.wall_us, self.booted_ns = Nanos(0), Micros(0), Nanos(0)
        self.halted = ""
        self.effects: list[Effect] = []
        self._tokens = 0
        self._pending: deque[_Pending] = deque()
        self._pending_votes = 0
        self._held: list[Effect] = []

    # --- what follows from it ---

    @property
    def is_voter(self) -> bool:
        """Whether this node, with this disk, is in the newest voter set."""
        return self.voters.newest.has(self.node_id, self.storage_id)

    @property
    def kind(self) -> VoterKind | None:
        """As what it votes, whatever disk the voter set has in mind; None for an observer."""
        voter = self.voters.newest.get(self.node_id)
        return voter.kind if voter else None

    @property
    def is_recovering(self) -> bool:
        """Whether records this node once acknowledged are missing (consensus: ack floor)."""
        return self.tail.last < self.floor

    @property
    def vote_floor(self) -> Position:
        """A candidate's journal must reach this far: what we have, and what we ever acknowledged."""
        return max(self.tail.last, self.floor)

    @property
    def is_stalled(self) -> bool:
        """Whether a write has been under way for so long that this node must not lead."""
        return bool(self._pending) and self.now_ns - self._pending[0].since_ns > self.waits.journal_stall

    @property
    def health(self) -> Health:
        """For heartbeats."""
        if self.is_recovering:
            return Health.RECOVERING
        return Health.STALLED if self.is_stalled else Health.OK

    @property
    def may_campaign(self) -> bool:
        """Whether it could lead: all records are here, and it votes in a set that may be in force.

        A removed voter whose removal is not known committed still counts: without it the remaining ones
        may be unable to elect anybody.
        """
        if self.is_recovering or self.is_stalled:
            return False
        sets = self.voters.since_committed(self.commit_txid)
        return any(voters.has(self.node_id, self.storage_id) for voters in sets)

    @property
    def leader_id(self) -> NodeId | None:
        """Who leads this node's epoch, if it knows."""
        match self.role:
            case Leader():
                return self.node_id
            case Follower(leader_id=leader_id):
                return leader_id
            case _:
                return None

    def endpoint_of(self, node_id: NodeId | None) -> str:
        """Where a voter is reached; "" when unknown."""
        voter = self.voters.newest.get(node_id) if node_id else None
        return voter.endpoint if voter else ""

    def election_timeout_ns(self) -> Nanos:
        """A random wait, longer for a witness."""
        waits = self.waits
        wait = waits.election_min + self.rng.randrange(waits.election_max - waits.election_min + 1)
        return Nanos(wait * (_WITNESS_PATIENCE if self.kind is VoterKind.WITNESS else 1))

    # --- starting ---

    def start(self) -> None:
        """Finish what a crash interrupted: records whose floor was not raised do not count as durable."""
        self.booted_ns = self.now_ns
        if self.floor < self.tail.last:
            self.floor = self.tail.last
            self.durable_txid = self.tail.base.txid
            self.persist(RaiseFloor(self.floor))

    # --- saying and writing ---

    def envelope(self, to_id: NodeId, to_storage_id: str, epoch: Epoch | None = None) -> Envelope:
        """Of a message in our epoch, unless ``epoch`` is another one."""
        identity = self.identity
        return Envelope(
            identity.cluster_id,
            identity.cluster_generation,
            self.node_id,
            self.storage_id,
            self.incarnation,
            to_id,
            to_storage_id,
            self.epoch if epoch is None else epoch,
        )

    def answer(self, envelope: Envelope) -> Envelope:
        """Of the answer to a message with ``envelope``."""
        return self.envelope(envelope.from_id, envelope.from_storage_id)

    def send(self, message: Message) -> None:
        """Send, but no message of an epoch before that epoch is on our disk."""
        self.emit_when_epoch_is_durable(Send(message.envelope.to_id, message))

    def emit_when_epoch_is_durable(self, effect: Effect) -> None:
        """As ``send`` does."""
        (self._held if self._pending_votes else self.effects).append(effect)

    def persist(self, write: Write, then: tuple[Send, ...] = ()) -> int:
        """Ask for a write; its token comes back in ``persisted``."""
        self._tokens += 1
        last_txid: Txid | None = None
        match write:
            case AppendRecords(entries=entries):
                last_txid = entries[-1].txid
            case TruncateJournal(keep=keep):
                last_txid = keep.txid
            case InstallCheckpoint(last=last):
                last_txid = last.txid
            case RememberVote():
                self._pending_votes += 1
            case RaiseFloor(floor=floor):
                last_txid = floor.txid
        self._pending.append(
            _Pending(self._tokens, self.now_ns, last_txid, is_vote=isinstance(write, RememberVote))
        )
        self.effects.append(Persist(self._tokens, write, then))
        return self._tokens

    def persisted(self, token: int) -> None:
        """The oldest write under way is done."""
        done = self._pending.popleft()
        assert done.token == token, f"write {token} reported before {done.token}"
        if done.last_txid is not None:
            self.durable_txid = done.last_txid
        if done.is_vote:
            self._pending_votes -= 1
            if not self._pending_votes:
                self.effects.extend(self._held)
                self._held.clear()

    def halt(self, reason: str) -> None:
        """Stop for good."""
        self.halted = reason
        self.effects.append(Halt(reason))

    # --- the journal ---

    def append(self, entries: tuple[Entry, ...]) -> None:
        """Put ``entries`` after our last record; voters in them are in force at once."""
        self.tail.append(entries)
        for entry in entries:
            voters = self.control.voters_of(entry)
            # A journal that lost its tail may end before our own checkpoint, which knows them already.
            if voters is not None and entry.txid > self.voters.newest_txid:
                self.voters.append(entry.txid, voters)
        if self.floor is not UNKNOWN_FLOOR:
            self.floor = max(self.floor, self.tail.last)
        self.persist(AppendRecords(entries, self.known_floor))
        self.tail.forget(min(self.commit_txid, self.durable_txid), keep_records=self.config.window_records)

    def truncate(self, keep: Txid) -> None:
        """Drop every record above ``keep``; a current leader does not have them."""
        self.tail.truncate(keep)
        self.voters.truncate(keep)
        # What we acknowledged beyond the cut was never committed: the leader would have it.
        self.floor = min(self.floor, self.tail.last)
        self.cap_durable(keep)
        self.persist(TruncateJournal(self.tail.last, self.floor))

    def cap_durable(self, keep: Txid) -> None:
        """Writes under way reach no further than ``keep`` counts: what is above will be cut off."""
        self.durable_txid = Txid(min(self.durable_txid, keep))
        for write in self._pending:
            if write.last_txid is not None:
                write.last_txid = Txid(min(write.last_txid, keep))

    @property
    def known_floor(self) -> Position | None:
        """The floor as the sidecar shall have it; None while it must stay unreadable."""
        return None if self.floor is UNKNOWN_FLOOR else self.floor

    def set_commit(self, txid: Txid) -> bool:
        """Records up to ``txid`` are committed. Whether that is news."""
        if txid <= self.commit_txid:
            return False
        assert txid <= self.tail.last.txid, f"commit {txid} beyond {self.tail.last}"
        self.commit_txid = txid
        self.effects.append(Commit(txid))
        return True

    # --- leaving a role ---

    def become(self, role: Role) -> None:
        """Be something else, and say so."""
        self.role = role
        self.effects.append(RoleChanged(role.name, self.epoch, self.leader_id))

    def unattach(self, timer_ns: Nanos | None = None) -> None:
        """Stop leading, following or asking for votes. Whoever waits for us hears of it."""
        if isinstance(self.role, Leader):
            for read in self.role.reads:
                self.effects.append(Reply(read.read_id, NotHere(None)))
            for progress in self.role.peers.values():
                if progress.parked:
                    self.refuse_sync(progress.parked.request, SyncError.NOT_LEADER, None)
        if timer_ns is None:
            timer_ns = Nanos(self.now_ns + self.election_timeout_ns())
        self.become(Unattached(timer_ns))

    def refuse_sync(self, request: SyncRequest, error: SyncError, leader_id: NodeId | None) -> None:
        """Answer a fetch with an error and, if we know, who leads."""
        endpoint = self.endpoint_of(leader_id)
        self.send(SyncResponse(self.answer(request.envelope), error, leader_id, endpoint, request.fetch_seq))

    def begin_epoch(self, epoch: Epoch, *, voted_for_id: str = "", voted_for_storage_id: str = "") -> None:
        """A newer epoch began: whatever we were in ours is over (Raft §5.1). The caller persists the vote."""
        assert epoch > self.epoch, f"epoch {epoch} after {self.epoch}"
        self.unattach()
        self.epoch = epoch
        self.vote = Vote(epoch, voted_for_id, voted_for_storage_id)

    def adopt_epoch(self, epoch: Epoch) -> None:
        """Somebody's message was of a newer epoch."""
        self.begin_epoch(epoch)
        self.persist(RememberVote(self.vote))
