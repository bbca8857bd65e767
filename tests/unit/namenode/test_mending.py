from pathlib import Path

import msgspec
import pytest
from sqlalchemy import create_engine, text

from esdfs.env_os import OsClock, OsRng
from esdfs.errors import JournalCorrupt
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.sql import open_journal
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.events import Kind, VoterEntry
from esdfs.namenode.formatting import cluster_settings, format_namenode
from esdfs.namenode.mending import mend
from tests.journals import drafts


def formatted(directory: Path, *voters: str, seeds: tuple[str, ...] = ()) -> NameNodeConfig:
    """nn-1 with ten records of its own after the first ones."""
    config = NameNodeConfig(node_id="nn-1", dir=str(directory / "nn-1"), seeds=seeds)
    entries = [VoterEntry(name, f"disk-of-{name}", "voter", f"{name}:1", f"http://{name}") for name in voters]
    format_namenode(config, cluster_settings(OsRng()), clock=OsClock(), rng=OsRng(), voters=entries)
    journal = open_journal(config.database_url)
    head = journal.head()
    changes = [msgspec.structs.replace(draft, kind=int(Kind.DIRECTORY_MADE)) for draft in drafts(10)]
    journal.append(seal(head, Epoch(1), changes, not_before_us=1 << 52))
    journal.close()
    return config


def damage(config: NameNodeConfig, txid: int) -> None:
    engine = create_engine(config.database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE journal SET payload = chain WHERE txid = :txid"), {"txid": txid})
    engine.dispose()


def mended(config: NameNodeConfig) -> Txid:
    journal = open_journal(config.database_url)
    try:
        mend(journal, config, None)
        return journal.head().last_txid
    finally:
        journal.close()


def test_a_sound_journal_is_left_alone(tmp_path: Path) -> None:
    config = formatted(tmp_path, "nn-1", "nn-2", "nn-3")
    assert mended(config) == 12
    assert not (config.path / "damaged").exists()


def test_what_others_have_is_cut(tmp_path: Path) -> None:
    config = formatted(tmp_path, "nn-1", "nn-2", "nn-3")
    damage(config, 7)
    assert mended(config) == 6
    assert [file.name for file in (config.path / "damaged").iterdir()] == ["journal-from-7.1.jsonl"]


def test_the_only_copy_is_not_cut(tmp_path: Path) -> None:
    config = formatted(tmp_path, "nn-1")
    damage(config, 7)
    with pytest.raises(JournalCorrupt, match=r"record 7: .*no other NameNode votes.*restore"):
        mended(config)
    assert not (config.path / "damaged").exists()


def test_a_journal_that_no_longer_says_who_votes_is_not_cut(tmp_path: Path) -> None:
    config = formatted(tmp_path, "nn-1", "nn-2", "nn-3")
    damage(config, 2)
    with pytest.raises(JournalCorrupt, match=r"record 2: .*who votes.*--join"):
        mended(config)


def test_who_joined_by_seeds_fetches_everything_again(tmp_path: Path) -> None:
    config = formatted(tmp_path, "nn-1", "nn-2", "nn-3", seeds=("nn-2=nn-2:1",))
    damage(config, 1)
    assert mended(config) == 0
