"""Many blocks in one look are what they are one by one."""

import pytest

from tests.unit.namenode.world import World

UNKNOWN = 1 << 40


@pytest.mark.parametrize("unknown", [(), (UNKNOWN,), (0, UNKNOWN)])
def test_blocks_and_generations_of_many_are_those_of_each(world: World, unknown: tuple[int, ...]) -> None:
    for name in ("/a", "/b", "/c"):
        world.write(name)
    with world.metadata.present() as view:
        ids, records = view.blocks_after(0, 100)
        assert len(ids) == len(records) >= 3
        asked = [*reversed(ids), *unknown]
        each = [view.block(block_id) for block_id in asked]
        assert each == [*reversed(records), *[None] * len(unknown)]
        assert [*view.blocks(asked)] == each
        assert [*view.generations(asked)] == [record and record.generation for record in each]


def test_blocks_are_paged_in_order(world: World) -> None:
    for name in ("/a", "/b", "/c"):
        world.write(name)
    with world.metadata.present() as view:
        every, _ = view.blocks_after(0, 100)
        first, _ = view.blocks_after(0, 2)
        rest, _ = view.blocks_after(first[-1], 100)
        assert [*first, *rest] == [*every] == sorted(every)
        assert [*view.blocks_after(every[-1], 100)] == [(), []]
