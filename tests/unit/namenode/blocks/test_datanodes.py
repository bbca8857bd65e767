from typing import Any

import pytest

from esdfs.blocks import DataNodeStatus
from esdfs.errors import IdentityConflict, InvalidRequest, UnknownDataNode
from tests.unit.namenode.blocks.world import World

ACTIVE, INACTIVE, DEAD, MAINTENANCE = DataNodeStatus


def status(world: World, number: int) -> DataNodeStatus:
    return world.store.datanodes()[number].status


def test_silence_makes_a_datanode_inactive_then_dead_and_a_heartbeat_brings_it_back(
    blocks: World,
) -> None:
    (number,) = blocks.join("dn-1")
    blocks.wait(4_000)
    assert status(blocks, number) is ACTIVE
    blocks.wait(2_000)
    assert status(blocks, number) is INACTIVE
    blocks.wait(10_000)
    assert status(blocks, number) is DEAD
    blocks.heartbeat("dn-1")
    assert status(blocks, number) is ACTIVE


def test_nobody_is_late_by_our_own_pause(blocks: World) -> None:
    (number,) = blocks.join("dn-1")
    blocks.wait(1_000, "dn-1")
    blocks.clock.now_ms += 600_000
    blocks.settle()
    assert status(blocks, number) is ACTIVE
    blocks.wait(16_000)
    assert status(blocks, number) is DEAD


def test_maintenance_expects_silence_until_its_deadline(blocks: World) -> None:
    (number,) = blocks.join("dn-1")
    blocks.want("dn-1", "maintenance", 60_000)
    blocks.wait(50_000)
    assert status(blocks, number) is MAINTENANCE
    blocks.heartbeat("dn-1")
    assert status(blocks, number) is MAINTENANCE
    blocks.wait(30_000)
    assert status(blocks, number) is DEAD


def test_an_operator_ends_maintenance(blocks: World) -> None:
    (number,) = blocks.join("dn-1")
    blocks.want("dn-1", "maintenance", 60_000)
    blocks.want("dn-1", "in-service")
    assert status(blocks, number) is ACTIVE


def test_a_later_process_takes_over_and_the_earlier_one_is_refused(blocks: World) -> None:
    blocks.register("dn-1", incarnation=5)
    blocks.register("dn-1", incarnation=6)
    with pytest.raises(IdentityConflict, match="later process"):
        blocks.heartbeat("dn-1", incarnation=5)
    with pytest.raises(IdentityConflict, match="later process"):
        blocks.register("dn-1", incarnation=5)
    with pytest.raises(IdentityConflict, match="later process"):
        blocks.report("dn-1", incarnation=5)
    with pytest.raises(UnknownDataNode):
        blocks.heartbeat("dn-1", incarnation=7)


def test_a_copy_of_living_disks_is_refused_on_another_host_and_the_living_one_stays(blocks: World) -> None:
    blocks.register("dn-1", incarnation=5, host="one")
    blocks.wait(3_000)
    with pytest.raises(IdentityConflict, match="alive at one:"):
        blocks.register("dn-1", incarnation=6, host="two")
    blocks.heartbeat("dn-1", incarnation=5)
    blocks.register("dn-1", incarnation=6, host="one", port=9999)


@pytest.mark.parametrize("restarted", [False, True])
def test_disks_that_moved_to_another_host_register_once_they_were_silent(
    blocks: World, restarted: bool
) -> None:
    blocks.register("dn-1", incarnation=5, host="one")
    if restarted:
        blocks.restart()  # nothing was heard of it by this process
    else:
        blocks.wait(6_000)
    blocks.register("dn-1", incarnation=6, host="two")


def test_a_known_name_with_other_disks_is_refused(blocks: World) -> None:
    blocks.register("dn-1")
    with pytest.raises(IdentityConflict, match="another node id"):
        blocks.register("dn-1", uuid="other", incarnation=9)


def test_another_clusters_datanode_is_refused_and_a_new_one_is_not(blocks: World) -> None:
    with pytest.raises(IdentityConflict, match="c-2"):
        blocks.register("dn-1", cluster_id="c-2")
    assert blocks.register("dn-1", cluster_id="") == 1


def test_who_is_unknown_has_to_register_first(blocks: World) -> None:
    with pytest.raises(UnknownDataNode, match="register first"):
        blocks.heartbeat("dn-1")


@pytest.mark.parametrize(
    "changes",
    [
        {"node_id": ""},
        {"node_id": "d" * 600},
        {"node_id": "dn/1"},
        {"node_id": "dn-1\n"},
        {"port": 0},
        {"port": 65_536},
        {"hostname": ""},
        {"hostname": "h" * 256},
        {"hostname": "--option"},
        {"hostname": "nul\0"},
        {"uuid": ""},
        {"uuid": "u" * 65},
        {"incarnation": -1},
        {"highest_block_id": -1},
        {"storage_capacity": "much"},
        {"storage_capacity": -1},
        {"used_bytes": 1 << 63},
        {"local_socket": "s" * 513},
        {"volumes": [{"volume_id": "v", "capacity_bytes": -1}]},
        {"volumes": [{"volume_id": "v"}] * 1_025},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_registration_that_is_not_one_is_refused(blocks: World, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(changes))):
        blocks.register(**({"node_id": "dn-1"} | changes))
    assert not blocks.store.datanodes()


@pytest.mark.parametrize(
    "changes",
    [
        {"available_space": -1},
        {"blocks_stored": 1 << 63},
        {"load": {"streams": -1}},
        {"load": {"read_p99_ms": float("nan")}},
        {"load": {"fsync_p99_ms": float("inf")}},
        {"load": {"store_p50_ms": -1.0}},
        {"volumes": [{"volume_id": "v", "fsync_p99_ms": float("nan")}]},
        {"peers": [{"node_id": "dn-2", "reachable": True, "rtt_ms": -1.0}]},
        {"peers": [{"node_id": "d" * 256, "reachable": True}]},
        {"peers": [{"node_id": "dn-2", "reachable": True}] * 1_025},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_heartbeat_that_is_not_one_is_refused(blocks: World, changes: dict[str, Any]) -> None:
    (number,) = blocks.join("dn-1")
    before = blocks.store.datanodes()[number]
    blocks.wait(6_000)
    with pytest.raises(InvalidRequest, match=next(iter(changes))):
        blocks.heartbeat("dn-1", **changes)
    assert status(blocks, number) is INACTIVE, "it is no sign of life"
    assert blocks.store.datanodes()[number].load == before.load


def test_after_our_restart_datanodes_are_as_they_were_and_have_to_register(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    blocks.wait(16_000, "dn-1")
    blocks.restart()
    assert status(blocks, one) is ACTIVE
    assert status(blocks, two) is DEAD
    with pytest.raises(UnknownDataNode):
        blocks.heartbeat("dn-1")
    assert blocks.register("dn-1") == one


def test_a_dead_datanode_is_forgotten_only_when_nothing_needs_it(blocks: World) -> None:
    one, two, three = blocks.join("dn-1", "dn-2", "dn-3")
    safe, only = blocks.write(one, two), blocks.write(one)
    blocks.index.records[only] = blocks.index.records[only]._replace(replication=1)
    blocks.wait(20_000, "dn-2", "dn-3")
    blocks.report("dn-3", stored=[(safe, 1, 1)])
    blocks.clock.now_ms += blocks.policy.forget_after_ms
    for _ in range(4):
        blocks.heartbeat("dn-2")
        blocks.heartbeat("dn-3")
        blocks.manager.cleanup()
    assert blocks.holders(safe) == [two, three]
    assert blocks.holders(only) == [one]
    assert one in blocks.store.datanodes()
    del blocks.index.records[only]
    for _ in range(4):
        blocks.manager.cleanup()
    assert one not in blocks.store.datanodes()
