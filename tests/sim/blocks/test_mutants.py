"""Rules of the block manager whose breach is noticed; the seed is the first that does."""

import pytest

from tests.sim.blocks.mutants import MUTANTS
from tests.sim.blocks.run import simulate

KILLED_BY = {
    "deletes-on-unsure-copies": (0, "B5"),
    "counts-leaving-copies": (0, "B5"),
    "ignores-brake": (1, "B8"),
    "deletes-future-ids": (0, "B3"),
    "believes-late-reports": (0, "B11"),
    "sweeps-early": (0, "B6"),
    "counts-corrupt": (1, "B5"),
    "trusts-dead-nodes": (1, "B8"),
    "trusts-what-it-heard-as-a-follower": (5, "B6"),
    "forgets-priority": (7, "RepairOrder"),
}


@pytest.mark.parametrize("name", KILLED_BY)
def test_a_broken_rule_is_noticed(name: str) -> None:
    seed, invariant = KILLED_BY[name]

    assert f": {invariant}: " in simulate(seed, name).broken


def test_every_mutant_there_is_can_be_named() -> None:
    assert set(KILLED_BY) <= set(MUTANTS)
