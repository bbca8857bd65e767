"""What DataNodes hold beside what locations tell, a page at a time."""

import random

import pytest

from esdfs.namenode.blocks.unplaced import ALARMS_SHOWN, Found
from tests.unit.namenode.blocks.world import BLOCK_BYTES, World


def walk(world: World, limit: int) -> list[Found]:
    found: list[Found] = []
    after: tuple[int, int] | None = (0, 0)
    while after is not None:
        page = world.manager.unplaced.page(after, limit)
        assert len(page.replicas) <= limit
        found += page.replicas
        after = page.next
    return found


def orphans(world: World, node_id: str, block_ids: list[int]) -> None:
    world.report(node_id, stored=[(block_id, 1, BLOCK_BYTES) for block_id in block_ids])
    world.settle()


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_alarms_and_garbage_of_every_datanode_come_once_in_order(blocks: World, limit: int) -> None:
    one, two, three = blocks.join("dn-1", "dn-2", "dn-3")
    ids = [blocks.allocate(one, two) for _ in range(6)]
    for block_id in ids:
        blocks.abort(block_id)
    orphans(blocks, "dn-1", [*ids[2:5], 900, 901])
    orphans(blocks, "dn-3", [ids[0], 902])
    told = [(found.number, found.block_id, bool(found.reason)) for found in walk(blocks, limit)]
    assert told == [
        *((one, block_id, True) for block_id in ids[2:5]),
        (one, 900, False),
        (one, 901, False),
        (three, ids[0], True),
        (three, 902, False),
    ]


def test_what_waits_for_its_deletion_says_why_and_for_how_long(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.allocate(one, two)
    blocks.index.records.pop(block_id)
    orphans(blocks, "dn-1", [block_id])
    (found,) = walk(blocks, 10)
    assert (found.reason, found.sent, found.due_ms) == ("orphan", False, blocks.policy.orphan_grace_ms)
    blocks.wait(blocks.policy.orphan_grace_ms, "dn-1", "dn-2")
    (found,) = walk(blocks, 10)
    assert (found.sent, found.due_ms) == (True, 0)
    blocks.report("dn-1", removed=[(block_id, 1)])
    blocks.settle()
    assert walk(blocks, 10) == []


def test_what_was_deleted_between_two_pages_is_not_told_and_ends_nothing(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    ids = [blocks.allocate(one, two) for _ in range(4)]
    for block_id in ids:
        blocks.index.records.pop(block_id)
    orphans(blocks, "dn-1", ids)
    first = blocks.manager.unplaced.page((0, 0), 2)
    assert first.next == (one, ids[1])
    blocks.report("dn-1", removed=[(ids[2], 1)])
    blocks.settle()
    rest = blocks.manager.unplaced.page(first.next, 2)
    assert [found.block_id for found in rest.replicas] == [ids[3]]


def test_a_walk_that_was_given_up_hides_nothing_from_the_next(blocks: World) -> None:
    one, _ = blocks.join("dn-1", "dn-2")
    blocks.index.next_id = 100
    orphans(blocks, "dn-1", [5, 6])
    assert blocks.manager.unplaced.page((0, 0), 1).next == (one, 5)
    orphans(blocks, "dn-1", [4, 7])
    assert [found.block_id for found in walk(blocks, 1)] == [4, 5, 6, 7]


def test_of_very_many_each_comes_once_and_no_call_looks_at_all(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    blocks.index.next_id = 60_000
    shuffled = [*range(1, 50_001)]
    random.Random(1).shuffle(shuffled)
    for start in range(0, len(shuffled), 1_000):
        orphans(blocks, "dn-1", shuffled[start : start + 1_000])
    orphans(blocks, "dn-2", [7])
    first = blocks.manager.unplaced.page((0, 0), 1_000)
    assert (first.replicas, first.next) == ((), (one, 0)), "sorted over several calls"
    blocks.manager.unplaced.page((two, 0), 1_000)  # somebody else walks, too
    expected = [*((one, block_id) for block_id in sorted(shuffled)), (two, 7)]
    assert [(found.number, found.block_id) for found in walk(blocks, 1_000)] == expected
    assert [(found.number, found.block_id) for found in walk(blocks, 1_000)] == expected, "the next walk"


def test_of_many_alarms_the_status_shows_the_first_and_counts_all(blocks: World) -> None:
    blocks.join("dn-1")
    orphans(blocks, "dn-1", list(range(1_000, 1_000 + ALARMS_SHOWN + 5)))
    status = blocks.manager.status()
    assert [alarm["block_id"] for alarm in status["alarms"]] == [str(1_000 + n) for n in range(ALARMS_SHOWN)]
    assert status["alarm_count"] == ALARMS_SHOWN + 5


def test_a_generation_the_journal_does_not_have_is_an_alarm_of_its_own(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    blocks.report("dn-2", stored=[(block_id, 7, BLOCK_BYTES)])
    blocks.settle()
    (alarm,) = blocks.manager.status()["alarms"]
    assert (alarm["block_id"], alarm["generation"]) == (str(block_id), 7)
    assert alarm["why"] == "its generation is later than the journal's"


def test_a_follower_waits_for_records_on_their_way_before_it_tells_of_what_is_ahead(blocks: World) -> None:
    blocks.join("dn-1")
    blocks.manager.leads(False)
    orphans(blocks, "dn-1", [900])
    assert walk(blocks, 10) == []
    blocks.wait(blocks.policy.alarm_after_ms, "dn-1")
    assert [found.block_id for found in walk(blocks, 10)] == [900]
