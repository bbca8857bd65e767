"""When a replay agrees with the living namespace, and when it does not."""

from pathlib import Path

import pytest

from esdfs.cli.journal_export import from_database, write
from esdfs.cli.journal_replay import Living, Replayed, compare, of_database, of_file
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import InvalidRequest, JournalCorrupt, TooLarge
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.formatting import cluster_settings, format_namenode

FOUND = Replayed(7, 7, 1, 1, 10, "aa", "", [])


def test_equal_digests_at_one_transaction_are_equal() -> None:
    assert compare(FOUND, Living(7, "aa")) == "equal"


def test_different_digests_at_one_transaction_are_an_error() -> None:
    with pytest.raises(JournalCorrupt, match="restart that NameNode"):
        compare(FOUND, Living(7, "bb"))


def test_different_transactions_are_not_compared() -> None:
    assert compare(FOUND, Living(8, "bb")) == "not compared: it is at txid 8"


def exported(config: NameNodeConfig, file: Path, first: int | None = None) -> Path:
    with from_database(config.database_url, config.path, first, None, 1) as source:
        write(source, file, redact=False, overwrite=False, progress=None)
    return file


@pytest.fixture
def formatted(tmp_path: Path) -> NameNodeConfig:
    """Two records."""
    config = NameNodeConfig(node_id="nn-1", dir=str(tmp_path / "nn-1"))
    format_namenode(config, cluster_settings(OsRng()), clock=OsClock(), rng=OsRng())
    return config


@pytest.mark.parametrize(("to", "last"), [(None, 2), (1, 1), (2, 2), (99, 2)])
def test_a_file_and_the_database_it_came_from_lead_to_the_same(
    formatted: NameNodeConfig, tmp_path: Path, to: int | None, last: int
) -> None:
    read: list[int] = []
    file = exported(formatted, tmp_path / "journal.esdfsj")
    by_file = of_file(file, to, progress=read.append)
    by_database = of_database(formatted.database_url, to, formatted.path)
    assert (by_file.txid, by_file.records) == (by_database.txid, by_database.records) == (last, last)
    assert by_file.digest == by_database.digest
    assert sum(read) <= file.stat().st_size
    assert to is not None or sum(read) == file.stat().st_size


def test_a_file_that_cannot_be_replayed_says_why(formatted: NameNodeConfig, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="Export without --from"):
        of_file(exported(formatted, tmp_path / "late.esdfsj", 2), None)
    with pytest.raises(InvalidRequest, match="No such file"):
        of_file(tmp_path / "none", None)
    (tmp_path / "else").write_bytes(b"something else altogether")
    with pytest.raises(JournalCorrupt, match="not an exported journal"):
        of_file(tmp_path / "else", None)
