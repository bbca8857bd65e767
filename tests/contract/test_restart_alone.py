"""Another generation of a cluster begins in one transaction, or not at all."""

from contextlib import closing
from pathlib import Path

import pytest

from esdfs.errors import JournalFenced
from esdfs.ids import Epoch, Txid
from esdfs.journal.entry import Vote
from esdfs.journal.migrate import upgrade
from esdfs.journal.sql import open_journal
from tests.journals import OURS, end, entries, in_sqlite

VOTE = Vote(Epoch(9), OURS.node_id, OURS.storage_id)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_generation_vote_and_record_are_there_together(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgres" else in_sqlite(tmp_path)
    upgrade(url)
    before = entries(3)
    (first,) = entries(1, after=end(before), epoch=9)
    with closing(open_journal(url)) as journal:
        journal.format(OURS, before)
        journal.restart_alone(5, VOTE, [first])
        assert journal.head() == end([first])

    with closing(open_journal(url)) as journal:
        identity = journal.identity()
        assert identity is not None
        assert identity.cluster_generation == 5
        assert (identity.node_id, identity.storage_id) == (OURS.node_id, OURS.storage_id)
        assert journal.vote() == VOTE
        assert journal.read(Txid(0), limit=10) == [*before, first]
        (second,) = entries(1, after=end([first]), epoch=9)
        journal.append([second])


def test_a_record_that_does_not_follow_changes_nothing(tmp_path: Path) -> None:
    before = entries(3)
    (stray,) = entries(1, after=end(before[:2]), epoch=9)
    with closing(open_journal(in_sqlite(tmp_path))) as journal:
        journal.format(OURS, before)
        vote = journal.vote()
        with pytest.raises(JournalFenced):
            journal.restart_alone(5, VOTE, [stray])
        assert (journal.identity(), journal.vote(), journal.head()) == (OURS, vote, end(before))
