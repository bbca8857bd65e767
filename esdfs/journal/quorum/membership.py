"""Changing who votes: one at a time, and only from a settled state (Raft thesis §4; KIP-853)."""

from typing import Final

from esdfs.errors import InvalidRequest, NotLeader, Unavailable
from esdfs.ids import NodeId
from esdfs.journal.quorum.messages import Health
from esdfs.journal.quorum.replication import LeaderReplication
from esdfs.journal.quorum.roles import Leader
from esdfs.journal.quorum.state import NodeState
from esdfs.journal.quorum.voters import Voter, VoterKind, VoterSet

_FRESH_NS: Final = 1_000_000_000  # a new voter has fetched this recently
_LAG_RECORDS: Final = 1000  # and lacks no more than this,
_LAG_FETCHES: Final = 16  # and no more than this many fetches bring: commits may have to wait for it


class Membership:
    """Changes of the voter set, decided by the leader."""

    def __init__(self, state: NodeState, replication: LeaderReplication) -> None:
        self._state = state
        self._replication = replication

    def change_voters(self, voters: VoterSet) -> None:
        """Append ``voters``; in force at once, final when committed.

        Raises:
            NotLeader: Ask the leader.
            InvalidRequest: Not exactly one voter added or removed.
            Unavailable: Another change, or this leader's first record, is not committed yet; the new
                voter lags; or another voter is unreachable or recovering. Later it may work.
        """
        state, role = self._state, self._state.role
        if not isinstance(role, Leader):
            raise NotLeader("this NameNode does not lead: ask the leader", leader=state.leader_id or "")
        now = state.voters.newest
        if not now.is_one_step_to(voters):
            raise InvalidRequest(f"add or remove exactly one voter of {', '.join(now.ids)}")
        if role.transfer:
            raise Unavailable("leadership is being handed over")
        if not self.is_settled(role):
            raise Unavailable("the last change of voters, or this leader, is not committed yet: try again")
        leaving = {voter.node_id for voter in now.removed_by(voters)}
        for voter in voters:
            if voter.node_id not in leaving:
                self._refuse_if_unfit(role, voter, is_new=now.get(voter.node_id) is None)
        self._replication.append([state.control.voters_changed(voters, state.wall_us)])
        self._replication.advance()

    def is_settled(self, role: Leader) -> bool:
        """Whether this leader has committed something, and the last voter set is committed.

        Without the first, sets of two leaders may be in force whose majorities do not meet (2015).
        """
        commit_txid = self._state.commit_txid
        return commit_txid >= role.epoch_start_txid and commit_txid >= self._state.voters.newest_txid

    def _refuse_if_unfit(self, role: Leader, voter: Voter, *, is_new: bool) -> None:
        # A change while a disk has lost records can leave nobody who may lead.
        state = self._state
        if voter.node_id == state.node_id:
            return
        progress = role.peers.get(voter.node_id)
        if progress is None or progress.storage_id != voter.storage_id:
            raise Unavailable(f"{voter.node_id} with that disk has not been heard of")
        if is_new:
            if state.now_ns - progress.seen_ns > _FRESH_NS:
                raise Unavailable(f"{voter.node_id} has not fetched recently: start it first")
            lag_max = min(_LAG_RECORDS, _LAG_FETCHES * state.config.fetch_records)
            if state.tail.last.txid - progress.fetched_txid > lag_max:
                raise Unavailable(f"{voter.node_id} has not caught up yet")
        elif state.now_ns - progress.voter_seen_ns > state.waits.check_quorum:
            raise Unavailable(f"{voter.node_id} does not answer: bring it back, or remove it first")
        if progress.health is Health.RECOVERING:
            raise Unavailable(f"{voter.node_id} is recovering lost records: wait until it has caught up")

    def successor(self) -> NodeId | None:
        """The full voter heard of recently that lacks fewest records; None when there is none."""
        state, role = self._state, self._state.role
        if not isinstance(role, Leader):
            return None
        best: tuple[int, NodeId] | None = None
        for voter in state.voters.newest:
            progress = role.peers.get(voter.node_id)
            if progress is None or voter.kind is VoterKind.WITNESS:
                continue
            is_same_disk = progress.storage_id == voter.storage_id
            is_fresh = state.now_ns - progress.voter_seen_ns <= state.waits.check_quorum
            if is_same_disk and is_fresh and (best is None or progress.match_txid > best[0]):
                best = (progress.match_txid, voter.node_id)
        return best[1] if best else None
