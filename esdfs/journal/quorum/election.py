"""Who leads: pre-vote, vote, and who may not ask yet (Raft §5.2, §5.4.1, thesis §9.6; KIP-996)."""

from typing import Final

from esdfs.ids import Epoch, Nanos, Txid
from esdfs.journal.entry import Vote
from esdfs.journal.quorum.effects import RememberVote, Send
from esdfs.journal.quorum.following import Following
from esdfs.journal.quorum.messages import Refusal, VoteRequest, VoteResponse
from esdfs.journal.quorum.replication import LeaderReplication
from esdfs.journal.quorum.roles import Candidate, Follower, Leader, Prospective, Unattached
from esdfs.journal.quorum.state import NodeState

_NO_EPOCH: Final = Epoch(0)


class LeaderElection:
    """Elections as seen by one node."""

    def __init__(self, state: NodeState, replication: LeaderReplication, following: Following) -> None:
        self._state = state
        self._replication = replication
        self._following = following

    def start(self) -> None:
        """Arm the first timer. A lone voter need not wait for anybody."""
        state = self._state
        alone = state.is_voter and len(state.voters.newest) == 1
        state.unattach(state.now_ns if alone else None)

    def tick(self) -> None:
        """Stand for election when the leader, or the last attempt, has been silent for too long."""
        role = self._state.role
        if not isinstance(role, Leader) and self._state.now_ns >= role.timer_ns:
            self._start_election()

    def _start_election(self) -> None:
        """Ask whether an election would succeed, before disturbing anybody (pre-vote).

        A node that may not lead asks around for the leader instead.
        """
        state = self._state
        if not state.may_campaign:
            state.unattach()
            known = sorted({*state.seeds, *state.voters.newest.ids} - {state.node_id})
            if known:
                self._following.probe(state.rng.choice(known))
            return
        role = Prospective(Nanos(state.now_ns + state.election_timeout_ns()))
        if state.is_voter:
            role.granted.add(state.node_id)
        state.become(role)
        if len(role.granted) >= state.voters.newest.majority:
            self.campaign()
            return
        for request in self._vote_requests(Epoch(state.epoch + 1), pre_vote=True):
            state.emit_when_epoch_is_durable(request)

    def campaign(self, *, transfer: bool = False) -> None:
        """Ask for votes in a new epoch; without a pre-vote when the leader asked us to (``transfer``)."""
        state = self._state
        if not state.may_campaign:
            return
        from_epoch = state.epoch if transfer else _NO_EPOCH
        state.begin_epoch(
            Epoch(state.epoch + 1), voted_for_id=state.node_id, voted_for_storage_id=state.storage_id
        )
        requests = self._vote_requests(state.epoch, pre_vote=False, transfer_from_epoch=from_epoch)
        token = state.persist(RememberVote(state.vote), then=requests)
        state.become(Candidate(Nanos(state.now_ns + state.election_timeout_ns()), own_vote_token=token))

    def vote_persisted(self, token: int) -> None:
        """A candidate's vote for itself counts once it is on its disk, and only if it votes at all."""
        role = self._state.role
        if isinstance(role, Candidate) and role.own_vote_token == token and self._state.is_voter:
            role.granted.add(self._state.node_id)
            self._count(role)

    def handle_vote_request(self, request: VoteRequest) -> None:
        """Vote, or say what one would vote. At most one vote per epoch, on disk before it leaves."""
        state = self._state
        asked = request.envelope
        if self.is_sticky(request):
            # The epoch is not adopted: a node the leader cannot hear must not depose it.
            self.reply(request, Refusal.STICKY)
            return
        if asked.epoch < state.epoch or (request.pre_vote and asked.epoch == state.epoch):
            self.reply(request, Refusal.EPOCH)
            return
        up_to_date = request.last >= state.vote_floor
        if request.pre_vote:
            self.reply(request, Refusal.NONE if up_to_date else Refusal.LOG)
            return
        news = asked.epoch > state.epoch
        if news:
            state.begin_epoch(asked.epoch)
        candidate = Vote(state.epoch, asked.from_id, asked.from_storage_id)
        free = state.vote == candidate or not state.vote.voted_for_id
        if not up_to_date:
            refusal = Refusal.LOG
        elif not free or isinstance(state.role, Leader | Follower):
            refusal = Refusal.VOTED
        else:
            refusal = Refusal.NONE
            news = news or state.vote != candidate
            state.vote = candidate
            state.role.timer_ns = Nanos(state.now_ns + state.election_timeout_ns())
        response = self._response(request, refusal)
        if news:
            state.persist(RememberVote(state.vote), then=(Send(asked.from_id, response),))
        else:
            state.send(response)

    def handle_vote_response(self, response: VoteResponse) -> None:
        """Count it. A refusal because a leader lives tells where to ask; it is not contact with it."""
        state = self._state
        voter = response.envelope
        if voter.epoch > state.epoch and not response.granted:
            state.adopt_epoch(voter.epoch)
            return
        role = state.role
        match role:
            case Prospective() if response.pre_vote and response.proposed_epoch == state.epoch + 1:
                pass
            case Candidate() if not response.pre_vote and response.proposed_epoch == state.epoch:
                pass
            case _:
                return
        if response.granted:
            if state.voters.newest.has(voter.from_id, voter.from_storage_id):
                role.granted.add(voter.from_id)
                self._count(role)
            return
        role.refused.add(voter.from_id)
        waits, voters = state.waits, state.voters.newest
        hint = response.leader_id
        if response.pre_vote and response.reason is Refusal.STICKY and hint and hint != state.node_id:
            self._following.probe(hint)
            soon = state.now_ns + waits.heartbeat + state.rng.randrange(2 * waits.heartbeat)
            role.timer_ns = Nanos(min(role.timer_ns, soon))
        elif not response.pre_vote and response.reason is Refusal.VOTED:
            # The vote is split, or lost. Waiting a whole timeout for the next try helps nobody.
            soon = state.now_ns + waits.heartbeat + state.rng.randrange(waits.election_min)
            role.timer_ns = Nanos(min(role.timer_ns, soon))
        elif len(role.refused) > len(voters) - voters.majority:
            state.become(Unattached(Nanos(state.now_ns + state.election_timeout_ns() // 2)))

    def is_sticky(self, request: VoteRequest) -> bool:
        """Whether this voter may not help depose a leader: it lives, or may hold a lease we forgot."""
        state = self._state
        if request.transfer_from_epoch and request.transfer_from_epoch == state.epoch:
            return False  # that leader asked for it itself
        if isinstance(state.role, Leader):
            return self._replication.has_live_quorum()
        heard = state.now_ns - state.last_contact_ns < state.waits.election_min
        return heard or self.is_quiet()

    def is_quiet(self) -> bool:
        """Whether it just booted: it may have been sticky before, to a leader that still relies on that."""
        state = self._state
        return state.config.lease_reads and state.now_ns - state.booted_ns < state.waits.quiet

    def _count(self, role: Prospective | Candidate) -> None:
        if len(role.granted) < self._state.voters.newest.majority:
            return
        if isinstance(role, Prospective):
            self.campaign()
        else:
            self._become_leader()

    def _become_leader(self) -> None:
        """Open the epoch with a record of its own: committing it commits all before it (Raft §5.4.2, §8)."""
        state = self._state
        state.become(
            Leader(
                epoch_start_txid=Txid(state.tail.last.txid + 1),
                next_heartbeat_ns=state.now_ns,
                check_quorum_ns=Nanos(state.now_ns + state.waits.check_quorum),
            )
        )
        self._replication.append(
            [state.control.leader_changed(state.node_id, state.storage_id, state.wall_us)]
        )
        self._replication.heartbeat()

    def _vote_requests(
        self, epoch: Epoch, *, pre_vote: bool, transfer_from_epoch: Epoch = _NO_EPOCH
    ) -> tuple[Send, ...]:
        state = self._state
        return tuple(
            Send(
                voter.node_id,
                VoteRequest(
                    state.envelope(voter.node_id, voter.storage_id, epoch),
                    pre_vote,
                    state.tail.last,
                    transfer_from_epoch,
                ),
            )
            for voter in state.voters.newest
            if voter.node_id != state.node_id
        )

    def reply(self, request: VoteRequest, refusal: Refusal) -> None:
        """Answer without having changed anything; ``Refusal.NONE`` is a pre-vote that was given."""
        self._state.send(self._response(request, refusal))

    def _response(self, request: VoteRequest, refusal: Refusal) -> VoteResponse:
        state = self._state
        return VoteResponse(
            state.answer(request.envelope),
            refusal is Refusal.NONE,
            request.pre_vote,
            request.envelope.epoch,
            state.leader_id,
            state.endpoint_of(state.leader_id),
            refusal,
        )
