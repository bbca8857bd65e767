"""What every journal does, whatever it is kept in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec
import pytest

from esdfs.errors import JournalFenced, JournalUnavailable
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal, verify_rows
from esdfs.journal.checkpoint import Checkpoint, Checkpoints
from esdfs.journal.entry import NO_CHAIN, Base, Entry, Head, Vote
from esdfs.journal.log import Journal
from esdfs.journal.memory import MemoryJournal
from esdfs.journal.migrate import upgrade
from esdfs.journal.sql import SqlJournal, open_journal
from tests.journals import EMPTY, NOON_US, OURS, draft, drafts, end, entries, in_sqlite

Reopen: TypeAlias = Callable[[], Journal]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Opens the same journal again and again; the one before is closed first."""
    opened: list[Journal] = []
    match request.param:
        case "memory":

            def open_again() -> Journal:
                last = opened[-1] if opened else MemoryJournal()
                assert isinstance(last, MemoryJournal)
                return last.crash()

        case "sqlite":
            url = in_sqlite(tmp_path)

            def open_again() -> Journal:
                return open_journal(url)

        case "postgres":
            url = request.getfixturevalue("postgres_url")
            upgrade(url)

            def open_again() -> Journal:
                return open_journal(url)

        case unknown:
            raise AssertionError(unknown)

    def reopen() -> Journal:
        if opened:
            opened[-1].close()
        opened.append(open_again())
        return opened[-1]

    yield reopen
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(reopen: Reopen) -> Journal:
    return reopen()


def everything(journal: Journal) -> list[Entry]:
    return journal.read(Txid(0), limit=1_000_000)


def test_a_new_journal_is_empty_and_nobodys(journal: Journal) -> None:
    assert journal.identity() is None
    assert journal.head() == EMPTY
    assert journal.oldest_txid() == 0
    assert everything(journal) == []
    assert list(journal.scan(Txid(0), until=Txid(9))) == []
    assert journal.txid_at(NOON_US) == 0
    assert journal.vote() == Vote(Epoch(0), "", "")


def test_formatting_writes_identity_and_first_records(journal: Journal, reopen: Reopen) -> None:
    first = entries(2, epoch=0)
    journal.format(OURS, first)

    for _ in range(2):
        assert journal.identity() == OURS
        assert everything(journal) == first
        assert journal.head() == end(first)
        journal = reopen()


def test_formatting_twice_is_fenced_and_changes_nothing(journal: Journal) -> None:
    first = entries(2)
    journal.format(OURS, first)

    with pytest.raises(JournalFenced):
        journal.format(OURS, entries(1, after=end(first)))
    assert everything(journal) == first
    journal.append(entries(1, after=end(first)))


def test_formatting_with_records_that_do_not_begin_is_fenced(journal: Journal) -> None:
    with pytest.raises(JournalFenced):
        journal.format(OURS, entries(3)[1:])
    assert journal.identity() is None
    assert journal.head() == EMPTY


def test_what_was_appended_is_read_back_equal(journal: Journal, reopen: Reopen) -> None:
    odd = [
        draft(1, payload=b""),
        draft(2, payload=bytes(range(256)) * 300),
        draft(3, ts_us=NOON_US + 9),
    ]
    sealed = seal(EMPTY, Epoch(7), odd)
    journal.append(sealed)

    assert everything(journal) == sealed
    assert everything(reopen()) == sealed


def test_numbers_as_large_as_sql_holds_survive(journal: Journal) -> None:
    most = draft(1, ts_us=2**63 - 1)
    sealed = seal(EMPTY, Epoch(2**63 - 1), [most])
    journal.append(sealed)

    assert everything(journal) == sealed


def test_the_head_follows_every_append(journal: Journal, reopen: Reopen) -> None:
    first = entries(3)
    journal.append(first)
    second = entries(1, after=end(first), epoch=4)
    journal.append(second)

    assert journal.head() == Head(Epoch(4), Txid(4), second[-1].chain)
    assert reopen().head() == end(second)
    assert journal is not reopen()


@pytest.mark.parametrize("start", [1, 2, 4], ids=["the beginning again", "taken", "gap"])
def test_an_append_that_does_not_follow_on_is_fenced(journal: Journal, start: int) -> None:
    line = entries(6)
    journal.append(line[:2])

    with pytest.raises(JournalFenced):
        journal.append(line[start - 1 : start + 1])
    assert everything(journal) == line[:2]
    assert journal.head() == end(line[:2])


def test_an_append_after_another_history_is_fenced(journal: Journal) -> None:
    journal.append(entries(2, epoch=1))
    other = entries(2, epoch=2)

    with pytest.raises(JournalFenced):
        journal.append(entries(1, after=end(other), epoch=2))
    assert journal.head().last_txid == 2


def test_after_a_refused_append_the_right_one_succeeds(journal: Journal) -> None:
    line = entries(4)
    journal.append(line[:2])
    with pytest.raises(JournalFenced):
        journal.append(line[3:])

    journal.append(line[2:])
    assert everything(journal) == line


def test_a_batch_with_a_gap_in_it_is_our_own_mistake(journal: Journal) -> None:
    line = entries(3)
    with pytest.raises(AssertionError):
        journal.append([line[0], line[2]])
    assert journal.head() == EMPTY


def test_appending_nothing_changes_nothing(journal: Journal) -> None:
    journal.append([])
    assert journal.head() == EMPTY


def test_reading_is_bounded_and_in_order(journal: Journal) -> None:
    line = entries(10)
    journal.append(line)

    assert journal.read(Txid(3), limit=4) == line[3:7]
    assert journal.read(Txid(10), limit=4) == []
    assert journal.read(Txid(8), limit=100) == line[8:]
    assert journal.oldest_txid() == 1


@pytest.mark.parametrize("page", [1, 3, 10, 5000])
def test_a_scan_gives_raw_rows_in_pages(journal: Journal, page: int) -> None:
    line = entries(10)
    journal.append(line)

    pages = list(journal.scan(Txid(2), until=Txid(9), page=page))
    rows = [row for rows in pages for row in rows]
    assert [Entry(*row) for row in rows] == line[2:9]
    assert max(map(len, pages)) <= page
    assert verify_rows(line[1].chain, Txid(2), rows) == line[8].chain


def test_a_scan_does_not_see_what_comes_after_it_began(journal: Journal) -> None:
    line = entries(12)
    journal.append(line[:10])
    scan = journal.scan(Txid(0), until=Txid(12), page=4)
    seen = list(next(scan))
    if not isinstance(journal, MemoryJournal):  # its scan is a copy, made with the first page
        journal.append(line[10:])

    seen += [row for rows in scan for row in rows]
    assert [Entry(*row) for row in seen] == line[:10]


def test_a_scan_that_is_given_up_frees_the_journal(journal: Journal) -> None:
    line = entries(30)
    journal.append(line[:29])
    for _ in range(20):
        scan = journal.scan(Txid(0), until=Txid(29), page=2)
        next(scan)
        del scan

    journal.append(line[29:])
    assert everything(journal) == line


def test_a_time_finds_the_last_record_at_or_before_it(journal: Journal) -> None:
    times = [10, 20, 20, 20, 30, 45]
    journal.append(seal(EMPTY, Epoch(1), [draft(n, ts_us=at) for n, at in enumerate(times)]))

    found = {at: journal.txid_at(at) for at in (0, 9, 10, 11, 19, 20, 29, 30, 44, 45, 10**15)}
    assert found == {at: sum(1 for time in times if time <= at) for at in found}


@pytest.mark.parametrize("keep", [0, 1, 4, 5, 9])
def test_truncation_drops_the_tail_and_the_rest_can_grow(journal: Journal, reopen: Reopen, keep: int) -> None:
    line = entries(5)
    journal.append(line)
    journal.truncate(Txid(keep))

    kept = line[:keep]
    assert everything(journal) == kept
    assert journal.head() == (end(kept) if kept else Head(Epoch(0), Txid(0), NO_CHAIN))
    other = entries(2, after=end(kept), epoch=8)
    journal.append(other)
    assert everything(reopen()) == kept + other


def test_a_vote_is_remembered(journal: Journal, reopen: Reopen) -> None:
    journal.remember_vote(Vote(Epoch(3), "", ""))
    journal.remember_vote(Vote(Epoch(4), "nn-2", "storage-2"))

    assert journal.vote() == Vote(Epoch(4), "nn-2", "storage-2")
    assert reopen().vote() == Vote(Epoch(4), "nn-2", "storage-2")


def test_many_batches_make_one_line(journal: Journal) -> None:
    head = EMPTY
    for size in (1, 64, 2, 500, 1):
        batch = seal(head, Epoch(1), drafts(size, first=head.last_txid + 1))
        journal.append(batch)
        head = end(batch)

    rows = [row for page in journal.scan(Txid(0), until=head.last_txid) for row in page]
    assert verify_rows(NO_CHAIN, Txid(0), rows) == head.chain
    assert journal.head() == head


def test_checkpoints_are_remembered_newest_first(journal: Journal, reopen: Reopen) -> None:
    first = Checkpoint(Txid(7), Epoch(1), b"c" * 32, NOON_US, 1 << 40, b"s" * 32, b"d" * 32, "checkpoints/7")
    second = msgspec.structs.replace(first, txid=Txid(9), path="checkpoints/9")
    again = msgspec.structs.replace(first, size_bytes=5)
    catalogue = with_checkpoints(journal)
    assert catalogue.checkpoints() == []
    for checkpoint in (first, second, again):
        catalogue.remember_checkpoint(checkpoint)
    assert catalogue.checkpoints() == [second, again]

    catalogue = with_checkpoints(reopen())
    catalogue.forget_checkpoint(Txid(9))
    catalogue.forget_checkpoint(Txid(8))
    assert catalogue.checkpoints() == [again]


def with_checkpoints(journal: Journal) -> Checkpoints:
    assert isinstance(journal, MemoryJournal | SqlJournal)
    return journal


def test_a_closed_journal_of_memory_says_so() -> None:
    journal = MemoryJournal()
    journal.close()
    with pytest.raises(JournalUnavailable):
        journal.head()


# --- where a journal begins ---


def image_at(entry: Entry) -> Checkpoint:
    return Checkpoint(entry.txid, entry.epoch, entry.chain, NOON_US, 1, b"s" * 32, b"d" * 32, "checkpoints/x")


def base_at(entry: Entry) -> Base:
    return Base(entry.epoch, entry.txid, entry.chain, entry.ts_us)


def test_a_journal_begins_with_its_first_record(journal: Journal) -> None:
    journal.append(entries(3))
    assert journal.base() == Base()


def test_compaction_drops_the_oldest_records_a_bounded_number_at_a_time(
    journal: Journal, reopen: Reopen
) -> None:
    line = entries(10)
    journal.append(line)

    assert journal.compact(Txid(7), limit=5) == base_at(line[4])
    assert journal.oldest_txid() == 6
    assert journal.compact(Txid(7), limit=5) == base_at(line[6])
    assert journal.compact(Txid(7), limit=5) == base_at(line[6])

    for _ in range(2):
        assert journal.base() == base_at(line[6])
        assert everything(journal) == line[7:]
        assert [Entry(*row) for rows in journal.scan(Txid(0), until=Txid(9)) for row in rows] == line[7:9]
        assert journal.head() == end(line)
        assert journal.txid_at(line[8].ts_us) == 9
        assert journal.txid_at(line[2].ts_us) == 0
        journal = reopen()
    journal.append(entries(2, after=end(line)))
    assert journal.head().last_txid == 12


def test_compaction_leaves_the_last_record(journal: Journal) -> None:
    line = entries(3)
    journal.append(line)

    assert journal.compact(Txid(99), limit=50) == base_at(line[1])
    assert everything(journal) == line[2:]


@pytest.mark.parametrize("held", [0, 2, 5], ids=["an empty journal", "a shorter one", "a longer one"])
def test_a_journal_begins_anew_after_a_checkpoint_it_did_not_reach(
    journal: Journal, reopen: Reopen, held: int
) -> None:
    line = entries(6, epoch=4)
    if held:
        journal.append(entries(held, epoch=2))
    journal.install(base_at(line[3]), image_at(line[3]), keep_tail=False)

    for _ in range(2):
        assert journal.base() == base_at(line[3])
        assert journal.head() == end(line[:4])
        assert (journal.oldest_txid(), everything(journal)) == (0, [])
        assert journal.checkpoints() == [image_at(line[3])]
        journal = reopen()
    with pytest.raises(JournalFenced):
        journal.append(line[5:])
    journal.append(line[4:])
    assert everything(reopen()) == line[4:]


def test_a_checkpoint_within_a_journal_keeps_the_records_after_it(journal: Journal, reopen: Reopen) -> None:
    line = entries(6)
    journal.append(line)
    journal.install(base_at(line[3]), image_at(line[3]), keep_tail=True)

    for _ in range(2):
        assert (journal.base(), journal.head()) == (base_at(line[3]), end(line))
        assert everything(journal) == line[4:]
        journal = reopen()
    journal.append(entries(1, after=end(line)))


def test_a_tail_can_be_cut_back_to_where_the_journal_begins(journal: Journal, reopen: Reopen) -> None:
    line = entries(6)
    journal.append(line)
    journal.compact(Txid(4), limit=9)
    journal.truncate(Txid(4))

    assert (journal.head(), everything(journal)) == (end(line[:4]), [])
    journal.append(line[4:])
    assert everything(reopen()) == line[4:]
