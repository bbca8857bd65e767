"""The gate of every migration, on both databases."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from esdfs.errors import InvalidRequest, JournalUnavailable, NewerRelease
from esdfs.journal.engines import sqlite_url
from esdfs.journal.migrate import current, downgrade, drift, scripts, upgrade
from esdfs.journal.sql import open_journal, open_reader
from esdfs.journal.tables import REVISION
from tests.journals import OURS, entries

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


def test_up_check_down_and_up_again(url: str) -> None:
    upgrade(url)
    assert current(url) == REVISION
    assert drift(url) == ""

    downgrade(url, "base")
    assert current(url) == ""
    engine = create_engine(url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()

    upgrade(url)
    assert drift(url) == ""


def test_upgrading_again_keeps_the_journal(url: str) -> None:
    upgrade(url)
    journal = open_journal(url)
    journal.format(OURS, entries(3))
    journal.close()

    upgrade(url)
    reader = open_reader(url)
    assert reader.head().last_txid == 3
    assert reader.identity() == OURS
    reader.close()


def test_the_program_and_the_newest_migration_agree() -> None:
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    directory = ScriptDirectory.from_config(config)

    assert directory.get_current_head() == REVISION
    revisions = sorted(script.revision for script in directory.walk_revisions())
    assert revisions == [f"{number:04}" for number in range(1, len(revisions) + 1)]


def test_every_migration_carries_the_rules() -> None:
    rules = "Every migration keeps these rules:"
    assert rules in (scripts() / "script.py.mako").read_text()
    for script in sorted((scripts() / "versions").glob("*.py")):
        source = script.read_text()
        assert rules in source, script.name
        assert "import esdfs" not in source, script.name
        assert "from esdfs" not in source, script.name


def test_a_database_without_tables_names_the_command(url: str, tmp_path: Path) -> None:
    (tmp_path / "journal.db").touch()
    for opening in (open_journal, open_reader):
        with pytest.raises(JournalUnavailable, match="run `esdfs db upgrade"):
            opening(url)


def test_tables_of_a_newer_release_are_refused(url: str) -> None:
    upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(NewerRelease):
        open_journal(url)
    with pytest.raises(NewerRelease):
        upgrade(url)


def test_records_of_a_newer_format_are_refused(url: str) -> None:
    upgrade(url)
    journal = open_journal(url)
    journal.format(OURS, [])
    journal.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE node_meta SET format_version = 2"))
    engine.dispose()

    with pytest.raises(NewerRelease, match="format 2"):
        open_journal(url)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear NameNode, " * 100)
    for refuse in (open_journal, open_reader, upgrade, current):
        with pytest.raises(JournalUnavailable, match="not a database"):
            refuse(sqlite_url(path))
    assert path.read_text() == "Dear NameNode, " * 100


def test_two_upgrades_at_once_both_succeed(url: str) -> None:
    program = "import sys; from esdfs.journal.migrate import upgrade; sys.stdin.read(); upgrade(sys.argv[1])"
    upgrades = [
        subprocess.Popen([sys.executable, "-c", program, url], stdin=subprocess.PIPE, cwd=CHECKOUT)
        for _ in range(2)
    ]
    for running in upgrades:
        assert running.stdin is not None
        running.stdin.close()
    assert [running.wait(60) for running in upgrades] == [0, 0]
    assert drift(url) == ""


def test_an_upgrade_that_fails_half_way_changes_nothing(url: str) -> None:
    """Nobody ever sees the tables between two migrations, so two upgrades cannot meet there."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE journal_base (mine INTEGER)"))
    with pytest.raises(JournalUnavailable, match="journal_base"):
        upgrade(url)
    assert current(url) == ""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE journal_base"))
    engine.dispose()
    upgrade(url)
    assert drift(url) == ""


def test_a_missing_file_is_not_created_by_opening_it(tmp_path: Path) -> None:
    path = tmp_path / "typo.db"
    with pytest.raises(JournalUnavailable, match="run `esdfs db upgrade"):
        open_journal(f"sqlite:///{path}")
    assert not path.exists()


def test_a_journals_file_is_its_owners_alone(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path}/journal.db")
    journal = open_journal(f"sqlite:///{tmp_path}/journal.db")
    journal.append(entries(1))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    journal.close()

    assert modes == dict.fromkeys(["journal.db", "journal.db-wal", "journal.db-shm"], 0o600)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://h/d", "no url"])
def test_only_durable_databases_are_accepted(url: str) -> None:
    with pytest.raises(InvalidRequest):
        open_journal(url)


def test_a_path_with_odd_characters_is_one_file(tmp_path: Path) -> None:
    odd = tmp_path / "a b%20#1?x=2"
    odd.mkdir()
    url = sqlite_url(odd / "journal.db")
    upgrade(url)
    journal = open_journal(url)
    journal.append(entries(1))
    reader = open_reader(journal.url)
    assert reader.head().last_txid == 1
    reader.close()
    journal.close()
    assert "journal.db" in [path.name for path in odd.iterdir()]
    assert [path.name for path in tmp_path.iterdir()] == [odd.name]


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        open_journal("mysql://root:secret@host/db")
    assert "secret" not in refused.value.message


def test_an_installed_copy_brings_its_migrations(tmp_path: Path) -> None:
    """As the wheel lays it out: the scripts inside the package, nothing beside it."""
    leave_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "esdfs", tmp_path / "site" / "esdfs", ignore=leave_out)
    shutil.copytree(CHECKOUT / "migrations", tmp_path / "site" / "esdfs" / "_migrations", ignore=leave_out)
    program = (
        "from esdfs.journal.migrate import current, scripts, upgrade; url = 'sqlite:///j.db';"
        " upgrade(url); print(current(url), scripts())"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.split() == [REVISION, str(tmp_path / "site" / "esdfs" / "_migrations")]
