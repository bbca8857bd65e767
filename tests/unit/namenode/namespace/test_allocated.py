"""Block ids are given out once, and never those of blocks that only DataNodes know."""

import pytest

from esdfs.namenode import commands as cmd
from esdfs.namenode.namespace.allocated import Allocated
from tests.unit.namenode.world import World


def given_out(world: World) -> Allocated:
    with world.metadata.present() as view:
        return view.allocated()


def blocks_of(world: World, path: str, count: int = 1) -> list[int]:
    return [block[0] for block in world.run(cmd.CreateFile(path, "lease", blocks=count))["blocks"]]


def test_ids_that_were_passed_over_were_not_given_out() -> None:
    allocated = Allocated(20, ((3, 5), (10, 12)))
    assert [block_id for block_id in range(1, 22) if not allocated.has(block_id)] == [3, 4, 10, 11, 20, 21]


def test_ids_that_datanodes_hold_are_passed_over_once_and_for_all(world: World) -> None:
    assert blocks_of(world, "/a", 2) == [1, 2]
    world.placer.foreign_below = 2
    assert blocks_of(world, "/b") == [3]
    world.placer.foreign_below = 10
    assert blocks_of(world, "/c", 2) == [10, 11]
    assert given_out(world) == Allocated(12, ((4, 10),))
    world.placer.foreign_below = 0
    opened = world.run(cmd.CreateFile("/d", "lease"))
    world.placer.foreign_below = 20
    more = world.run(cmd.AddBlocks(opened["inode"], "lease", 1))
    assert [block[0] for block in more["blocks"]] == [20]
    for anew in (False, True):
        assert given_out(world) == Allocated(21, ((4, 10), (12, 20)))
        world.close()
        world.open(anew=anew)
    assert given_out(world) == Allocated(21, ((4, 10), (12, 20)))


def test_below_the_level_that_remembers_it_no_id_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.namenode.namespace.writing.LEVEL_SKIPPING", 99)
    world.placer.foreign_below = 10
    assert blocks_of(world, "/a") == [1]
