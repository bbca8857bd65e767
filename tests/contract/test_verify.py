"""Damage done to real databases, behind the journal's back, is found and named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from esdfs.errors import JournalCorrupt
from esdfs.ids import Epoch
from esdfs.journal.chain import seal
from esdfs.journal.migrate import upgrade
from esdfs.journal.sql import open_journal, open_reader
from esdfs.journal.verify import verify
from tests.journals import draft, end, entries, in_sqlite


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return in_sqlite(tmp_path)
    found: str = request.getfixturevalue("postgres_url")
    upgrade(found)
    return found


@pytest.fixture
def tamper(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


def fill(url: str, records: int) -> bytes:
    journal = open_journal(url)
    line = entries(records // 2, epoch=1)
    journal.append(line)
    journal.append(entries(records - len(line), after=end(line), epoch=2))
    chain = journal.head().chain
    journal.close()
    return chain


@pytest.mark.parametrize(
    ("statement", "txid", "damage"),
    [
        ("UPDATE journal SET payload = chain WHERE txid = 7", 7, "crc"),
        ("UPDATE journal SET principal = 'mallory' WHERE txid = 7", 7, "crc"),
        ("UPDATE journal SET seq = seq + 1 WHERE txid = 1", 1, "crc"),
        ("UPDATE journal SET crc32c = crc32c + 1 WHERE txid = 10", 10, "crc"),
        ("UPDATE journal SET kind = -5 WHERE txid = 2", 2, "malformed"),
        ("UPDATE journal SET chain = payload WHERE txid = 5", 5, "chain"),
        ("DELETE FROM journal WHERE txid = 4", 4, "gap"),
        ("DELETE FROM journal WHERE txid = 1", 1, "gap"),
        ("DELETE FROM journal WHERE txid = 10", 10, "gap"),
        ("DELETE FROM journal", 1, "gap"),
        ("UPDATE journal SET txid = 0 WHERE txid = 1", 1, "gap"),
        ("UPDATE journal SET txid = 11 WHERE txid = 10", 10, "gap"),
        ("UPDATE journal_head SET last_txid = 9", 9, "head"),
        ("UPDATE journal_head SET last_txid = 11", 11, "gap"),
        ("UPDATE journal_head SET epoch = 7", 10, "head"),
        ("UPDATE journal_head SET last_txid = 0, epoch = 0", 0, "head"),
    ],
)
def test_tampering_is_found(url: str, tamper: Engine, statement: str, txid: int, damage: str) -> None:
    fill(url, 10)
    with tamper.begin() as connection:
        connection.execute(text(statement))

    reader = open_reader(url)
    with pytest.raises(JournalCorrupt) as found:
        verify(reader)
    reader.close()
    assert found.value.details == {"txid": txid, "damage": damage}


def test_text_that_rotted_is_a_damaged_record_not_a_failed_database(tmp_path: Path) -> None:
    url = in_sqlite(tmp_path)
    fill(url, 10)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE journal SET peer = CAST(X'31FF32' AS TEXT) WHERE txid = 6"))
    engine.dispose()

    reader = open_reader(url)
    with pytest.raises(JournalCorrupt) as found:
        verify(reader)
    reader.close()
    assert found.value.details == {"txid": 6, "damage": "malformed"}


def test_a_long_journal_is_proven_by_helper_processes(
    url: str, tamper: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.journal.verify._HELPERS_FROM_RECORDS", 10_000)
    monkeypatch.setattr("esdfs.journal.verify._RANGE_RECORDS", 3_000)
    records = 20_000
    chain = fill(url, records)
    reader = open_reader(url)
    seen: list[int] = []

    report = verify(reader, progress=lambda done, _total: seen.append(done))
    assert (report.first_txid, report.last_txid, report.records, report.chain) == (1, records, records, chain)
    assert report.epochs == ((1, 1), (2, records // 2 + 1))
    assert seen == sorted(seen)
    assert seen[-1] == records
    assert verify(reader, workers=1) == report

    with tamper.begin() as connection:
        connection.execute(text("DELETE FROM journal WHERE txid IN (15000, 18000)"))
        connection.execute(text("UPDATE journal SET ts_us = 1 WHERE txid = 19000"))
    with pytest.raises(JournalCorrupt) as found:
        verify(reader)
    reader.close()
    assert found.value.details == {"txid": 15_000, "damage": "gap"}


def test_a_record_appended_meanwhile_is_no_damage(url: str) -> None:
    fill(url, 10)
    journal = open_journal(url)
    grow = lambda _done, _total: journal.append(seal(journal.head(), Epoch(2), [draft(1, ts_us=2**60)]))  # noqa: E731 - one call

    assert verify(journal, progress=grow).last_txid == 10
    assert verify(journal).last_txid == 11
    journal.close()
