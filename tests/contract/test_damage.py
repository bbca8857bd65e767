"""Records damaged behind the journal's back are kept as they were found, and cut off."""

import json
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from esdfs.errors import JournalUnavailable
from esdfs.ids import Txid
from esdfs.journal.damage import find_damage, set_aside
from esdfs.journal.migrate import upgrade
from esdfs.journal.sql import open_journal
from tests.journals import end, entries, in_sqlite


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return in_sqlite(tmp_path)
    found: str = request.getfixturevalue("postgres_url")
    upgrade(found)
    return found


def damage(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "first", "left"),
    [
        ("UPDATE journal SET payload = chain WHERE txid = 7", 7, [7, 8, 9, 10]),
        ("UPDATE journal SET principal = 'mallory' WHERE txid = 10", 10, [10]),
        ("UPDATE journal SET kind = -5 WHERE txid = 2", 2, [2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("DELETE FROM journal WHERE txid = 4", 4, [5, 6, 7, 8, 9, 10]),
        ("DELETE FROM journal WHERE txid >= 9", 9, []),
        ("UPDATE journal_head SET last_txid = 8", 8, [8, 9, 10]),
        ("UPDATE journal_head SET last_txid = 11", 11, []),
        ("UPDATE journal_head SET epoch = 7", 10, [10]),
    ],
)
def test_what_is_damaged_is_kept_and_the_rest_is_a_journal(
    url: str, tmp_path: Path, statement: str, first: int, left: list[int]
) -> None:
    line = entries(10)
    journal = open_journal(url)
    journal.append(line)
    journal.close()
    damage(url, statement)

    journal = open_journal(url)
    found = find_damage(journal)
    assert found is not None
    assert found.details["txid"] == first
    kept = set_aside(journal, Txid(first), tmp_path / "damaged")

    assert [json.loads(row)["txid"] for row in kept.read_text().splitlines()] == left
    assert journal.head() == end(line[: first - 1])
    assert find_damage(journal) is None
    journal.append(line[first - 1 :])
    assert journal.head() == end(line)
    journal.close()


def test_a_sound_journal_has_no_damage(url: str) -> None:
    journal = open_journal(url)
    assert find_damage(journal) is None
    journal.append(entries(10))
    assert find_damage(journal) is None
    journal.close()


def test_each_time_a_copy_is_kept(url: str, tmp_path: Path) -> None:
    journal = open_journal(url)
    journal.append(entries(3))
    first = set_aside(journal, Txid(3), tmp_path / "damaged")
    journal.append(entries(3)[2:])
    second = set_aside(journal, Txid(3), tmp_path / "damaged")

    assert first != second
    assert first.read_text() == second.read_text()
    journal.close()


def test_nothing_is_cut_that_could_not_be_kept(url: str, tmp_path: Path) -> None:
    journal = open_journal(url)
    journal.append(entries(3))
    (tmp_path / "damaged").write_text("no directory")

    with pytest.raises(JournalUnavailable, match="cannot be kept"):
        set_aside(journal, Txid(2), tmp_path / "damaged")
    assert journal.head().last_txid == 3
    journal.close()
