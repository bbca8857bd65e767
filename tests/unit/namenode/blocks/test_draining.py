"""DataNodes that an operator wants to stop: what they hold is seen to first, and what they hold stays."""

from pathlib import Path

import pytest

from esdfs.blocks import DataNodeStatus
from esdfs.errors import NotEnoughDataNodes
from esdfs.namenode.blocks.health import Level
from tests.unit.namenode.blocks.world import BLOCK_BYTES, World

ALL = ("dn-1", "dn-2", "dn-3", "dn-4")


def queue(world: World, level: Level) -> int:
    count: int = world.manager.status()["queues"][level.name.lower()]
    return count


def test_what_is_drained_is_copied_elsewhere_and_nothing_new_goes_there(
    blocks: World,
) -> None:
    one, two, *_ = blocks.join(*ALL)
    for_both = [blocks.write(one, two) for _ in range(3)]
    only = blocks.write(one, replication=1)
    blocks.want("dn-1", "decommissioning")
    assert blocks.admin("dn-1").state == "decommissioning"
    assert blocks.admin("dn-1").blocks_left == 4
    assert (queue(blocks, Level.ONE_LEFT), queue(blocks, Level.BELOW)) == (1, 3)
    assert {n for targets in blocks.manager.place(50, 2, set(), BLOCK_BYTES) for n in targets} == {2, 3, 4}

    assert blocks.live(4_000, *ALL) == {"replicate": 4}
    assert one in blocks.holders(only)
    assert len(blocks.holders(only)) == 2
    assert all(len(blocks.holders(block_id)) == 3 for block_id in for_both)
    assert (blocks.admin("dn-1").state, blocks.admin("dn-1").ready) == ("decommissioned", True)
    assert blocks.live(40_000, *ALL) == {}, "its surplus is kept"

    blocks.wait(20_000, "dn-2", "dn-3", "dn-4")
    assert blocks.manager.status()["datanodes"]["DEAD"] == 1
    assert blocks.blocks()["under_replicated"] == 0, "switched off: nothing is missing"


def test_a_last_copy_does_not_wait_for_what_is_drained(tmp_path: Path) -> None:
    world = World(tmp_path, streams_per_source=1)
    one, two, *_ = world.join(*ALL)
    drained = [world.write(one, two) for _ in range(80)]
    world.want("dn-1", "decommissioning")
    world.settle()
    first = [order for node in ("dn-1", "dn-2") for order in world.heartbeat(node)["commands"]]
    assert {int(order["block_id"]) for order in first} < set(drained)
    last = world.write(two)
    (order,) = world.commands("dn-2", "replicate")
    assert (int(order["block_id"]), order["urgent"]) == (last, True)
    world.close()


def test_a_file_being_written_is_waited_for_and_then_copied(blocks: World) -> None:
    one, two, *_ = blocks.join(*ALL)
    block_id = blocks.allocate(one, two)
    blocks.want("dn-1", "decommissioning")
    blocks.want("dn-2", "maintenance", 60_000)
    assert blocks.live(3_000, *ALL) == {}
    for node in ("dn-1", "dn-2"):
        assert (blocks.admin(node).files_open, blocks.admin(node).ready) == (1, False)
    blocks.complete(block_id, one, two)
    assert not blocks.admin("dn-1").ready
    assert not blocks.admin("dn-2").ready
    assert blocks.live(4_000, *ALL) == {"replicate": 1}
    assert blocks.admin("dn-1").state == "decommissioned"
    assert blocks.admin("dn-2").ready


def test_it_is_not_done_before_its_full_report_is_in(blocks: World) -> None:
    blocks.join("dn-2", "dn-3")
    blocks.register("dn-1")
    blocks.want("dn-1", "decommissioning")
    blocks.wait(3_000, "dn-1", "dn-2", "dn-3")
    assert blocks.admin("dn-1").blocks_left is None
    blocks.report("dn-1", full=True, first=True, last=True)
    blocks.wait(3_000, "dn-1", "dn-2", "dn-3")
    assert blocks.admin("dn-1").state == "decommissioned"


def test_what_an_operator_wants_is_shown_to_whoever_looks_next(blocks: World) -> None:
    one, *_ = blocks.join(*ALL)
    for state in ("decommissioning", "in-service"):
        blocks.want("dn-1", state)
        assert blocks.store.datanodes()[one].admin.state == state


def test_activated_again_what_is_too_much_is_deleted_from_sure_copies_only(blocks: World) -> None:
    one, two, *_ = blocks.join(*ALL)
    block_id = blocks.write(one, two)
    blocks.want("dn-1", "decommissioning")
    blocks.live(2_000, *ALL)
    assert len(blocks.holders(block_id)) == 3
    blocks.want("dn-1", "in-service", why="the disk was fine")
    assert (blocks.admin("dn-1").state, blocks.admin("dn-1").why) == ("in-service", "the disk was fine")
    assert blocks.live(5_000, *ALL) == {"delete": 1}
    assert len(blocks.holders(block_id)) == 2
    assert {n for targets in blocks.manager.place(50, 2, set(), BLOCK_BYTES) for n in targets} == {1, 2, 3, 4}


def test_in_maintenance_copies_count_but_one_elsewhere_is_made(blocks: World) -> None:
    one, two, *_ = blocks.join(*ALL)
    safe = blocks.write(one, two)
    alone = blocks.write(one, replication=1)
    blocks.want("dn-1", "maintenance", 60_000, why="a new fan")
    admin = blocks.admin("dn-1")
    assert (admin.state, admin.blocks_left, admin.ready) == ("maintenance", 1, False)
    assert blocks.live(2_000, *ALL) == {"replicate": 1}
    assert blocks.admin("dn-1").ready

    others = ("dn-2", "dn-3", "dn-4")
    assert blocks.live(40_000, *others) == {}
    row = blocks.store.datanodes()[one]
    assert (row.status, row.status_why) == (DataNodeStatus.MAINTENANCE, "a new fan")
    assert blocks.holders(safe) == [one, two]
    assert blocks.live(20_000, *others) == {"replicate": 1}
    row = blocks.store.datanodes()[one]
    assert (row.status, row.status_why) == (DataNodeStatus.DEAD, "maintenance ended by its deadline")
    assert row.admin.state == "in-service"
    assert len(blocks.holders(safe)) == 3
    assert len(blocks.holders(alone)) == 2


def test_when_the_other_copies_of_what_is_in_maintenance_are_lost_there_is_one_again(blocks: World) -> None:
    one, two, *_ = blocks.join(*ALL)
    block_id = blocks.write(one, two)
    blocks.want("dn-1", "maintenance", 600_000)
    assert blocks.live(20_000, "dn-1", "dn-3", "dn-4") == {"replicate": 1}
    assert len(blocks.holders(block_id)) == 3
    assert queue(blocks, Level.ONE_LEFT) == 0


def test_a_silent_one_in_maintenance_is_given_no_orders(blocks: World) -> None:
    one, *_ = blocks.join(*ALL)
    blocks.write(one, replication=1)
    blocks.wait(6_000, "dn-2", "dn-3", "dn-4")
    blocks.want("dn-1", "maintenance", 600_000)
    blocks.wait(3_000, "dn-2", "dn-3", "dn-4")
    assert blocks.blocks()["pending"] == 0
    blocks.wait(2_000, *ALL)
    assert blocks.blocks()["pending"] == 1


def test_the_next_process_takes_over_what_is_wanted(blocks: World) -> None:
    blocks.join(*ALL)
    blocks.want("dn-1", "decommissioning", why="old")
    blocks.want("dn-2", "maintenance", 60_000)
    blocks.restart()
    blocks.join(*ALL)
    blocks.wait(3_000, *ALL)
    assert (blocks.admin("dn-1").state, blocks.admin("dn-1").why) == ("decommissioned", "old")
    assert blocks.store.datanodes()[2].status is DataNodeStatus.MAINTENANCE
    assert blocks.manager.serving() == {3, 4}


def test_an_index_that_jumped_says_what_is_wanted(blocks: World) -> None:
    blocks.join(*ALL)
    blocks.want("dn-1", "decommissioning")
    blocks.index.wishes[1] = blocks.index.wishes[1].__class__(1, "dn-1", "in-service", 0, "")
    blocks.manager.reloaded()
    assert blocks.manager.serving() == {1, 2, 3, 4}


def test_when_nothing_is_left_in_service_writes_are_refused(blocks: World) -> None:
    blocks.join("dn-1", "dn-2")
    blocks.want("dn-1", "decommissioning")
    with pytest.raises(NotEnoughDataNodes, match="1 live DataNodes, 2 needed"):
        blocks.manager.place(1, 2, set(), BLOCK_BYTES)


def test_those_switched_off_as_planned_are_no_mass_failure(tmp_path: Path) -> None:
    world = World(tmp_path, brake_nodes_min=2)
    world.join(*ALL)
    world.want("dn-1", "decommissioning")
    world.want("dn-2", "decommissioning")
    world.wait(2_000, *ALL)
    world.wait(20_000, "dn-3", "dn-4")
    assert world.manager.status()["datanodes"]["DEAD"] == 2
    assert world.manager.status()["copying_stopped"] == ""
    world.close()


def test_what_nobody_can_read_keeps_its_datanode_and_is_named(blocks: World) -> None:
    one, two, *_ = blocks.join(*ALL)
    lost = [blocks.write(one, two) for _ in range(12)]
    fine = blocks.write(one, two)
    for node_id in ("dn-1", "dn-2"):
        blocks.report(node_id, corrupt=[(block_id, 1) for block_id in lost])
    blocks.want("dn-1", "decommissioning")
    blocks.live(4_000, *ALL)
    assert len(blocks.holders(fine)) == 3
    admin = blocks.admin("dn-1")
    assert (admin.state, admin.ready, admin.blocks_left) == ("decommissioning", False, 12)
    assert (admin.unreadable, admin.unreadable_first) == (12, tuple(lost[:10]))

    blocks.report("dn-2", stored=[(block_id, 1, BLOCK_BYTES) for block_id in lost])
    blocks.live(8_000, *ALL)
    admin = blocks.admin("dn-1")
    assert (admin.unreadable, admin.unreadable_first, admin.ready) == (0, (), True)
