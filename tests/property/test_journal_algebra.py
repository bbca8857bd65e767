"""Any appends and truncations leave what a list would hold; any damage to it is found where it begins."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from esdfs.errors import JournalCorrupt, JournalFenced
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Entry, Head
from esdfs.journal.memory import MemoryJournal
from esdfs.journal.verify import verify
from tests.journals import EMPTY, TamperedJournal, end

Line: TypeAlias = list[Entry]
Damage: TypeAlias = Callable[[Line, int, Entry], Line]
Step: TypeAlias = tuple[list[Draft], int]

DRAFTS = st.builds(
    Draft,
    ts_us=st.integers(0, 2**62),
    kind=st.integers(0, 2**31 - 1),
    version=st.integers(1, 9),
    payload=st.binary(max_size=40),
    client_id=st.one_of(st.just(b""), st.binary(min_size=16, max_size=16)),
    seq=st.integers(0, 2**62),
    principal=st.text(max_size=5),
    peer=st.text(max_size=5),
)


@given(st.lists(st.tuples(st.lists(DRAFTS, max_size=4), st.integers(0, 20)), max_size=10))
def test_a_journal_is_a_list_that_only_its_end_can_change(steps: list[Step]) -> None:
    """Each step appends, then truncates, then tries to append what was cut off, from anywhere."""
    journal, model = MemoryJournal(), Line()
    for epoch, (drafts, keep) in enumerate(steps, start=1):
        last_us = model[-1].ts_us if model else 0
        batch = seal(journal.head(), Epoch(epoch), drafts, not_before_us=last_us)
        journal.append(batch)
        model += batch

        journal.truncate(Txid(keep))
        model, cut = model[:keep], model[keep:]
        for start in range(len(cut)):
            try:
                journal.append(cut[start:])
            except JournalFenced:
                assert start > 0
            else:
                assert start == 0
                model += cut

        assert journal.read(Txid(0), limit=1000) == model
        assert journal.head() == end(model)
        assert verify(journal).records == len(model)


def drop(line: Line, at: int, _other: Entry) -> Line:
    return line[:at] + line[at + 1 :]


def swap(line: Line, at: int, _other: Entry) -> Line:
    """A record and the next change places; each place keeps its txid."""
    to = (at + 1) % len(line)
    swapped = list(line)
    swapped[at] = msgspec.structs.replace(line[to], txid=line[at].txid)
    swapped[to] = msgspec.structs.replace(line[at], txid=line[to].txid)
    return swapped


def flip(line: Line, at: int, other: Entry) -> Line:
    """One bit of one payload."""
    payload = bytearray(line[at].payload or b"\0")
    bit = other.seq % (len(payload) * 8)
    payload[bit // 8] ^= 1 << bit % 8
    return [*line[:at], msgspec.structs.replace(line[at], payload=bytes(payload)), *line[at + 1 :]]


def change(column: str) -> Damage:
    """One column becomes that of another record."""

    def changed(line: Line, at: int, other: Entry) -> Line:
        wrong = msgspec.structs.replace(line[at], **{column: getattr(other, column)})
        return [*line[:at], wrong, *line[at + 1 :]]

    return changed


DAMAGES: list[Damage] = [drop, swap, flip, *map(change, Entry.__struct_fields__)]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Line, Line]:
    """The records of a journal, before and after something happened to one of them."""
    line = seal(EMPTY, Epoch(1), draw(st.lists(DRAFTS, min_size=2, max_size=8)))
    elsewhere = Head(Epoch(1), Txid(draw(st.integers(0, 12))), bytes(32))
    (other,) = seal(elsewhere, Epoch(2), [draw(DRAFTS)])
    damage = draw(st.sampled_from(DAMAGES))
    return line, damage(line, draw(st.integers(0, len(line) - 1)), other)


@given(damaged())
def test_any_damage_is_found_at_the_first_record_that_differs(case: tuple[Line, Line]) -> None:
    whole, bad = case
    journal = TamperedJournal(bad, end(whole))
    kept = {entry.txid: entry for entry in journal.read(Txid(-1), limit=100)}
    first = next((was.txid for was in whole if kept.get(was.txid) != was), None)
    found = None
    try:
        verify(journal)
    except JournalCorrupt as error:
        found = error.details["txid"]
    assert found == first
