"""An archive segment proves itself, and gives back what left the journal."""

from io import BytesIO

import msgspec
import pytest

from esdfs.errors import JournalCorrupt
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Base, Entry
from esdfs.journal.segments import encode, read, read_header
from tests.journals import EMPTY, draft, entries

LINE = entries(3000)


def rows(line: list[Entry]) -> list[tuple[object, ...]]:
    return [msgspec.structs.astuple(entry) for entry in line]


def base(after: int) -> Base:
    if not after:
        return Base()
    last = LINE[after - 1]
    return Base(last.epoch, last.txid, last.chain, last.ts_us)


def segment(after: int, until: int) -> bytes:
    line = LINE[after:until]
    pages = [rows(line[start : start + 700]) for start in range(0, len(line), 700)]
    return b"".join(encode("cluster-1", base(after), Txid(until), pages))


def everything(data: bytes) -> list[Entry]:
    return [entry for page in read(BytesIO(data)) for entry in page]


@pytest.mark.parametrize(("after", "until"), [(0, 3000), (0, 1), (1200, 2500), (2999, 3000)])
def test_records_come_back_as_they_were(after: int, until: int) -> None:
    data = segment(after, until)
    assert everything(data) == LINE[after:until]
    header = read_header(BytesIO(data))
    assert (header.first_txid, header.last_txid) == (after + 1, until)
    assert header.before_chain == base(after).chain


def test_records_larger_than_a_group_come_back() -> None:
    large = seal(EMPTY, Epoch(1), [draft(n, payload=bytes([n]) * 3_000_000) for n in range(1, 4)])
    assert everything(b"".join(encode("cluster-1", Base(), Txid(3), [rows(large)]))) == large


def test_a_damaged_record_is_never_sealed() -> None:
    bad = rows(LINE[:10])
    bad[4] = (*bad[4][:9], b"other", *bad[4][10:])
    with pytest.raises(JournalCorrupt) as raised:
        list(encode("cluster-1", Base(), Txid(10), [bad]))
    assert raised.value.details["txid"] == 5


def test_a_missing_record_is_never_sealed_over() -> None:
    with pytest.raises(JournalCorrupt):
        list(encode("cluster-1", Base(), Txid(10), [rows(LINE[:9])]))


@pytest.mark.parametrize("part", [0.0, 0.001, 0.2, 0.5, 0.9, 0.9999])
def test_a_changed_byte_anywhere_is_noticed(part: float) -> None:
    data = bytearray(segment(100, 2000))
    data[int(part * len(data))] ^= 1
    with pytest.raises(JournalCorrupt):
        everything(bytes(data))


@pytest.mark.parametrize("kept", [0, 10, 100, 5000, -1])
def test_a_segment_cut_short_is_noticed(kept: int) -> None:
    with pytest.raises(JournalCorrupt):
        everything(segment(100, 2000)[:kept])
