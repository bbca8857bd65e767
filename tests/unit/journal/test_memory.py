import pytest

from esdfs.errors import JournalUnavailable
from esdfs.ids import Epoch, Txid
from esdfs.journal.entry import Vote
from esdfs.journal.memory import MemoryJournal
from tests.journals import OURS, entries


def test_a_crash_loses_nothing_and_kills_the_process() -> None:
    journal = MemoryJournal()
    line = entries(3)
    journal.format(OURS, line)
    journal.remember_vote(Vote(Epoch(2), "nn-1", "storage-1"))

    survivor = journal.crash()
    assert survivor.identity() == OURS
    assert survivor.read(Txid(0), limit=9) == line
    assert survivor.vote().epoch == 2
    with pytest.raises(JournalUnavailable):
        journal.append(entries(1))
