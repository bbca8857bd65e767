from collections.abc import Sequence

import pytest

from esdfs.errors import JournalFenced, JournalUnavailable
from esdfs.ids import Epoch, Txid
from esdfs.journal.entry import Entry, Vote
from esdfs.journal.memory import MemoryJournal
from esdfs.journal.replication import Replication
from esdfs.journal.solo import SoloReplication
from tests.journals import OURS, draft, drafts, end, entries


def formatted() -> MemoryJournal:
    journal = MemoryJournal()
    journal.format(OURS, entries(2, epoch=0))
    return journal


class FailingJournal(MemoryJournal):
    """A disk that stores the next append and then reports an error, as a lost answer does."""

    failing = True

    def append(self, entries: Sequence[Entry]) -> None:
        super().append(entries)
        if self.identity() is not None and self.failing:
            raise JournalUnavailable("disk on fire")


def test_every_start_is_a_new_epoch_with_a_durable_vote_for_itself() -> None:
    journal = formatted()
    for start in (1, 2, 3):
        journal = journal.crash()
        replication: Replication = SoloReplication(journal)
        assert replication.epoch == start
        assert journal.vote() == Vote(Epoch(start), OURS.node_id, OURS.storage_id)
        assert replication.is_leader


def test_its_epoch_is_above_every_record_even_when_the_vote_is_not() -> None:
    journal = formatted()
    journal.append(entries(1, after=journal.head(), epoch=9))
    assert SoloReplication(journal).epoch == 10


def test_an_unformatted_journal_cannot_be_led() -> None:
    with pytest.raises(JournalUnavailable, match="namenode format"):
        SoloReplication(MemoryJournal())


def test_what_is_committed_is_in_the_journal_and_in_the_tail() -> None:
    journal = formatted()
    replication = SoloReplication(journal)
    assert replication.commit_txid == 2

    for size in (1, 3):
        batch = replication.propose(drafts(size))
        replication.commit(batch)
        assert replication.head == journal.head() == end(batch)

    assert replication.commit_txid == 6
    assert [entry.txid for entry in replication.tail(Txid(1), limit=3)] == [2, 3, 4]
    assert {entry.epoch for entry in replication.tail(Txid(2), limit=9)} == {1}


def test_proposing_writes_nothing() -> None:
    journal = formatted()
    replication = SoloReplication(journal)
    replication.propose(drafts(2))
    assert journal.head().last_txid == 2
    assert replication.commit_txid == 2


def test_only_one_batch_is_in_flight() -> None:
    replication = SoloReplication(formatted())
    batch = replication.propose(drafts(1))
    with pytest.raises(AssertionError):
        replication.propose(drafts(1))
    with pytest.raises(AssertionError):
        replication.commit([*batch, *batch])
    replication.commit(batch)
    assert replication.propose([]) == []
    replication.commit([])
    assert replication.propose(drafts(1))[0].txid == 4


def test_time_does_not_go_back_between_batches_or_reigns() -> None:
    journal = formatted()
    replication = SoloReplication(journal)
    replication.commit(replication.propose([draft(1, ts_us=10**17)]))
    assert replication.propose([draft(2, ts_us=5)])[0].ts_us == 10**17
    assert SoloReplication(journal.crash()).propose([draft(2, ts_us=5)])[0].ts_us == 10**17


def test_after_a_failed_append_it_refuses_everything() -> None:
    journal = FailingJournal()
    journal.format(OURS, entries(1, epoch=0))
    replication = SoloReplication(journal)
    batch = replication.propose(drafts(1))
    with pytest.raises(JournalUnavailable):
        replication.commit(batch)
    journal.failing = False

    assert not replication.is_leader
    assert replication.commit_txid == 1, "nobody knows, so it is not called committed"
    for again in (lambda: replication.propose(drafts(1)), lambda: replication.commit(batch)):
        with pytest.raises(JournalUnavailable, match="restart this node"):
            again()


def test_a_second_process_fences_the_first() -> None:
    journal = formatted()
    first = SoloReplication(journal)
    late = first.propose(drafts(1))
    second = SoloReplication(journal)
    second.commit(second.propose(drafts(1)))

    with pytest.raises(JournalFenced):
        first.commit(late)
    assert not first.is_leader
    assert journal.head().epoch == second.epoch


def test_it_leads_while_a_batch_is_on_its_way() -> None:
    """Whoever asks meanwhile, from another thread, must not be sent away."""
    asked: list[bool] = []
    leading: list[SoloReplication] = []

    class Watched(MemoryJournal):
        def append(self, entries: Sequence[Entry]) -> None:
            asked.extend(replication.is_leader for replication in leading)
            super().append(entries)

    journal = Watched()
    journal.format(OURS, entries(2, epoch=0))
    leading.append(SoloReplication(journal))
    leading[0].commit(leading[0].propose(drafts(1)))

    assert asked == [True]
    assert leading[0].is_leader
