from pathlib import Path

import pytest

from esdfs.namenode.blocks.safemode import SafeMode
from tests.unit.namenode.blocks.world import Index, World, policy

SECOND = 10**9


@pytest.mark.parametrize(
    ("cold", "age_s", "total", "reported", "left"),
    [
        (True, 29, 0, 0, False),
        (True, 30, 0, 0, True),
        (True, 30, 1000, 998, False),
        (True, 30, 1000, 999, True),
        (True, 29, 1000, 1000, False),
        (False, 0, 1000, 999, True),
        (False, 0, 1000, 998, False),
        (True, 600, 1000, 0, True),
    ],
)
def test_it_ends_when_enough_is_reported_and_time_has_passed(
    cold: bool, age_s: int, total: int, reported: int, left: bool
) -> None:
    mode = SafeMode(policy(safe_mode_min_ms=30_000), 5 * SECOND, cold=cold)
    assert mode.observe((5 + age_s) * SECOND, total, reported) is left
    assert mode.active is not left


@pytest.mark.parametrize(
    ("age_s", "located", "may"), [(29, 1000, False), (30, 999, True), (30, 998, False), (600, 0, True)]
)
def test_it_may_end_when_enough_may_be_reported(age_s: int, located: int, may: bool) -> None:
    mode = SafeMode(policy(safe_mode_min_ms=30_000), 5 * SECOND, cold=True)
    assert mode.may_end((5 + age_s) * SECOND, 1000, located) is may


def test_in_safe_mode_nothing_is_made_of_what_is_missing(tmp_path: Path) -> None:
    world = World(tmp_path, safe_mode_min_ms=30_000)
    one, two = world.join("dn-1", "dn-2")
    world.write(one, two)
    world.settle()
    assert world.manager.status()["blocks"]["total"] == 1
    assert world.manager.status()["blocks"]["missing"] == 0
    world.close()


def test_nothing_is_ordered_before_enough_blocks_are_reported(tmp_path: Path) -> None:
    world = World(tmp_path, index=Index())
    numbers = world.join("dn-1", "dn-2", "dn-3")
    for _ in range(10):
        world.write(numbers[0])
    world.abort(world.allocate(*numbers))
    world.close()
    for file in (tmp_path / "locations.mdb").iterdir():
        file.unlink()
    world.open()
    world.wait(5_000)
    world.join("dn-2", "dn-3", stored=[11])
    assert world.manager.status()["safe_mode"]
    world.wait(30_000, "dn-2", "dn-3")
    assert world.heartbeat("dn-2")["commands"] == []
    assert world.manager.place(1, 2, set(), 1)
    world.join("dn-1", stored=range(1, 11))
    world.wait(2_000, "dn-1", "dn-2", "dn-3")
    assert not world.manager.status()["safe_mode"]
    assert world.manager.replicator.copying() == 10
    world.close()


def test_a_restart_that_kept_its_locations_waits_for_registrations_only(tmp_path: Path) -> None:
    world = World(tmp_path, safe_mode_min_ms=30_000)
    one, two = world.join("dn-1", "dn-2")
    block_id = world.write(one, two)
    world.restart()
    # Reads need nothing: the copies are where they were.
    assert world.holders(block_id) == [one, two]
    world.settle()
    assert world.manager.status()["safe_mode"]
    world.register("dn-1")
    world.settle()
    assert not world.manager.status()["safe_mode"]
    world.close()
