"""Rules of the block manager whose breach is noticed: by the first seed that does, or by a story."""

import pytest

from tests.sim.blocks.mutants import MUTANTS
from tests.sim.blocks.run import simulate
from tests.sim.blocks.stories import STORIES, tell

KILLED_BY: dict[str, tuple[int | str, str]] = {
    "deletes-on-unsure-copies": (0, "B5"),
    "counts-leaving-copies": (0, "B5"),
    "ignores-brake": (0, "B8"),
    "deletes-future-ids": (0, "B3"),
    "believes-late-reports": (0, "B11"),
    "sweeps-early": (0, "B6"),
    "counts-corrupt": (1, "B21"),
    "trusts-dead-nodes": (0, "B8"),
    "forgets-priority": (7, "RepairOrder"),
    "trusts-what-it-heard-as-a-follower": ("what-a-follower-heard", "B6"),
    "trusts-reports-of-earlier-epochs": ("a-report-from-before-the-election", "B6"),
    "obeys-deposed-leaders": ("a-deposed-leaders-order", "B6"),
    "obeys-late-orders": ("an-order-that-is-late", "B6"),
    "trusts-old-news": ("old-news-for-who-was-away", "B6"),
    "moves-unsure-copies": (0, "B21"),
    "moves-what-lacks-copies": (0, "B21"),
    "forgets-what-is-on-its-way": (0, "B21"),
    "takes-the-copy-that-was-moved": (0, "B21"),
}


@pytest.mark.parametrize("name", KILLED_BY)
def test_a_broken_rule_is_noticed(name: str) -> None:
    killer, invariant = KILLED_BY[name]

    broken = tell(killer, name) if isinstance(killer, str) else simulate(killer, name).broken

    assert f"{invariant}: " in broken


@pytest.mark.parametrize("story", STORIES)
def test_a_story_ends_well_when_no_rule_is_broken(story: str) -> None:
    assert tell(story) == ""


def test_every_mutant_there_is_is_killed() -> None:
    assert set(KILLED_BY) == set(MUTANTS)
