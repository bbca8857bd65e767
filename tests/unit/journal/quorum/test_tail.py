import pytest

from esdfs.ids import ORIGIN, Epoch, Txid
from esdfs.journal.entry import NO_CHAIN, Head
from esdfs.journal.quorum.tail import Tail
from tests.unit.journal.quorum.nodes import at, journal

EMPTY = Head(Epoch(0), Txid(0), NO_CHAIN)


def tail(*epochs: int, remembered: int = 100) -> Tail:
    entries = journal(*epochs)
    ends = {entry.epoch: entry.position for entry in entries}
    return Tail(EMPTY, 0, ends.values(), entries[-remembered:])


def test_an_empty_journal_ends_at_the_origin() -> None:
    assert tail().last == ORIGIN
    assert tail().head == EMPTY


def test_records_of_several_epochs_in_one_append_are_told_apart() -> None:
    entries = journal(1, 1, 2, 3, 3)
    ours = Tail(EMPTY, 0, [at(1, 1)], entries[:1])
    ours.append(entries[1:])

    assert ours.last == at(3, 5)
    assert [ours.epoch_at(Txid(txid)) for txid in range(1, 6)] == [1, 1, 2, 3, 3]
    assert ours.chain == entries[-1].chain


def test_a_cut_ends_it_where_it_ended_then() -> None:
    ours, entries = tail(1, 1, 2), journal(1, 1, 2)
    ours.truncate(Txid(2))

    assert ours.last == at(1, 2)
    assert ours.chain == entries[1].chain
    ours.truncate(Txid(0))
    assert ours.head == EMPTY


def test_it_does_not_cut_into_what_it_forgot() -> None:
    ours = tail(1, 1, 1, 1, remembered=2)

    assert ours.can_cut_to(Txid(3))
    assert not ours.can_cut_to(Txid(2))
    with pytest.raises(AssertionError, match="memory begins at 3"):
        ours.truncate(Txid(2))


def test_a_read_brings_at_least_one_record_however_large() -> None:
    ours = tail(1, 1, 1)

    assert [entry.txid for entry in ours.read(Txid(0), limit=9, max_bytes=1) or ()] == [1]
    assert [entry.txid for entry in ours.read(Txid(1), limit=9, max_bytes=10_000) or ()] == [2, 3]
    assert [entry.txid for entry in ours.read(Txid(0), limit=2, max_bytes=10_000) or ()] == [1, 2]
    assert ours.read(Txid(3), limit=9, max_bytes=1) == ()


def test_a_read_of_what_it_forgot_says_so() -> None:
    assert tail(1, 1, 1, 1, remembered=2).read(Txid(1), limit=9, max_bytes=10_000) is None


def test_it_forgets_only_what_is_settled() -> None:
    ours = tail(*[1] * 40)
    ours.forget(Txid(20), keep_records=4)

    assert ours.read(Txid(18), limit=1, max_bytes=1) is None
    assert ours.can_cut_to(Txid(20))
    assert ours.last == at(1, 40)


def test_a_checkpoint_is_a_new_beginning() -> None:
    ours = tail(1, 1)
    ours.restart(Head(Epoch(4), Txid(9), b"c" * 32), 77)

    assert ours.last == ours.base == at(4, 9)
    assert ours.chain == b"c" * 32
    assert ours.last_ts_us == 77
