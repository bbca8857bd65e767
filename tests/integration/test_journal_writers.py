"""More than one process at a journal, and databases that go away, on real ones."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from esdfs.env_os import OsClock, OsRng
from esdfs.errors import JournalFenced, JournalUnavailable
from esdfs.ids import Epoch, NodeId, Position, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Entry
from esdfs.journal.floor import FILE, AckFloor
from esdfs.journal.migrate import upgrade
from esdfs.journal.quorum.voters import Voter, VoterSet
from esdfs.journal.sql import SqlJournal, open_journal, open_reader
from esdfs.journal.verify import verify
from tests.journals import EMPTY, OURS, draft, end, entries, in_sqlite
from tests.lone import LoneVoter
from tests.sim.machine import COMMAND, CONTROL

DEADLINE_S = 60


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return in_sqlite(tmp_path)
    found: str = request.getfixturevalue("postgres_url")
    upgrade(found)
    return found


@pytest.fixture
def postgres_journal(postgres_url: str) -> Iterator[SqlJournal]:
    upgrade(postgres_url)
    journal = open_journal(postgres_url)
    yield journal
    journal.close()


def append_until_fenced(url: str, name: str, start: Barrier, told: "Queue[tuple[str, int, str]]") -> None:
    """A leader that never learns of another: appends 150 batches, each acknowledged before the next."""
    journal = open_journal(url)
    head = journal.head()
    acknowledged = 0
    start.wait(DEADLINE_S)
    try:
        for _ in range(150):
            last = Draft(ts_us=1, kind=1, version=1, payload=name.encode())
            batch = seal(head, Epoch(1), [last, last])
            journal.append(batch)
            head = end(batch)
            acknowledged += len(batch)
    except JournalFenced:
        told.put((name, acknowledged, "fenced"))
    else:
        told.put((name, acknowledged, "finished"))
    journal.close()


def test_of_two_writers_one_finishes_and_the_other_is_fenced(url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    start, told = spawn.Barrier(2), spawn.Queue()
    writers = [
        spawn.Process(target=append_until_fenced, args=(url, name, start, told)) for name in ("a", "b")
    ]
    for writer in writers:
        writer.start()
    results = {told.get(timeout=DEADLINE_S) for _ in writers}
    for writer in writers:
        writer.join(DEADLINE_S)

    reader = open_reader(url)
    written = [entry.payload.decode() for entry in reader.read(Txid(0), limit=1000)]
    verify(reader)
    reader.close()
    assert sorted(outcome for _, _, outcome in results) == ["fenced", "finished"]
    assert {(name, written.count(name)) for name, _, _ in results} == {(n, count) for n, count, _ in results}


def test_a_restarted_node_fences_the_process_it_replaces(url: str, tmp_path: Path) -> None:
    members = ((Txid(1), VoterSet([Voter(NodeId(OURS.node_id), OURS.storage_id)])),)

    def lead(journal: SqlJournal) -> LoneVoter:
        floor = AckFloor(tmp_path / FILE, OURS)
        floor.write(Position(Epoch(0), Txid(1)))
        return LoneVoter(journal, floor, members, CONTROL, OsClock(), OsRng())

    record = Draft(ts_us=1, kind=COMMAND, version=1, payload=b"x")
    old = open_journal(url)
    old.format(OURS, entries(1, epoch=0))
    replaced = lead(old)
    replaced.commit(replaced.propose([record] * 3))
    new = open_journal(url)
    successor = lead(new)
    successor.commit(successor.propose([record]))

    with pytest.raises(JournalFenced):
        replaced.commit(replaced.propose([record]))
    assert successor.epoch > replaced.epoch
    assert verify(new).last_txid == 7  # each began its epoch with a record
    old.close()
    new.close()


def test_a_writer_whose_history_was_cut_and_replaced_is_fenced_at_the_same_length(url: str) -> None:
    line = entries(4)
    old = open_journal(url)
    old.append(line[:3])
    new = open_journal(url)
    new.truncate(Txid(2))
    other = entries(1, after=end(line[:2]), epoch=2)
    new.append(other)

    with pytest.raises(JournalFenced):
        old.append(line[3:])
    assert old.read(Txid(0), limit=9) == line[:2] + other
    old.close()
    new.close()


def test_a_reader_sees_every_append_at_once_and_can_never_write(url: str) -> None:
    journal, reader = open_journal(url), open_reader(url)
    head = EMPTY
    for _ in range(5):
        batch = entries(2, after=head)
        journal.append(batch)
        head = end(batch)
        assert reader.head() == head
    with reader._engine.connect() as connection, pytest.raises(Exception, match=r"read.?only"):
        connection.execute(text("DELETE FROM journal"))
    reader.close()
    journal.close()


def test_a_long_scan_does_not_hold_up_the_writer(url: str) -> None:
    journal, reader = open_journal(url), open_reader(url)
    line = entries(50)
    journal.append(line)
    scan = reader.scan(Txid(0), until=Txid(1000), page=10)
    seen = list(next(scan))

    head = end(line)
    for _ in range(20):
        batch = seal(head, Epoch(1), [draft(head.last_txid + 1, payload=bytes(1 << 20))])
        journal.append(batch)
        head = end(batch)
    seen += [row for rows in scan for row in rows]
    assert [row[0] for row in seen] == list(range(1, 51))
    reader.close()
    journal.close()


def test_sqlites_log_is_folded_back_while_it_runs(tmp_path: Path) -> None:
    journal = open_journal(in_sqlite(tmp_path))
    head, payload = EMPTY, bytes(1 << 20)
    for _ in range(60):
        batch = seal(head, Epoch(1), [draft(head.last_txid + 1, payload=payload)])
        journal.append(batch)
        head = end(batch)
    log_bytes = (tmp_path / "journal.db-wal").stat().st_size
    journal.close()
    assert log_bytes < 24 << 20, "60 MiB went through it"


def test_every_commit_is_synced(url: str) -> None:
    journal = open_journal(url)
    with journal._writing.connect() as connection:
        if connection.dialect.name == "sqlite":
            settings = [connection.scalar(text(f"PRAGMA {name}")) for name in ("synchronous", "journal_mode")]
            assert settings == [2, "wal"]
        else:
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"
    journal.close()


# --- PostgreSQL: answers that never come ----------------------------------------------------------


def lost(_entries: Sequence[Entry]) -> bool:
    raise OperationalError("append", {}, psycopg.OperationalError("server closed the connection"))


def replace_first_try(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch, first: Callable[[Sequence[Entry]], bool]
) -> None:
    tries: Iterator[Callable[[Sequence[Entry]], bool]] = iter([first, journal._try_append])

    def next_try(batch: Sequence[Entry]) -> bool:
        return next(tries)(batch)

    monkeypatch.setattr(journal, "_try_append", next_try)


def test_an_append_whose_answer_was_lost_is_found_to_have_happened(
    postgres_journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = entries(5)
    really = postgres_journal._try_append

    def apply_and_lose(batch: Sequence[Entry]) -> bool:
        really(batch)
        return lost(batch)

    replace_first_try(postgres_journal, monkeypatch, apply_and_lose)
    postgres_journal.append(line[:3])
    postgres_journal.append(line[3:])
    assert postgres_journal.read(Txid(0), limit=9) == line


def test_an_append_that_never_arrived_is_sent_again(
    postgres_journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = entries(3)
    replace_first_try(postgres_journal, monkeypatch, lost)
    postgres_journal.append(line)
    assert postgres_journal.read(Txid(0), limit=9) == line


def test_an_append_that_lost_to_another_writer_meanwhile_is_fenced(
    postgres_journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = entries(1, epoch=9)

    def another_writes(batch: Sequence[Entry]) -> bool:
        other = open_journal(postgres_journal.url)
        other.append(theirs)
        other.close()
        return lost(batch)

    replace_first_try(postgres_journal, monkeypatch, another_writes)
    with pytest.raises(JournalFenced):
        postgres_journal.append(entries(3))
    assert postgres_journal.read(Txid(0), limit=9) == theirs


def test_a_killed_session_costs_no_append(postgres_journal: SqlJournal, postgres_server: Any) -> None:
    line = entries(4)
    postgres_journal.append(line[:2])
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'esdfs' AND datname = %s",
            [postgres_journal._url.database],
        )
    postgres_journal.append(line[2:])
    assert open_and_read(postgres_journal.url) == line


def open_and_read(url: str) -> list[Entry]:
    reader = open_reader(url)
    found = reader.read(Txid(0), limit=1000)
    reader.close()
    return found


def test_a_database_that_is_gone_is_reported_not_waited_for(
    postgres_journal: SqlJournal, postgres_server: Any
) -> None:
    line = entries(2)
    postgres_journal.append(line[:1])
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {postgres_journal._url.database} WITH (FORCE)".encode())

    with pytest.raises(JournalUnavailable):
        postgres_journal.append(line[1:])


def test_a_writer_that_freezes_in_a_transaction_is_cut_off(postgres_journal: SqlJournal) -> None:
    with postgres_journal._writing.connect() as connection:
        asked = {
            name: connection.scalar(text(f"SHOW {name}"))
            for name in ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
        }
    assert asked == {
        "idle_in_transaction_session_timeout": "2s",
        "lock_timeout": "5s",
        "statement_timeout": "10s",
    }


def test_a_reader_outlives_its_sessions(postgres_journal: SqlJournal, postgres_server: Any) -> None:
    line = entries(2)
    postgres_journal.append(line)
    assert postgres_journal.head() == end(line)
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'esdfs' AND datname = %s",
            [postgres_journal._url.database],
        )
    assert postgres_journal.head() == end(line)
