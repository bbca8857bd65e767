"""When a replay agrees with the living namespace, and when it does not."""

import pytest

from esdfs.cli.journal_replay import Living, Replayed, compare
from esdfs.errors import JournalCorrupt

FOUND = Replayed(7, 7, 1, 1, 10, "aa", "", [])


def test_equal_digests_at_one_transaction_are_equal() -> None:
    assert compare(FOUND, Living(7, "aa")) == "equal"


def test_different_digests_at_one_transaction_are_an_error() -> None:
    with pytest.raises(JournalCorrupt, match="restart that NameNode"):
        compare(FOUND, Living(7, "bb"))


def test_different_transactions_are_not_compared() -> None:
    assert compare(FOUND, Living(8, "bb")) == "not compared: it is at txid 8"
