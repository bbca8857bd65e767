from collections.abc import Iterator
from itertools import combinations, product

import pytest

from esdfs.ids import ORIGIN, Epoch, Position, Txid
from esdfs.journal.quorum.epochs import BehindCheckpoint, Diverges, EpochHistory, Matches, commit_txid
from tests.unit.journal.quorum.nodes import at


def history(*epochs: int) -> EpochHistory:
    """Of a journal whose records have these epochs."""
    built = EpochHistory(ORIGIN)
    for txid, epoch in enumerate(epochs, start=1):
        built.append(at(epoch, txid))
    return built


def elections(rounds: int) -> Iterator[list[list[int]]]:
    """All journals that ``rounds`` epochs can leave, as the epoch of each record; the leader's last."""
    if not rounds:
        yield [[]]
        return
    for journals in elections(rounds - 1):
        for parent in journals:
            for kept, count in product(range(len(parent) + 1), (1, 2)):
                yield [*journals, [*parent[:kept], *[rounds] * count]]


def test_every_follower_ends_on_the_longest_common_prefix() -> None:
    pairs = 0
    for journals in elections(4):
        leader = journals[-1]
        for follower in (whole[:kept] for whole in journals for kept in range(len(whole) + 1)):
            pairs += 1
            assert reconciled(leader, follower) == common(leader, follower)
    assert pairs > 5000


def common(one: list[int], two: list[int]) -> list[int]:
    length = 0
    while length < min(len(one), len(two)) and one[length] == two[length]:
        length += 1
    return one[:length]


def reconciled(leader: list[int], follower: list[int]) -> list[int]:
    """What is left of ``follower`` when the leader has no more to cut."""
    left = list(follower)
    while True:
        answer = history(*leader).reconcile(at(left[-1], len(left)) if left else ORIGIN)
        if isinstance(answer, Matches):
            return left
        assert isinstance(answer, Diverges)
        keep = history(*left).cut_for(answer.end)
        assert keep < len(left), "it would never end"
        left = left[:keep]


def test_end_of_an_epoch_nobody_wrote_in_is_the_one_before() -> None:
    assert history(1, 1, 3).end_of(Epoch(2)) == at(1, 2)
    assert history(1, 1, 3).end_of(Epoch(9)) == at(3, 3)
    assert history(2).end_of(Epoch(1)) == ORIGIN


def test_it_knows_who_wrote_each_record() -> None:
    journal = history(1, 1, 3, 3, 4)

    assert [journal.epoch_at(Txid(txid)) for txid in range(7)] == [0, 1, 1, 3, 3, 4, None]


def test_cut_and_grown_again_it_is_as_if_never_cut() -> None:
    for kept in range(6):
        journal = history(1, 1, 2, 2, 5)
        journal.truncate(Txid(kept))
        for txid in range(kept + 1, 7):
            journal.append(at(6, txid))
        straight = history(*(1, 1, 2, 2, 5)[:kept], *[6] * (6 - kept))
        assert [journal.epoch_at(Txid(t)) for t in range(7)] == [straight.epoch_at(Txid(t)) for t in range(7)]


def test_compacted_it_still_answers_for_what_is_left() -> None:
    journal = history(1, 1, 2, 2, 5)
    journal.compact(at(2, 3))

    assert journal.base == at(2, 3)
    assert journal.reconcile(at(2, 4)) == Matches()
    assert journal.reconcile(at(2, 3)) == Matches()
    assert journal.reconcile(at(1, 2)) == BehindCheckpoint()
    assert journal.reconcile(at(1, 9)) == BehindCheckpoint()
    assert journal.reconcile(at(3, 3)) == BehindCheckpoint()
    assert journal.reconcile(at(3, 7)) == Diverges(at(2, 4))


@pytest.mark.parametrize(
    ("held", "began_after", "committed", "expected"),
    [
        pytest.param([5], 0, 0, 5, id="one voter"),
        pytest.param([5, 3], 0, 0, 3, id="two need both"),
        pytest.param([9, 5, 3], 0, 0, 5, id="three need two"),
        pytest.param([9, 8, 5, 3], 0, 0, 5, id="four need three"),
        pytest.param([9, 5, 3], 5, 2, 2, id="only with a record of this epoch"),
        pytest.param([9, 6, 3], 5, 2, 6, id="which commits all before it"),
        pytest.param([9, 1, 1], 0, 4, 4, id="never back"),
    ],
)
def test_what_a_majority_holds_is_committed(
    held: list[int], began_after: int, committed: int, expected: int
) -> None:
    got = commit_txid(map(Txid, held), epoch_began_after=Txid(began_after), committed=Txid(committed))

    assert got == expected


def test_commit_is_the_highest_txid_some_majority_holds() -> None:
    for size in range(1, 6):
        for held in product(range(4), repeat=size):
            brute = max(min(majority) for majority in combinations(held, size // 2 + 1))
            got = commit_txid(map(Txid, held), epoch_began_after=Txid(-1), committed=Txid(0))
            assert got == brute


def test_a_record_that_does_not_follow_is_a_broken_invariant() -> None:
    for wrong in (Position(Epoch(1), Txid(3)), at(2, 2)):
        with pytest.raises(AssertionError, match="does not follow"):
            history(1, 2).append(wrong)
