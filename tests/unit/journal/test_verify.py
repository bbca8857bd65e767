import msgspec
import pytest

from esdfs.errors import JournalCorrupt
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Entry, Head
from esdfs.journal.memory import MemoryJournal
from esdfs.journal.verify import verify
from tests.journals import EMPTY, TamperedJournal, draft, drafts, end, entries


def holding(line: list[Entry]) -> TamperedJournal:
    return TamperedJournal(line, end(line))


def three_reigns() -> list[Entry]:
    line = entries(2, epoch=0)
    line += entries(3, after=end(line), epoch=2)
    return line + entries(1, after=end(line), epoch=5)


def damage(journal: TamperedJournal, since: Head = EMPTY) -> tuple[object, object]:
    with pytest.raises(JournalCorrupt) as found:
        verify(journal, since=since)
    return found.value.details["txid"], found.value.details["damage"]


def test_an_empty_journal_is_whole() -> None:
    report = verify(MemoryJournal())
    assert (report.first_txid, report.last_txid, report.records, report.epochs) == (0, 0, 0, ())


def test_a_whole_journal_is_reported() -> None:
    line = three_reigns()
    seen: list[tuple[int, int]] = []
    report = verify(holding(line), progress=lambda done, total: seen.append((done, total)))

    assert (report.first_txid, report.last_txid, report.records) == (1, 6, 6)
    assert report.chain == line[-1].chain
    assert report.epochs == ((0, 1), (2, 3), (5, 6))
    assert seen[-1] == (6, 6)


def test_a_lowered_epoch_and_an_earlier_time_are_found_though_well_sealed() -> None:
    line = entries(3, epoch=4)
    old = seal(Head(Epoch(0), Txid(3), line[-1].chain), Epoch(3), drafts(1, first=4))
    assert damage(holding(line + old)) == (4, "epoch")
    early = seal(end(line), Epoch(4), [draft(4, ts_us=1)])
    assert damage(holding(line + early)) == (4, "time")


def test_the_first_of_two_damages_is_named() -> None:
    line = entries(3, epoch=4)
    line += seal(end(line), Epoch(4), [draft(4, ts_us=1)])
    line += entries(3, after=end(line), epoch=4)
    line[5] = msgspec.structs.replace(line[5], payload=b"?")
    assert damage(holding(line)) == (4, "time")


def test_a_missing_beginning_is_a_gap_unless_the_caller_knows_what_stood_there() -> None:
    line = three_reigns()
    journal = TamperedJournal(line[3:], end(line))

    assert damage(journal) == (1, "gap")
    report = verify(journal, since=end(line[:3]))
    assert (report.first_txid, report.last_txid, report.records) == (4, 6, 3)
    assert report.epochs == ((2, 4), (5, 6))
    assert damage(journal, since=msgspec.structs.replace(end(line[:3]), chain=bytes(32))) == (4, "chain")
