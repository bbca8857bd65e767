from pathlib import Path

import pytest

from esdfs.env_os import OsClock, OsRng
from esdfs.errors import JournalCorrupt
from esdfs.ids import Epoch, Position, Txid
from esdfs.journal.floor import FILE, AckFloor
from esdfs.journal.sql import open_journal
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.formatting import cluster_settings, format_namenode
from esdfs.namenode.member import examine
from esdfs.namenode.trusting import trust


@pytest.fixture
def lone(tmp_path: Path) -> NameNodeConfig:
    config = NameNodeConfig(node_id="nn-1", dir=str(tmp_path / "nn-1"))
    format_namenode(config, cluster_settings(OsRng()), clock=OsClock(), rng=OsRng())
    return config


def look(config: NameNodeConfig) -> None:
    journal = open_journal(config.database_url)
    identity = journal.identity()
    assert identity is not None
    try:
        disk = examine(config, journal, identity, None)
        assert disk.is_sole(identity), "formatting says who votes"
        disk.floor.close()
    finally:
        journal.close()


def test_the_only_vote_with_a_lost_floor_waits_for_an_operators_word(lone: NameNodeConfig) -> None:
    look(lone)
    (lone.path / FILE).unlink()
    for _ in range(2):
        with pytest.raises(JournalCorrupt, match=r"unreadable.*trust-journal"):
            look(lone)
    trust(lone, accept_loss=0)
    look(lone)


def test_the_only_vote_that_lost_records_says_how_many(lone: NameNodeConfig) -> None:
    journal = open_journal(lone.database_url)
    identity = journal.identity()
    journal.close()
    assert identity is not None
    floor = AckFloor(lone.path / FILE, identity)
    floor.write(Position(Epoch(0), Txid(5)))
    floor.close()
    with pytest.raises(JournalCorrupt, match="3 records are missing"):
        look(lone)
