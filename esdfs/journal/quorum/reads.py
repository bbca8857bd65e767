"""Linearizable reads at the leader without a record (Raft thesis §6.4: read index, leases)."""

from typing import Final

from esdfs.ids import Nanos, NodeId
from esdfs.journal.quorum.effects import NotHere, ReadAt, Reply
from esdfs.journal.quorum.roles import NEVER, Leader, PendingRead, Progress
from esdfs.journal.quorum.state import NodeState
from esdfs.journal.quorum.voters import VoterKind

_SEEN_EVERYTHING: Final = 1 << 62


class ReadIndex:
    """Reads wait until a majority has seen a heartbeat that left after they came in.

    Nobody else can have committed anything by then that the read would have to show. All reads that
    come in meanwhile share the round.
    """

    def __init__(self, state: NodeState) -> None:
        self._state = state

    def read(self, read_id: int) -> None:
        """Answer ``read_id`` with ``Reply``, now or later."""
        state, role = self._state, self._state.role
        if not isinstance(role, Leader) or state.kind is VoterKind.WITNESS:
            state.effects.append(Reply(read_id, NotHere(state.leader_id)))
        elif state.commit_txid < role.epoch_start_txid:
            # What earlier leaders committed is not known yet (Raft §8).
            state.effects.append(Reply(read_id, NotHere(None)))
        elif self.is_confirmed(role):
            state.effects.append(Reply(read_id, ReadAt(state.commit_txid)))
        else:
            role.reads.append(PendingRead(read_id, state.commit_txid, role.heartbeat_seq + 1))
            self._begin_round(role)

    def is_confirmed(self, role: Leader) -> bool:
        """Whether no other leader can exist right now: we are all voters, or hold a lease.

        The lease counts from when a heartbeat *left*: voters that saw it are sticky for at least
        ``election_min_ms`` from then on.
        """
        state = self._state
        if state.voters.newest.ids == (state.node_id,):
            return True
        if not state.config.lease_reads or role.lease_void:
            return False
        return state.now_ns < self.majority_ns("echo") + state.waits.lease

    def answer_ready(self) -> None:
        """Answer the reads whose round a majority has seen."""
        state, role = self._state, self._state.role
        if not isinstance(role, Leader) or not role.reads:
            return
        seen = self._majority([self._echo(role, node_id) for node_id in state.voters.newest.ids])
        waiting = []
        for read in role.reads:
            if seen >= read.needs_echo:
                state.effects.append(Reply(read.read_id, ReadAt(read.txid)))
            else:
                waiting.append(read)
        role.reads = waiting
        if waiting:
            self._begin_round(role)

    def _begin_round(self, role: Leader) -> None:
        """One round at a time: what comes in meanwhile shares the next one."""
        if role.reads[0].needs_echo > role.heartbeat_seq:
            role.next_heartbeat_ns = self._state.now_ns

    def majority_ns(self, what: str) -> Nanos:
        """Since when a majority was ``seen``, or has seen a heartbeat that left then (``echo``)."""
        state, role = self._state, self._state.role
        assert isinstance(role, Leader), f"{state.node_id} does not lead"
        instants: list[int] = []
        for node_id in state.voters.newest.ids:
            if node_id == state.node_id:
                instants.append(state.now_ns)
                continue
            progress = self._voter(role, node_id)
            if progress is None:
                instants.append(NEVER)
            else:
                instants.append(progress.voter_seen_ns if what == "seen" else progress.echo_sent_ns)
        return Nanos(self._majority(instants))

    def _echo(self, role: Leader, node_id: NodeId) -> int:
        if node_id == self._state.node_id:
            return _SEEN_EVERYTHING
        progress = self._voter(role, node_id)
        return progress.echo if progress else 0

    def _voter(self, role: Leader, node_id: NodeId) -> Progress | None:
        progress = role.peers.get(node_id)
        if progress is None or not self._state.voters.newest.has(node_id, progress.storage_id):
            return None
        return progress

    def _majority(self, values: list[int]) -> int:
        values.sort(reverse=True)
        return values[len(values) // 2]
