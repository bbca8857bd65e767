import struct
from hashlib import sha256

import msgspec
import pytest

from esdfs.checksum import crc32c
from esdfs.errors import JournalCorrupt
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import canonical, continues, seal, verify_rows
from esdfs.journal.entry import NO_CHAIN, Draft, Entry, Head
from tests.journals import EMPTY, draft, drafts, end, entries


def test_the_canonical_form_is_what_the_table_in_its_module_says() -> None:
    form = canonical(1, 2, 3, 4, 5, b"\xaa\xbb", 6, "é", "p", b"\xcc\xdd\xee")

    assert form.hex(" ") == (
        "00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 03 "
        "00 00 00 04 00 00 00 05 00 00 00 00 00 00 00 06 "
        "00 02 00 02 00 01 00 00 00 03 "
        "aa bb c3 a9 70 cc dd ee"
    )


def test_moving_a_byte_from_one_string_to_the_next_changes_the_form() -> None:
    assert canonical(1, 1, 1, 1, 1, b"ab", 1, "c", "d", b"e") != canonical(
        1, 1, 1, 1, 1, b"a", 1, "bc", "d", b"e"
    )


@pytest.mark.parametrize(
    "numbers", [(2**63, 1, 1, 1, 1), (1, 2**63, 1, 1, 1), (1, 1, 1, 2**32, 1), (1, 1, 1, 1, -1)]
)
def test_a_number_that_does_not_fit_is_refused(numbers: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(struct.error):
        canonical(*numbers, b"", 0, "", "", b"")


def test_sealing_gives_dense_places_sums_and_links() -> None:
    head = Head(Epoch(3), Txid(41), b"\x07" * 32)
    first, second = seal(head, Epoch(4), drafts(2))

    assert [(entry.txid, entry.epoch) for entry in (first, second)] == [(42, 4), (43, 4)]
    body = canonical(*msgspec.structs.astuple(first)[:10])
    assert first.crc32c == crc32c(body)
    assert first.chain == sha256(head.chain + body + first.crc32c.to_bytes(4, "big")).digest()
    assert continues(first.chain, second)
    assert not continues(head.chain, second)


def test_sealing_keeps_all_that_the_draft_says() -> None:
    wanted = draft(9)
    (entry,) = seal(EMPTY, Epoch(1), [wanted])
    kept = msgspec.structs.asdict(entry)
    assert {name: kept[name] for name in Draft.__struct_fields__} == msgspec.structs.asdict(wanted)


def test_sealing_in_one_batch_or_many_gives_the_same_records() -> None:
    whole = entries(5)
    first = seal(EMPTY, Epoch(1), drafts(2))
    assert first + seal(end(first), Epoch(1), drafts(3, first=3)) == whole


def test_a_clock_that_jumped_back_does_not_take_the_journal_along() -> None:
    times = [5, 3, 9, 8]
    sealed = seal(EMPTY, Epoch(1), [draft(n, ts_us=at) for n, at in enumerate(times)], not_before_us=4)
    assert [entry.ts_us for entry in sealed] == [5, 5, 9, 9]
    (late,) = seal(EMPTY, Epoch(1), [draft(1, ts_us=3)], not_before_us=4)
    assert late.ts_us == 4


def test_an_older_epoch_may_not_write() -> None:
    with pytest.raises(AssertionError):
        seal(Head(Epoch(5), Txid(1), NO_CHAIN), Epoch(4), drafts(1))


def rows(line: list[Entry]) -> list[tuple[object, ...]]:
    return [msgspec.structs.astuple(entry) for entry in line]


def test_sealed_rows_verify_to_their_last_chain_value() -> None:
    line = entries(4)
    assert verify_rows(NO_CHAIN, Txid(0), rows(line)) == line[-1].chain
    assert verify_rows(line[1].chain, Txid(2), rows(line[2:])) == line[-1].chain
    assert verify_rows(b"anything", Txid(9), []) == b"anything"


COLUMNS = Entry.__struct_fields__


@pytest.mark.parametrize(
    ("column", "value", "damage"),
    [
        ("txid", 4, "gap"),
        ("txid", None, "gap"),
        ("epoch", 2, "crc"),
        ("ts_us", 0, "crc"),
        ("kind", -1, "malformed"),
        ("version", "1", "malformed"),
        ("client_id", b"", "crc"),
        ("client_id", None, "malformed"),
        ("seq", 2**63, "malformed"),
        ("principal", "zoe", "crc"),
        ("principal", b"zoe", "malformed"),
        ("principal", "\udcff", "malformed"),
        ("peer", None, "malformed"),
        ("payload", b"", "crc"),
        ("payload", "payload 3", "malformed"),
        ("crc32c", 0, "crc"),
        ("chain", bytes(32), "chain"),
    ],
)
def test_a_wrong_column_is_found_and_named(column: str, value: object, damage: str) -> None:
    bad = rows(entries(5))
    at = COLUMNS.index(column)
    bad[2] = (*bad[2][:at], value, *bad[2][at + 1 :])

    with pytest.raises(JournalCorrupt) as found:
        verify_rows(NO_CHAIN, Txid(0), bad)
    assert found.value.details == {"txid": 3, "damage": damage}


def test_a_missing_row_is_named_by_the_txid_that_is_missing() -> None:
    bad = rows(entries(5))
    del bad[1]
    with pytest.raises(JournalCorrupt) as found:
        verify_rows(NO_CHAIN, Txid(0), bad)
    assert found.value.details == {"txid": 2, "damage": "gap"}


def test_a_row_resealed_by_a_forger_still_breaks_the_chain_after_it() -> None:
    line = entries(4)
    (forged,) = seal(end(line[:1]), Epoch(1), [draft(666)])
    with pytest.raises(JournalCorrupt) as found:
        verify_rows(NO_CHAIN, Txid(0), rows([line[0], forged, *line[2:]]))
    assert found.value.details == {"txid": 3, "damage": "chain"}
