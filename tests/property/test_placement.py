"""Thousands of placements on random topologies: what holds for every one, and how often each is chosen."""

import random
from collections import Counter

import pytest

from esdfs.namenode.blocks.placement import Candidate, choose
from tests.unit.namenode.blocks.world import SeededRng

TRIES = 4_000


def topology(chance: random.Random) -> list[Candidate]:
    racks, hosts = chance.randrange(1, 5), chance.choice([1, 4, 40])
    return [
        Candidate(
            number,
            f"host-{chance.randrange(hosts)}",
            chance.choice([1, 1 << 30, 1 << 40]),
            chance.randrange(8),
            f"/rack-{chance.randrange(racks)}",
            chance.random() < 0.2,
        )
        for number in range(chance.randrange(1, 14))
    ]


@pytest.mark.parametrize("seed", range(5))
def test_no_placement_breaks_a_rule_that_it_could_keep(seed: int) -> None:
    chance, rng = random.Random(seed), SeededRng(seed)
    for _ in range(TRIES):
        among, wanted = topology(chance), chance.randrange(1, 5)
        held = chance.sample(among, min(len(among), chance.randrange(3)))
        free = [one for one in among if one not in held]
        chosen = choose(free, wanted, rng, [one.host for one in held], [one.rack for one in held])

        assert len(chosen) == min(wanted, len(free))
        assert len(set(chosen)) == len(chosen), "never two copies on a DataNode"
        picked = [one for one in free if one.number in set(chosen)]
        homes = [*held, *picked]
        assert {one.number for one in picked} == set(chosen)
        if len(homes) > 1 and chosen and len({one.rack for one in (*held, *free)}) > 1:
            assert len({one.rack for one in homes}) > 1, "one rack holds all copies"
        _check_hosts(held, free, picked)
        _check_slow(free, picked)


def _check_hosts(held: list[Candidate], free: list[Candidate], picked: list[Candidate]) -> None:
    """Unless racks had a say, no host twice while another is left."""
    if len({one.rack for one in (*held, *free)}) > 1:
        return
    fresh = {one.host for one in free} - {one.host for one in held}
    assert len({one.host for one in picked} & fresh) == min(len(picked), len(fresh))


def _check_slow(free: list[Candidate], picked: list[Candidate]) -> None:
    """Where neither racks nor hosts had a say, a slow one only when all the others were taken."""
    if len({(one.rack) for one in free}) == 1 and len({one.host for one in free}) == 1:
        fast = [one for one in free if not one.slow]
        assert sum(not one.slow for one in picked) == min(len(picked), len(fast))


def test_free_space_and_load_weigh_as_they_should() -> None:
    rng = SeededRng(7)
    among = [
        Candidate(number, f"host-{number}", (number + 1) << 30, number % 3, f"/rack-{number % 2}")
        for number in range(10)
    ]
    weights = {one.number: one.available_bytes / (1 + one.pressure) for one in among}
    total = sum(weights.values())
    found = Counter(choose(among, 1, rng)[0] for _ in range(20_000))
    for number, weight in weights.items():
        assert found[number] / 20_000 == pytest.approx(weight / total, abs=0.012)


def test_the_second_copy_weighs_those_of_the_other_racks() -> None:
    rng = SeededRng(8)
    among = [
        Candidate(1, "a", 100, 0, "/a"),
        Candidate(2, "b", 300, 0, "/b"),
        Candidate(3, "c", 100, 0, "/b"),
    ]
    second = Counter(choose(among, 2, rng)[1] for _ in range(8_000))
    pairs = Counter(frozenset(choose(among, 2, rng)) for _ in range(8_000))
    assert set(pairs) == {frozenset({1, 2}), frozenset({1, 3})}
    assert pairs[frozenset({1, 2})] / 8_000 == pytest.approx(0.6 + 0.2 * 0.75, abs=0.03)
    assert second[1] > second[2] > second[3] > 0
