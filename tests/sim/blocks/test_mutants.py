"""Rules of the block manager that are noticed at once when broken."""

import pytest

from tests.sim.blocks.mutants import MUTANTS
from tests.sim.blocks.run import simulate

KILLED_BY = {
    "deletes-on-unsure-copies": (0, "B5"),
    "counts-leaving-copies": (0, "B5"),
    "ignores-brake": (1, "B8"),
    "deletes-future-ids": (0, "B3"),
}


@pytest.mark.parametrize("name", KILLED_BY)
def test_a_broken_rule_is_noticed(name: str) -> None:
    seed, invariant = KILLED_BY[name]

    assert f": {invariant}: " in simulate(seed, name).broken


def test_every_mutant_there_is_can_be_named() -> None:
    assert set(KILLED_BY) <= set(MUTANTS)
