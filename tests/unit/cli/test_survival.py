"""What clusters are said to survive is what a majority of their voters allows."""

from itertools import combinations

import pytest

from esdfs.cli.survival import planned, present, survives


@pytest.mark.parametrize(
    ("full", "witnesses", "losses"),
    [(1, 0, 0), (2, 0, 0), (2, 1, 1), (3, 0, 1), (4, 0, 1), (5, 0, 2), (1, 2, 0)],
)
def test_as_many_losses_are_survived_as_are_promised_and_not_one_more(
    full: int, witnesses: int, losses: int
) -> None:
    voters = ["full"] * full + ["witness"] * witnesses

    def go_on(lost: int) -> bool:
        """Whether a majority with somebody who serves is left, whoever is lost."""
        left = len(voters) - lost
        return left > len(voters) // 2 and all("full" in kept for kept in combinations(voters, left))

    assert survives(full, witnesses) == losses
    assert go_on(losses)
    assert not go_on(losses + 1)


def test_one_and_two_namenodes_are_not_called_available() -> None:
    assert "no failover" in planned(1, 0)
    assert "every one of them must be up" in planned(2, 0)
    assert planned(2, 1).startswith("2 NameNodes and a witness: the loss of any 1")


def test_what_is_left_now_is_said() -> None:
    assert present(3, 3, 1) == "survives the loss of 1 of 3 voters; 3 of 3 are up"
    assert present(2, 3, 0) == "survives the loss of none of 3 voters; 2 of 3 are up"
    assert present(1, 3, 0) == "1 of 3 are up: no majority, nothing can be changed; bring back 1"
