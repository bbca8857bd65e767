"""What one node says and writes. What several do together is told in tests/scenario and tests/sim."""

import msgspec
import pytest

from esdfs.errors import InvalidRequest, NotLeader, Overloaded, Unavailable
from esdfs.ids import ORIGIN, Epoch, NodeId, Txid
from esdfs.journal.entry import Head, Vote
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import (
    AppendRecords,
    Commit,
    FetchCheckpoint,
    Halt,
    InstallCheckpoint,
    NotHere,
    Persist,
    RaiseFloor,
    ReadAt,
    RememberVote,
    Reply,
    RoleChanged,
    Send,
    SendFromJournal,
)
from esdfs.journal.quorum.messages import (
    CheckpointOffer,
    Health,
    HeartbeatRequest,
    HeartbeatResponse,
    Refusal,
    SyncError,
    SyncKind,
    SyncRequest,
    SyncResponse,
    VoteRequest,
    VoteResponse,
)
from tests.unit.journal.quorum.nodes import A, B, Bench, C, at, draft, journal, voters


def ask(bench: Bench, sender: NodeId, epoch: int, *, pre_vote: bool = False, txid: int = 9) -> VoteRequest:
    return VoteRequest(bench.envelope(sender, epoch), pre_vote, at(epoch - 1, txid), Epoch(0))


def fetch(
    bench: Bench, sender: NodeId, epoch: int, last: int = 0, *, of: int = 0, seq: int = 1
) -> SyncRequest:
    """With ``last`` records, the last one of epoch ``of`` (else of ``epoch``)."""
    position = at(of or epoch, last) if last else ORIGIN
    envelope = bench.envelope(sender, epoch)
    return SyncRequest(envelope, SyncKind.VOTER, position, Txid(0), 1 << 20, 200, seq, 0)


def lone() -> Bench:
    bench = Bench(members=voters(A))
    bench.wait(0)
    bench.write_all()
    return bench


# --- who is spoken to ---


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"cluster_id": "another"}, id="cluster"),
        pytest.param({"cluster_generation": 2}, id="generation"),
        pytest.param({"to_id": B}, id="node"),
    ],
)
def test_a_message_for_somebody_else_is_not_looked_at(changes: dict[str, object]) -> None:
    bench = Bench()
    bench.take()
    heartbeat = bench.heartbeat(B, 7)
    bench.receive(msgspec.structs.replace(heartbeat, envelope=bench.envelope(B, 7, **changes)))

    assert bench.take() == []
    assert bench.node.epoch == 0


def test_a_vote_meant_for_a_disk_we_lost_is_refused_without_adopting_the_epoch() -> None:
    bench = Bench()
    bench.take()
    request = msgspec.structs.replace(ask(bench, B, 7), envelope=bench.envelope(B, 7, to_storage_id="a.old"))
    bench.receive(request)

    (answer,) = bench.sent()
    assert isinstance(answer, VoteResponse)
    assert (answer.granted, answer.reason, answer.envelope.epoch) == (False, Refusal.STORAGE, 0)


def test_any_other_message_for_a_disk_we_lost_is_dropped() -> None:
    bench = Bench()
    bench.take()
    heartbeat = bench.heartbeat(B, 7)
    bench.receive(msgspec.structs.replace(heartbeat, envelope=bench.envelope(B, 7, to_storage_id="a.old")))

    assert bench.take() == []


# --- votes ---


def test_a_granted_vote_leaves_with_the_write_that_backs_it() -> None:
    bench = Bench()
    bench.take()
    bench.receive(ask(bench, B, 1))

    effects = bench.take()
    (write,) = [effect for effect in effects if isinstance(effect, Persist)]
    assert write.write == RememberVote(Vote(Epoch(1), "b", "b.0"))
    assert not [effect for effect in effects if isinstance(effect, Send)]
    (promise,) = write.then
    assert isinstance(promise.message, VoteResponse)
    assert promise.message.granted


def test_one_vote_per_epoch_also_after_a_restart() -> None:
    bench = Bench(vote=Vote(Epoch(3), "b", "b.0"))
    bench.take()
    bench.receive(ask(bench, C, 3))
    bench.receive(ask(bench, B, 3))

    other, same = bench.sent()
    assert isinstance(other, VoteResponse)
    assert isinstance(same, VoteResponse)
    assert (other.granted, other.reason) == (False, Refusal.VOTED)
    assert same.granted


def test_a_pre_vote_changes_nothing() -> None:
    bench = Bench(journal(1))
    bench.take()
    bench.receive(ask(bench, B, 2, pre_vote=True))
    bench.receive(ask(bench, C, 2, pre_vote=True))

    effects = bench.take()
    assert all(isinstance(effect, Send) for effect in effects)
    assert [effect.message.granted for effect in effects] == [True, True]  # type: ignore[union-attr]  # votes
    assert bench.node.epoch == 1


def test_nobody_gets_a_vote_who_lacks_what_we_acknowledged() -> None:
    bench = Bench(journal(1, 1), floor=at(1, 5))
    bench.take()
    bench.receive(ask(bench, B, 2, txid=4))

    (write,) = bench.taken(Persist)
    assert isinstance(write, Persist)
    (answer,) = write.then
    assert isinstance(answer.message, VoteResponse)
    assert answer.message.reason is Refusal.LOG
    assert bench.node.epoch == 2


def test_a_vote_from_a_disk_that_does_not_vote_is_not_counted() -> None:
    bench = Bench()
    bench.wait_until_due()
    for pre_vote in (True,):
        vote = bench.vote(B, pre_vote=pre_vote)
        envelope = bench.envelope(B, 0, from_storage_id="b.1")
        bench.receive(msgspec.structs.replace(vote, envelope=envelope))

    assert bench.node.role == "prospective"


def test_a_candidate_counts_itself_only_when_its_vote_is_on_disk() -> None:
    bench = Bench(members=voters(A))
    bench.wait(0)

    assert bench.node.role == "candidate"
    bench.write_all()
    assert bench.node.role == "leader"


def test_nothing_of_an_epoch_is_said_before_it_is_on_disk() -> None:
    bench = Bench()
    bench.take()
    bench.receive(bench.heartbeat(B, 4))
    waiting = bench.take()
    bench.effects = [effect for effect in waiting if isinstance(effect, Persist)]

    assert not [effect for effect in waiting if isinstance(effect, Send)]
    bench.write_all()
    assert [type(message) for message in bench.sent()] == [HeartbeatResponse, SyncRequest]


def test_a_node_that_may_not_lead_asks_for_the_leader_instead() -> None:
    bench = Bench(journal(1), floor=None)
    bench.take()
    bench.wait_until_due()

    (probe,) = bench.sent()
    assert isinstance(probe, SyncRequest)
    assert probe.kind is SyncKind.PROBE
    assert bench.node.role == "unattached"


# --- leading ---


def test_a_leader_opens_its_epoch_with_a_record() -> None:
    bench = Bench(journal(1, 1))
    bench.become_leader(B)

    assert bench.node.last == at(2, 3)
    before = bench.node.is_active
    bench.receive(fetch(bench, B, 2, 3))
    assert (before, bench.node.is_active) == (False, True)
    assert bench.node.commit_txid == 3


def test_records_leave_while_our_own_disk_still_writes() -> None:
    bench = Bench()
    bench.become_leader(B)
    bench.receive(fetch(bench, B, 1, 1))
    bench.take()
    _, bench.effects = bench.node.propose([draft()], bench.now())

    (answer,) = [message for message in bench.sent() if isinstance(message, SyncResponse)]
    assert [entry.txid for entry in answer.records] == [2]
    assert bench.node.durable_txid == 1


def test_a_parked_fetch_is_answered_by_the_next_record() -> None:
    bench = Bench()
    bench.become_leader(B)
    bench.receive(fetch(bench, B, 1, 1))
    known = msgspec.structs.replace(fetch(bench, B, 1, 1, seq=2), known_commit_txid=Txid(1))
    bench.take()
    bench.receive(known)
    assert bench.take() == []

    _, bench.effects = bench.node.propose([draft()], bench.now())
    (answer,) = bench.sent()
    assert isinstance(answer, SyncResponse)
    assert answer.fetch_seq == 2


def test_news_of_a_commit_travel_with_the_next_records() -> None:
    bench = Bench()
    bench.become_leader(B)
    bench.receive(fetch(bench, B, 1, 1))
    bench.take()

    _, bench.effects = bench.node.propose([draft()], bench.now())
    (answer,) = bench.sent()
    assert isinstance(answer, SyncResponse)
    assert ([entry.txid for entry in answer.records], answer.commit_txid) == ([2], 1)


def test_news_of_a_commit_wait_for_no_records_longer_than_a_moment() -> None:
    bench = Bench()
    bench.become_leader(B)
    bench.take()
    bench.receive(fetch(bench, B, 1, 1))
    held_back = not [message for message in bench.sent() if isinstance(message, SyncResponse)]
    assert (bench.node.commit_txid, held_back) == (1, True)

    bench.wait(bench.config.commit_notice_ms)
    answers = [message for message in bench.sent() if isinstance(message, SyncResponse)]
    assert [(answer.records, answer.commit_txid) for answer in answers] == [((), 1)]


def test_a_fetch_of_an_older_process_is_dropped() -> None:
    bench = Bench()
    bench.become_leader(B)
    newer = msgspec.structs.replace(fetch(bench, B, 1, 0), envelope=bench.envelope(B, 1, from_incarnation=2))
    bench.receive(newer)
    bench.take()
    bench.receive(fetch(bench, B, 1, 1))

    assert bench.take() == []
    assert bench.node.commit_txid == 0


def test_an_older_epoch_is_told_who_leads_now() -> None:
    bench = Bench(journal(1))
    bench.become_leader(B)
    bench.take()
    bench.receive(fetch(bench, C, 1, 1))

    (answer,) = bench.sent()
    assert isinstance(answer, SyncResponse)
    assert (answer.error, answer.leader_id) == (SyncError.FENCED_EPOCH, A)


def test_records_that_left_memory_are_read_from_the_journal() -> None:
    bench = Bench(journal(*[1] * 8), committed=8, config=QuorumConfig(window_records=2))
    bench.become_leader(B)
    bench.receive(fetch(bench, B, 2, 9))
    for _ in range(4):
        _, effects = bench.node.propose([draft()], bench.now())
        bench.effects += effects
        bench.write_all()
        bench.receive(fetch(bench, B, 2, bench.node.last.txid))
    bench.take()
    bench.receive(fetch(bench, C, 2, 1, of=1))

    (answer,) = bench.taken(SendFromJournal)
    assert isinstance(answer, SendFromJournal)
    assert (answer.to, answer.after) == (C, 1)


def test_it_resigns_when_its_own_journal_stalls() -> None:
    bench = Bench(members=voters(A))
    bench.wait(0)
    bench.write_all()
    _, _ = bench.node.propose([draft()], bench.now())
    bench.take()
    bench.wait(4999)
    before = bench.node.is_leader
    bench.wait(2)

    assert (before, bench.node.is_leader) == (True, False)
    assert [effect.role for effect in bench.take() if isinstance(effect, RoleChanged)] == ["unattached"]


@pytest.mark.parametrize("recovering", [False, True])
def test_no_change_of_voters_while_one_is_recovering(recovering: bool) -> None:
    bench = Bench(members=voters(A, B, C))
    bench.become_leader(B)
    for sender in (B, C):
        health = Health.RECOVERING if recovering and sender == B else Health.OK
        bench.receive(fetch(bench, sender, 1, 1))
        bench.receive(HeartbeatResponse(bench.envelope(sender, 1), True, 1, at(1, 1), Txid(1), health))

    if recovering:
        with pytest.raises(Unavailable, match="recovering"):
            bench.node.change_voters(voters(A, B), bench.now())
    else:
        bench.node.change_voters(voters(A, B), bench.now())
        assert bench.node.voters == voters(A, B)


def test_two_voters_cannot_change_at_once() -> None:
    bench = lone()

    with pytest.raises(InvalidRequest, match="exactly one"):
        bench.node.change_voters(voters(A, B, C), bench.now())


# --- proposing and reading ---


def test_a_follower_takes_no_proposals() -> None:
    bench = Bench()
    bench.receive(bench.heartbeat(B, 1))

    with pytest.raises(NotLeader) as refusal:
        bench.node.propose([draft()], bench.now())
    assert refusal.value.details["leader"] == "b"


def test_the_backlog_is_bounded() -> None:
    bench = Bench(config=QuorumConfig(uncommitted_records=3))
    bench.become_leader(B)
    bench.receive(fetch(bench, B, 1, 1))
    bench.node.propose([draft()] * 3, bench.now())

    with pytest.raises(Overloaded):
        bench.node.propose([draft()], bench.now())


def test_a_batch_is_one_write() -> None:
    bench = lone()
    bench.take()
    entries, effects = bench.node.propose([draft(b"x"), draft(b"y")], bench.now())

    (write,) = [effect for effect in effects if isinstance(effect, Persist)]
    assert write.write == AppendRecords(tuple(entries), at(1, 3))
    bench.effects = effects
    bench.write_all()
    assert [effect.txid for effect in bench.take() if isinstance(effect, Commit)] == [3]


def test_an_empty_proposal_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        lone().node.propose([], lone().now())


def test_a_lone_voter_reads_at_once_and_a_follower_never() -> None:
    bench = lone()
    assert bench.node.read(7, bench.now()) == [Reply(7, ReadAt(Txid(1)))]

    follower = Bench()
    follower.receive(follower.heartbeat(B, 1))
    assert follower.node.read(7, follower.now()) == [Reply(7, NotHere(B))]


def test_a_graceful_stop_hands_over_to_who_lacks_least() -> None:
    bench = Bench()
    bench.become_leader(B)
    assert bench.node.successor is None
    bench.receive(fetch(bench, C, 1, 1))
    bench.receive(fetch(bench, B, 1))

    assert bench.node.successor == C


# --- following ---


def test_records_that_do_not_continue_ours_are_not_taken() -> None:
    bench = Bench(journal(1))
    bench.receive(bench.heartbeat(B, 1))
    (request,) = [message for message in bench.sent() if isinstance(message, SyncRequest)]
    entries = journal(1, 1, 1)
    damaged = msgspec.structs.replace(entries[1], payload=b"y")
    answer = SyncResponse(bench.envelope(B, 1), SyncError.NONE, B, "", request.fetch_seq)
    for records in ((damaged,), entries[2:], entries[:1]):
        bench.receive(msgspec.structs.replace(answer, records=records))
        assert bench.node.last == at(1, 1)


def test_a_leader_whose_records_never_fit_stops_us() -> None:
    bench = Bench(journal(1))
    stranger = msgspec.structs.replace(journal(1, 1)[1], chain=bytes(32))
    for _ in range(100):
        bench.receive(bench.heartbeat(B, 1))
        request = [message for message in bench.sent() if isinstance(message, SyncRequest)][-1]
        answer = SyncResponse(bench.envelope(B, 1), SyncError.NONE, B, "", request.fetch_seq)
        assert not bench.node.halted
        bench.receive(msgspec.structs.replace(answer, records=(stranger,)))

    assert "one of the two is damaged" in bench.node.halted


def test_reads_that_come_in_during_a_round_share_the_next() -> None:
    bench = Bench()
    bench.become_leader(B)
    bench.receive(fetch(bench, B, 1, 1))
    bench.take()
    rounds = []
    for read_id in range(6):
        bench.effects += bench.node.read(read_id, bench.now())
        bench.wait(0)
        rounds.append(len([m for m in bench.sent() if isinstance(m, HeartbeatRequest)]) // 2)
    assert rounds == [1, 0, 0, 0, 0, 0]

    for echo, answered in ((2, [0]), (3, [1, 2, 3, 4, 5])):
        bench.receive(HeartbeatResponse(bench.envelope(B, 1), True, echo, at(1, 1), Txid(1), Health.OK))
        bench.wait(0)
        assert [effect.read_id for effect in bench.take() if isinstance(effect, Reply)] == answered


def test_commit_follows_only_what_is_known_to_match() -> None:
    bench = Bench(journal(1, 1, 1))
    bench.receive(bench.heartbeat(B, 2, commit=3))
    bench.write_all()

    assert bench.node.commit_txid == 0


def test_rather_stop_than_drop_what_is_committed() -> None:
    bench = Bench(journal(1, 1), committed=2)
    bench.receive(bench.heartbeat(B, 2))
    bench.write_all()
    (request,) = [message for message in bench.sent() if isinstance(message, SyncRequest)]
    answer = SyncResponse(bench.envelope(B, 2), SyncError.NONE, B, "", request.fetch_seq, diverging=at(1, 1))
    bench.receive(answer)

    (halt,) = bench.taken(Halt)
    assert isinstance(halt, Halt)
    assert "committed here" in halt.reason
    bench.receive(bench.heartbeat(B, 9))
    bench.wait_until_due()
    assert bench.take() == []


def test_it_says_resign_and_nobody_is_sticky_any_more() -> None:
    bench = Bench()
    bench.receive(bench.heartbeat(B, 1))
    bench.write_all()
    bench.take()
    bench.receive(ask(bench, C, 2))
    (refused,) = bench.sent()
    assert isinstance(refused, VoteResponse)
    assert refused.reason is Refusal.STICKY

    bench.receive(msgspec.structs.replace(bench.heartbeat(B, 1), resign=True))
    bench.receive(ask(bench, C, 2))
    bench.write_all()
    (granted,) = [message for message in bench.sent() if isinstance(message, VoteResponse)]
    assert granted.granted


def test_told_to_take_over_it_stands_at_once_and_says_who_sent_it() -> None:
    bench = Bench()
    bench.receive(bench.heartbeat(B, 3))
    bench.write_all()
    bench.take()
    bench.receive(msgspec.structs.replace(bench.heartbeat(B, 3), transfer_now=True))
    bench.write_all()

    requests = [message for message in bench.sent() if isinstance(message, VoteRequest)]
    assert [(r.pre_vote, r.envelope.epoch, r.transfer_from_epoch) for r in requests] == [(False, 4, 3)] * 2


# --- starting, checkpoints ---


def test_a_floor_that_a_crash_left_behind_is_raised_first() -> None:
    bench = Bench(journal(1, 1), floor=at(1, 1))

    (write,) = bench.taken(Persist)
    assert isinstance(write, Persist)
    assert write.write == RaiseFloor(at(1, 2))
    assert bench.node.durable_txid == 0


def test_an_unreadable_floor_is_not_made_readable_by_an_append() -> None:
    bench = Bench(journal(1), floor=None)
    bench.receive(bench.heartbeat(B, 1))
    (request,) = [message for message in bench.sent() if isinstance(message, SyncRequest)]
    answer = SyncResponse(bench.envelope(B, 1), SyncError.NONE, B, "", request.fetch_seq)
    bench.receive(msgspec.structs.replace(answer, records=journal(1, 1)[1:]))

    (write,) = bench.taken(Persist)
    assert isinstance(write, Persist)
    assert isinstance(write.write, AppendRecords)
    assert write.write.floor is None
    assert bench.node.is_recovering


def offer(txid: int, epoch: int = 1) -> CheckpointOffer:
    return CheckpointOffer(at(epoch, txid), journal(*[epoch] * txid)[-1].chain, 1, Txid(0), voters(A, B, C))


def test_an_offered_checkpoint_is_fetched_then_installed() -> None:
    bench = Bench()
    bench.receive(bench.heartbeat(B, 1))
    bench.write_all()
    (request,) = [message for message in bench.sent() if isinstance(message, SyncRequest)]
    answer = SyncResponse(bench.envelope(B, 1), SyncError.NONE, B, "", request.fetch_seq)
    bench.receive(msgspec.structs.replace(answer, checkpoint=offer(5)))
    assert bench.taken(FetchCheckpoint) == [FetchCheckpoint(B, offer(5))]

    bench.effects = bench.node.checkpoint_fetched(offer(5), bench.now())
    (write,) = [effect for effect in bench.effects if isinstance(effect, Persist)]
    assert write.write == InstallCheckpoint(offer(5), False, at(1, 5), at(1, 5))
    assert bench.node.durable_txid == 0
    bench.write_all()
    assert bench.node.durable_txid == bench.node.commit_txid == 5


def test_a_checkpoint_that_did_not_come_is_asked_for_again() -> None:
    bench = Bench()
    bench.receive(bench.heartbeat(B, 1))
    bench.write_all()
    (request,) = [message for message in bench.sent() if isinstance(message, SyncRequest)]
    answer = SyncResponse(bench.envelope(B, 1), SyncError.NONE, B, "", request.fetch_seq)
    bench.receive(msgspec.structs.replace(answer, checkpoint=offer(5)))
    bench.take()
    bench.effects = bench.node.checkpoint_failed(bench.now())

    assert [type(message) for message in bench.sent()] == [SyncRequest]


def test_only_what_is_committed_may_be_compacted() -> None:
    bench = lone()
    with pytest.raises(AssertionError, match="committed"):
        bench.node.checkpointed(offer(5))
    with pytest.raises(AssertionError, match="needs a checkpoint"):
        bench.node.compacted(Head(Epoch(1), Txid(1), bytes(32)), 1)


def test_time_does_not_go_back() -> None:
    bench = Bench()
    bench.now_ms -= 1

    with pytest.raises(AssertionError, match="went back"):
        bench.wait(0)


def test_a_heartbeat_of_an_epoch_that_is_over_is_told_so() -> None:
    bench = Bench(journal(3))
    bench.take()
    bench.receive(bench.heartbeat(B, 2))

    (answer,) = bench.sent()
    assert isinstance(answer, HeartbeatResponse)
    assert (answer.ok, answer.envelope.epoch) == (False, 3)


def test_heartbeats_go_to_every_voter() -> None:
    bench = Bench()
    bench.become_leader(C)
    bench.take()
    bench.wait_until_due()

    targets = [m.envelope.to_id for m in bench.sent() if isinstance(m, HeartbeatRequest)]
    assert targets == [B, C]
