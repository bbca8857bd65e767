"""What a quorum node finds on a real disk at its start."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from esdfs.errors import JournalCorrupt, JournalUnavailable
from esdfs.ids import Epoch, Micros, NodeId, Position, Txid
from esdfs.journal.chain import seal
from esdfs.journal.engines import sqlite_url
from esdfs.journal.entry import Draft, Entry, Head, Vote
from esdfs.journal.floor import FILE, AckFloor
from esdfs.journal.quorum.effects import AppendRecords
from esdfs.journal.quorum.inputs import Stored
from esdfs.journal.quorum.voters import Voter, VoterSet
from esdfs.journal.quorum_disk import QuorumDisk, find_voters, load, next_incarnation
from esdfs.journal.sql import open_journal
from tests.drivers import draft, format_disk, voters
from tests.journals import OURS, end, in_sqlite
from tests.sim.machine import CONTROL, VOTERS_CHANGED
from tests.unit.namenode.world import FakeClock

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")


def found(
    directory: Path, *, recent_records: int = 100, applied: int = 0, sole: Voter | None = None
) -> Stored:
    journal = open_journal(sqlite_url(directory / "journal.db"))
    identity = journal.identity() or OURS
    floor = AckFloor(directory / FILE, identity)
    try:
        return load(
            journal,
            floor,
            voters=find_voters(journal, control=CONTROL, voters_kind=VOTERS_CHANGED, sole=sole),
            incarnation=1,
            applied_txid=Txid(applied),
            recent_records=recent_records,
        )
    finally:
        floor.close()
        journal.close()


def extend(directory: Path, *epochs: int, last: Draft | None = None) -> list[Entry]:
    """Append a record of each epoch, the last one with ``last`` in it."""
    journal = open_journal(sqlite_url(directory / "journal.db"))
    entries = journal.read(Txid(0), limit=1000)
    for number, epoch in enumerate(epochs, 1):
        content = last if last and number == len(epochs) else draft(f"{number}")
        entries += seal(end(entries), Epoch(epoch), [content])
    journal.append(entries[-len(epochs) :])
    journal.close()
    return entries


def at(epoch: int, txid: int) -> Position:
    return Position(Epoch(epoch), Txid(txid))


@pytest.mark.parametrize("recent_records", [1, 3, 100])
def test_epochs_voters_and_the_newest_records_are_found(tmp_path: Path, recent_records: int) -> None:
    directory = tmp_path / A
    format_disk(directory, A, voters(A, B))
    three = voters(A, B, C)
    entries = extend(directory, 1, 1, 1, 4, 6, 6, last=CONTROL.voters_changed(three, Micros(1)))
    stored = found(directory, recent_records=recent_records, applied=3)
    assert stored.epoch_ends == (at(0, 1), at(1, 4), at(4, 5), at(6, 7))
    assert stored.voters == ((1, voters(A, B)), (7, three))
    assert stored.recent == tuple(entries[-recent_records:])
    assert (stored.committed_txid, stored.floor) == (3, at(0, 1))
    assert stored.base == Head(Epoch(0), Txid(0), bytes(32))


def test_a_projection_that_knows_more_than_the_journal_proves_nothing_beyond_it(tmp_path: Path) -> None:
    format_disk(tmp_path / A, A, voters(A))
    assert found(tmp_path / A, applied=99).committed_txid == 0


def test_a_journal_without_an_identity_is_refused(tmp_path: Path) -> None:
    in_sqlite(tmp_path)
    with pytest.raises(JournalUnavailable, match="namenode format"):
        found(tmp_path)


def unnamed(directory: Path, *epochs: int, vote: Vote | None = None) -> None:
    """The journal of a cluster of one, of before its only voter was journaled."""
    journal = open_journal(in_sqlite(directory))
    journal.format(OURS, [])
    head = journal.head()
    for epoch in epochs:
        journal.append(seal(head, Epoch(epoch), [draft("a")]))
        head = journal.head()
    if vote:
        journal.remember_vote(vote)
    journal.close()


OURSELVES = Voter(NodeId(OURS.node_id), OURS.storage_id)


@pytest.mark.parametrize("vote", [None, Vote(Epoch(3), OURS.node_id, OURS.storage_id)])
def test_a_journal_that_names_no_voters_is_one_voters_own(tmp_path: Path, vote: Vote | None) -> None:
    unnamed(tmp_path, 0, 1, vote=vote)
    assert found(tmp_path, sole=OURSELVES).voters == ((0, VoterSet([OURSELVES])),)


@pytest.mark.parametrize(
    ("epochs", "vote"), [((), None), ((0, 1), Vote(Epoch(1), "", "")), ((0, 1), Vote(Epoch(1), "x", "x"))]
)
def test_who_only_fetched_a_journal_that_names_no_voters_is_none(
    tmp_path: Path, epochs: tuple[int, ...], vote: Vote | None
) -> None:
    unnamed(tmp_path, *epochs, vote=vote)
    with pytest.raises(JournalUnavailable, match="names no voters"):
        found(tmp_path, sole=OURSELVES)


def test_a_damaged_recent_record_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / A
    format_disk(directory, A, voters(A))
    extend(directory, 1, 1, 1)
    engine = create_engine(sqlite_url(directory / "journal.db"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE journal SET payload = x'00' WHERE txid = 3"))
    engine.dispose()
    with pytest.raises(JournalCorrupt) as raised:
        found(directory)
    assert raised.value.details["txid"] == 3


def test_every_start_has_a_higher_incarnation(tmp_path: Path) -> None:
    path = tmp_path / "incarnation"
    assert [next_incarnation(path) for _ in range(3)] == [1, 2, 3]
    path.write_text("nonsense")
    with pytest.raises(JournalUnavailable):
        next_incarnation(path)


def test_the_only_votes_floor_waits_a_second_and_never_once_another_votes(tmp_path: Path) -> None:
    directory = tmp_path / A
    format_disk(directory, A, voters(A))
    journal = open_journal(sqlite_url(directory / "journal.db"))
    identity = journal.identity()
    assert identity is not None
    floor, clock, is_sole = AckFloor(directory / FILE, identity), FakeClock(), True
    disk = QuorumDisk(journal, floor, clock=clock, is_sole=lambda: is_sole)

    def append() -> Position:
        entries = seal(journal.head(), Epoch(1), [draft("a")])
        disk.write([AppendRecords(tuple(entries), entries[-1].position)])
        return entries[-1].position

    first = append()
    assert floor.position == first
    append()
    assert floor.position == first, "put off"
    clock.sleep(1)
    assert append() == floor.position
    last = append()
    disk.settle()
    assert floor.position == last, "a node that stops"
    is_sole = False
    for _ in range(2):
        assert append() == floor.position
    floor.close()
    journal.close()
