"""Every rule, broken, is noticed. For each the cheapest proof is a story; chance finds most of them, too."""

from pathlib import Path

import pytest

from tests.scenario.story import StepFailedError, tell
from tests.sim.checkers import InvariantBrokenError
from tests.sim.mutants import MUTANTS
from tests.sim.run import simulate

STORIES = Path(__file__).parent.parent / "scenario"

BY_CHECKER = {
    "leader-counts-unsynced": ("one-follower-is-not-enough-for-a-slow-leader", "CommittedIsOnAMajority"),
    "vote-not-persisted": ("first-election", "PromisesAreDurable"),
    "ack-before-fsync": ("first-election", "PromisesAreDurable"),
    "commit-unmatched": ("long-divergent-tail", "CommittedNeverChanges"),
    "truncate-to-leader-end": ("committed-is-never-cut", "CommittedNeverChanges"),
    "stale-fetch-reply": ("stale-answer-to-a-fetch", "NobodyHalts"),
    "no-ack-floor": ("lost-tail-may-not-lead", "CommittedNeverChanges"),
    "wiped-disk-votes": ("wiped-disk-may-not-vote", "CommittedNeverChanges"),
    "commit-old-epoch": ("figure-8", "CommittedNeverChanges"),
    "early-reconfiguration": ("membership-2015", "CommittedNeverChanges"),
    "truncate-below-commit": ("committed-is-never-cut", "NoCutBelowCommit"),
    "apply-uncommitted": ("five-survive-two", "OnlyCommittedIsApplied"),
}

BY_STORY = {
    "no-dedup": "exactly-once-across-failover",
    "read-unconfirmed": "read-asks-a-majority",
    "no-stickiness": "deaf-follower-deposes-nobody",
    "no-check-quorum": "deaf-leader-resigns",
    "no-boot-quiet-period": "boot-quiet-period",
}

BY_CHANCE = (
    "leader-counts-unsynced",
    "commit-unmatched",
    "truncate-to-leader-end",
    "no-dedup",
    "no-stickiness",
)
SEEDS = 10


@pytest.mark.parametrize("mutant", BY_CHECKER)
def test_a_checker_kills(mutant: str) -> None:
    story, invariant = BY_CHECKER[mutant]
    with pytest.raises(InvariantBrokenError) as broken:
        tell(STORIES / f"{story}.txt", mutant, by_checkers_only=True)

    assert broken.value.invariant == invariant


@pytest.mark.parametrize("mutant", BY_STORY)
def test_a_story_kills(mutant: str) -> None:
    with pytest.raises(StepFailedError):
        tell(STORIES / f"{BY_STORY[mutant]}.txt", mutant)


@pytest.mark.parametrize("mutant", BY_CHANCE)
def test_chance_kills(mutant: str) -> None:
    assert any(simulate(seed, mutant).broken for seed in range(SEEDS))


@pytest.mark.parametrize("story", sorted({story for story, _ in BY_CHECKER.values()} | {*BY_STORY.values()}))
def test_the_same_stories_are_fine_with_every_rule_in_place(story: str) -> None:
    tell(STORIES / f"{story}.txt")


def test_no_mutant_is_left_out() -> None:
    assert {*BY_CHECKER, *BY_STORY} == set(MUTANTS)
