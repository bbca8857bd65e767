from esdfs.ids import Txid
from esdfs.journal.entry import Entry
from esdfs.journal.quorum.effects import AppendRecords, InstallCheckpoint, TruncateJournal
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.journal.quorum.voters import VoterSet
from esdfs.journal.recent import RecentRecords
from tests.journals import EMPTY, end, entries

ALL = entries(20)


def recent(count: int) -> RecentRecords:
    records = RecentRecords(EMPTY, [])
    records.change(AppendRecords(tuple(ALL[:count]), None))
    return records


def txids(found: list[Entry] | None) -> list[int] | None:
    return None if found is None else [entry.txid for entry in found]


def test_a_read_is_bounded_by_its_limit_and_by_what_is_committed() -> None:
    records = recent(20)
    assert txids(records.read(Txid(3), limit=4, until=Txid(20))) == [4, 5, 6, 7]
    assert txids(records.read(Txid(3), limit=9, until=Txid(5))) == [4, 5]
    assert records.read(Txid(7), limit=9, until=Txid(5)) == []


def test_what_left_memory_is_not_answered_from_it() -> None:
    records = recent(20)
    records.forget(Txid(12), keep_records=4)
    assert records.first_txid == 13
    assert records.read(Txid(11), limit=1, until=Txid(20)) is None
    assert txids(records.read(Txid(12), limit=1, until=Txid(20))) == [13]


def test_nothing_unsettled_is_forgotten_even_when_there_is_much_of_it() -> None:
    records = recent(20)
    records.forget(Txid(0), keep_records=4)
    assert records.first_txid == 1


def test_a_cut_takes_the_end_back() -> None:
    records = recent(20)
    records.forget(Txid(12), keep_records=4)
    records.change(TruncateJournal(ALL[14].position, ALL[14].position))
    assert records.head == end(ALL[:15])
    records.change(TruncateJournal(ALL[11].position, ALL[11].position))
    assert records.head == end(ALL[:12])


def test_a_checkpoint_leaves_what_follows_it_or_nothing() -> None:
    last = ALL[9]
    offer = CheckpointOffer(last.position, last.chain, last.ts_us, Txid(1), VoterSet(()))
    kept, dropped = recent(20), recent(20)
    kept.change(InstallCheckpoint(offer, True, ALL[-1].position, None))
    dropped.change(InstallCheckpoint(offer, False, last.position, None))
    assert (kept.first_txid, kept.head) == (11, end(ALL))
    assert (dropped.first_txid, dropped.head) == (11, end(ALL[:10]))
