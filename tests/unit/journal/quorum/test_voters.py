import pytest

from esdfs.ids import Txid
from esdfs.journal.quorum.voters import Voter, VoterHistory, VoterKind, VoterSet
from tests.unit.journal.quorum.nodes import A, B, C, voters


@pytest.mark.parametrize(("size", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_majority(size: int, majority: int) -> None:
    ids = [type(A)(f"n{number}") for number in range(size)]

    assert voters(*ids).majority == majority


def test_order_is_by_name_whatever_was_given() -> None:
    assert voters(C, A, B).ids == (A, B, C)
    assert voters(C, A, B) == voters(A, B, C)


def test_a_node_with_another_disk_is_no_voter() -> None:
    assert voters(A).has(A, "a.0")
    assert not voters(A).has(A, "a.1")


def test_one_step_is_one_added_or_one_removed() -> None:
    assert voters(A, B).is_one_step_to(voters(A, B, C))
    assert voters(A, B).is_one_step_to(voters(A))
    assert not voters(A, B).is_one_step_to(voters(A, B))
    assert not voters(A, B).is_one_step_to(voters(A, C))
    assert not voters(A).is_one_step_to(voters())


def test_another_disk_or_kind_is_a_removal_and_an_addition() -> None:
    replaced = VoterSet([Voter(A, "a.1"), Voter(B, "b.0")])
    witness = VoterSet([Voter(A, "a.0", VoterKind.WITNESS), Voter(B, "b.0")])

    assert not voters(A, B).is_one_step_to(replaced)
    assert not voters(A, B).is_one_step_to(witness)


def test_a_cut_brings_back_the_set_before() -> None:
    history = VoterHistory([(Txid(0), voters(A))])
    history.append(Txid(5), voters(A, B))
    history.append(Txid(9), voters(A, B, C))
    history.truncate(Txid(8))

    assert history.newest == voters(A, B)
    assert history.at(Txid(4)) == voters(A)


def test_every_set_that_may_be_in_force_is_known() -> None:
    history = VoterHistory([(Txid(0), voters(A))])
    history.append(Txid(5), voters(A, B))
    history.append(Txid(9), voters(B))

    assert history.since_committed(Txid(0)) == [voters(A), voters(A, B), voters(B)]
    assert history.since_committed(Txid(6)) == [voters(A, B), voters(B)]
    history.compact(Txid(6))
    assert history.at(Txid(1)) == voters(A, B)


def test_a_checkpoint_replaces_what_it_covers() -> None:
    history = VoterHistory([(Txid(0), voters(A))])
    history.append(Txid(9), voters(A, C))
    history.reset(Txid(5), voters(A, B), keep_after=True)
    assert history.newest == voters(A, C)

    history.reset(Txid(7), voters(B), keep_after=False)
    assert history.newest == voters(B)
    assert history.newest_txid == 7
