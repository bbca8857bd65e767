"""Leaving office on purpose: transfer, resignation, removal, and a witness that leads only to hand over."""

from esdfs.errors import InvalidRequest, NotLeader
from esdfs.ids import Nanos, NodeId
from esdfs.journal.quorum.messages import HeartbeatRequest, SyncKind, SyncRequest
from esdfs.journal.quorum.roles import Leader, Transfer
from esdfs.journal.quorum.state import NodeState
from esdfs.journal.quorum.voters import VoterKind


class Handover:
    """How a leader stops being one without anybody waiting for a timeout (Raft thesis §3.10)."""

    def __init__(self, state: NodeState) -> None:
        self._state = state

    def transfer(self, target: NodeId) -> None:
        """Stop taking proposals until ``target`` leads, or has not managed to for ``election_max_ms``.

        Raises:
            NotLeader: Ask the leader.
            InvalidRequest: ``target`` is no other voter.
        """
        state, role = self._state, self._state.role
        if not isinstance(role, Leader):
            raise NotLeader("this NameNode does not lead: ask the leader", leader=state.leader_id or "")
        if target == state.node_id or state.voters.newest.get(target) is None:
            raise InvalidRequest(f"{target} is not another voter: leadership goes to one of them")
        if role.transfer is None:
            role.transfer = Transfer(target, Nanos(state.now_ns + state.waits.election_max))
            role.lease_void = True
            self.continue_transfer()

    def continue_transfer(self) -> None:
        """Tell the target to stand for election once it has every record. Until then it would lose."""
        state, role = self._state, self._state.role
        if not isinstance(role, Leader) or role.transfer is None:
            return
        target = role.peers.get(role.transfer.target)
        if target is not None and target.match_txid == state.tail.last.txid:
            self._tell(role, role.transfer.target, transfer_now=True)

    def hand_over_as_caretaker(self, request: SyncRequest) -> None:
        """A witness that had to lead gives way to the first full voter that has every record."""
        state, role = self._state, self._state.role
        if not isinstance(role, Leader) or role.transfer or state.kind is not VoterKind.WITNESS:
            return
        sender = request.envelope
        successor = state.voters.newest.get(sender.from_id)
        if (
            successor is not None
            and successor.kind is VoterKind.FULL
            and successor.storage_id == sender.from_storage_id
            and request.kind is not SyncKind.PROBE
            and request.last == state.tail.last
        ):
            self.transfer(successor.node_id)

    def resign(self) -> None:
        """Step down and say so, so that others need not be sticky to us."""
        state, role = self._state, self._state.role
        assert isinstance(role, Leader), f"{state.node_id} does not lead"
        for node_id in sorted(role.peers):
            self._tell(role, node_id, resign=True)
        # Others go first.
        state.unattach(Nanos(state.now_ns + state.waits.election_max + state.election_timeout_ns()))

    def left_after_removal(self) -> bool:
        """Resign once our own removal is committed (Raft §6). Whether that was now."""
        state = self._state
        if state.is_voter or state.voters.newest_txid > state.commit_txid:
            return False
        self.resign()
        return True

    def _tell(
        self, role: Leader, node_id: NodeId, *, transfer_now: bool = False, resign: bool = False
    ) -> None:
        state = self._state
        state.send(
            HeartbeatRequest(
                state.envelope(node_id, role.peers[node_id].storage_id),
                state.commit_txid,
                state.tail.last.txid,
                role.epoch_start_txid,
                0,  # not a round: it confirms no read
                transfer_now=transfer_now,
                resign=resign,
                leader_endpoint=state.endpoint_of(state.node_id),
            )
        )
