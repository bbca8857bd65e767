"""What must hold after every event. The names are those of ``esdfs/journal/quorum/DESIGN.md``."""

from typing import TYPE_CHECKING

from esdfs.ids import Epoch, NodeId, Position, Txid
from esdfs.journal.chain import continues
from esdfs.journal.entry import Entry
from esdfs.journal.quorum.effects import (
    AppendRecords,
    InstallCheckpoint,
    RememberVote,
    TruncateJournal,
    Write,
)
from esdfs.journal.quorum.messages import Message, SyncKind, SyncRequest, VoteRequest, VoteResponse

if TYPE_CHECKING:  # a cluster has checkers, and checkers look at a cluster
    from tests.sim.cluster import Cluster
    from tests.sim.node import SimNode

DIGESTS_REMEMBERED = 5000


class InvariantBrokenError(AssertionError):
    """A checker fired."""

    def __init__(self, invariant: str, story: str) -> None:
        super().__init__(f"{invariant}: {story}")
        self.invariant = invariant


class Checkers:
    """Watches every node, disk and message of a cluster."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self._leaders: dict[Epoch, NodeId] = {}
        self._votes: dict[tuple[str, Epoch], tuple[str, str]] = {}
        self._epochs: dict[str, Epoch] = {}  # per storage, on disk
        self._commits: dict[NodeId, Txid] = {}  # per node, this life
        self._reached: dict[str, Position] = {}  # per storage: how far its disk once reached
        self._injected_loss: set[str] = set()
        self.committed: list[tuple[Epoch, bytes]] = []  # txid - 1 -> epoch, chain value
        self._digests: dict[Txid, int] = {}
        self.expected_halts: set[NodeId] = set()

    # --- SingleLeaderPerEpoch, CommitNeverGoesBack, CommittedNeverChanges, CommittedIsOnAMajority,
    # --- OnlyCommittedIsApplied, OneUncommittedVoterChange

    def booted(self, node: "SimNode") -> None:
        self._commits[node.node_id] = node.core.commit_txid
        if not node.core.is_recovering and node.disk.floor is not None:
            self._injected_loss.discard(node.disk.identity.storage_id)

    def role_changed(self, node: "SimNode") -> None:
        core = node.core
        if not core.is_leader:
            return
        self._cluster.stats["elections"] += 1
        known = self._leaders.setdefault(core.epoch, node.node_id)
        if known != node.node_id:
            raise InvariantBrokenError(
                "SingleLeaderPerEpoch", f"{known} and {node.node_id} lead epoch {core.epoch}"
            )

    def after_input(self, node: "SimNode") -> None:
        core, former = node.core, self._commits[node.node_id]
        commit_txid = core.commit_txid
        if node.machine.txid > max(commit_txid, len(self.committed)):
            raise InvariantBrokenError(
                "OnlyCommittedIsApplied",
                f"{node.node_id} applied {node.machine.txid}, committed {commit_txid}",
            )
        if commit_txid < former:
            raise InvariantBrokenError("CommitNeverGoesBack", f"{node.node_id}: {former} to {commit_txid}")
        waiting = [txid for txid, _ in core._state.voters._sets if txid > len(self.committed)]
        if len(waiting) > 1:
            raise InvariantBrokenError("OneUncommittedVoterChange", f"{node.node_id}: {waiting} are waiting")

    def commits(self, node: "SimNode", commit_txid: Txid) -> None:
        """Before the records are applied, and perhaps compacted."""
        former = self._commits[node.node_id]
        self._commits[node.node_id] = commit_txid
        for txid in range(max(former, node.base_txid) + 1, commit_txid + 1):
            entry = node.records[txid - node.base_txid - 1]
            if txid > len(self.committed):
                self._newly_committed(node, entry)
            elif self.committed[txid - 1] != (entry.epoch, entry.chain):
                raise InvariantBrokenError(
                    "CommittedNeverChanges",
                    f"{node.node_id} commits {entry.position}, committed is {self.committed[txid - 1][0]}",
                )
        if node.core.is_leader:
            self._is_on_a_majority(node, commit_txid)

    def _newly_committed(self, node: "SimNode", entry: Entry) -> None:
        if entry.txid != len(self.committed) + 1:
            raise InvariantBrokenError("CommittedNeverChanges", f"{node.node_id} skips to {entry.txid}")
        self.committed.append((entry.epoch, entry.chain))
        self._cluster.stats["commits"] += 1

    def _is_on_a_majority(self, node: "SimNode", commit_txid: Txid) -> None:
        epoch = node.core._state.tail.epoch_at(commit_txid)
        assert epoch is not None
        position = Position(epoch, commit_txid)
        voters = node.core.voters
        holders = [voter.node_id for voter in voters if self._held(voter.node_id, voter.storage_id, position)]
        if len(holders) < voters.majority:
            raise InvariantBrokenError(
                "CommittedIsOnAMajority",
                f"{node.node_id} commits {position}, durable on {holders} of {list(voters.ids)}",
            )

    def _held(self, node_id: NodeId, storage_id: str, position: Position) -> bool:
        """Whether this disk has the record, or had it before a fault the design allows for took it."""
        disk = self._cluster.nodes[node_id].disk
        if disk.identity.storage_id == storage_id and disk.holds(position):
            return True
        return storage_id in self._injected_loss and self._reached.get(storage_id, position) >= position

    # --- PromisesAreDurable

    def sent(self, node: "SimNode", message: Message) -> None:
        disk, envelope = node.disk, message.envelope
        if not (isinstance(message, VoteRequest) and message.pre_vote):
            self._promised(
                envelope.epoch <= max(disk.vote.epoch, disk.last.epoch), node, "its epoch", message
            )
        match message:
            case VoteRequest(pre_vote=False):
                own = self._votes.get((disk.identity.storage_id, envelope.epoch))
                self._promised(own == (node.node_id, disk.identity.storage_id), node, "its vote", message)
            case VoteResponse(granted=True, pre_vote=False):
                given = self._votes.get((disk.identity.storage_id, message.proposed_epoch))
                candidate = (envelope.to_id, envelope.to_storage_id)
                self._promised(given == candidate, node, "its vote", message)
            case SyncRequest(kind=kind, last=last) if kind is not SyncKind.PROBE:
                self._promised(disk.holds(last), node, f"record {last}", message)
                self._promised(disk.floor is None or disk.floor >= last, node, f"floor {last}", message)
            case _:
                pass

    def _promised(self, is_so: bool, node: "SimNode", what: str, message: Message) -> None:
        if not is_so:
            kind = type(message).__name__
            raise InvariantBrokenError(
                "PromisesAreDurable", f"{node.node_id} sends {kind} before {what} is on disk"
            )

    # --- OneVotePerEpoch, EpochNeverGoesBack, JournalIsDenseAndChained, NoCutBelowCommit,
    # --- FloorNeverAheadOfJournal

    def before_write(self, node: "SimNode", write: Write) -> None:
        disk = node.disk
        storage_id = disk.identity.storage_id
        match write:
            case RememberVote(vote):
                if vote.epoch < self._epochs.get(storage_id, 0):
                    raise InvariantBrokenError(
                        "EpochNeverGoesBack", f"{storage_id} goes back to {vote.epoch}"
                    )
                self._epochs[storage_id] = vote.epoch
                if vote.voted_for_id:
                    given = (vote.voted_for_id, vote.voted_for_storage_id)
                    known = self._votes.setdefault((storage_id, vote.epoch), given)
                    if known != given:
                        raise InvariantBrokenError(
                            "OneVotePerEpoch", f"{storage_id} votes in {vote.epoch} for {known} and {given}"
                        )
            case AppendRecords(entries):
                chain = disk.entries[-1].chain if disk.entries else disk.base.chain
                first = entries[0]
                if first.txid != disk.last.txid + 1 or not continues(chain, first):
                    raise InvariantBrokenError(
                        "JournalIsDenseAndChained", f"{first.position} after {disk.last} on {storage_id}"
                    )
            case _:
                pass

    def after_write(self, node: "SimNode", write: Write) -> None:
        disk = node.disk
        storage_id = disk.identity.storage_id
        if isinstance(write, AppendRecords):
            self._reached[storage_id] = max(self._reached.get(storage_id, disk.last), disk.last)
        elif isinstance(write, TruncateJournal | InstallCheckpoint):
            self._reached[storage_id] = disk.last
        if (
            disk.floor is not None
            and disk.floor > disk.last
            and storage_id not in self._injected_loss
            and not isinstance(write, RememberVote)
        ):
            raise InvariantBrokenError(
                "FloorNeverAheadOfJournal", f"{storage_id}: floor {disk.floor}, journal {disk.last}"
            )

    def lost_records(self, storage_id: str) -> None:
        """The nemesis took records, or the floor, from a disk."""
        self._injected_loss.add(storage_id)

    def recovered(self, node: "SimNode") -> None:
        """Its journal reaches its floor again."""
        self._injected_loss.discard(node.disk.identity.storage_id)

    def cut(self, node: "SimNode", keep: Txid) -> None:
        self._cluster.stats["truncations"] += 1
        if keep < node.core.commit_txid or keep < self._commits[node.node_id]:
            raise InvariantBrokenError(
                "NoCutBelowCommit", f"{node.node_id} cuts to {keep}, committed is {node.core.commit_txid}"
            )

    # --- StatesAgree, NobodyHalts

    def applied(self, node: "SimNode", entry: Entry) -> None:
        digest = self._digests.setdefault(entry.txid, node.machine.digest)
        if digest != node.machine.digest:
            raise InvariantBrokenError("StatesAgree", f"{node.node_id} differs at {entry.txid}")
        self._digests.pop(Txid(entry.txid - DIGESTS_REMEMBERED), None)

    def halted(self, node: "SimNode", reason: str) -> None:
        if node.node_id not in self.expected_halts:
            raise InvariantBrokenError("NobodyHalts", f"{node.node_id}: {reason}")
