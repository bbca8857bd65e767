from pathlib import Path

import pytest

from esdfs.errors import Unavailable
from esdfs.namenode.sole_vote import SoleVote, SoleVoteReader


def test_workers_know_at_once_what_the_engine_tells(tmp_path: Path) -> None:
    engine = SoleVote(tmp_path)
    worker = SoleVoteReader(tmp_path)
    assert not worker.is_sole()
    for told in (True, False, True):
        engine.tell(told)
        assert worker.is_sole() is told


def test_what_a_killed_engine_left_counts_no_more_once_another_starts(tmp_path: Path) -> None:
    killed = SoleVote(tmp_path)
    killed.tell(True)
    worker_of_killed = SoleVoteReader(tmp_path)
    assert worker_of_killed.is_sole()
    SoleVote(tmp_path)
    assert not worker_of_killed.is_sole()
    assert not SoleVoteReader(tmp_path).is_sole()


def test_an_engine_that_ends_has_no_vote(tmp_path: Path) -> None:
    engine = SoleVote(tmp_path)
    engine.tell(True)
    worker = SoleVoteReader(tmp_path)
    engine.close()
    assert not worker.is_sole()


def test_a_worker_without_an_engine_does_not_guess(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="start the NameNode"):
        SoleVoteReader(tmp_path)
