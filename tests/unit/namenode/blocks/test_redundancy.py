from pathlib import Path

import pytest

from esdfs.namenode import events as ev
from esdfs.namenode.blocks.health import Level
from esdfs.namenode.blocks.redundancy import BlockReplicator
from tests.unit.namenode.blocks.world import BLOCK_BYTES, SILENT, World


def test_it_is_what_the_specification_names(blocks: World) -> None:
    replicator = blocks.manager.replicator
    assert isinstance(replicator, BlockReplicator)
    assert replicator.replication_factor == 2
    assert replicator.metadata_manager is blocks.index
    assert replicator.logger is SILENT


def test_a_dead_datanodes_blocks_are_copied_from_the_copies_left(blocks: World) -> None:
    one, two, three = blocks.join("dn-1", "dn-2", "dn-3")
    block_id = blocks.write(one, two)
    blocks.wait(14_000, "dn-2", "dn-3")
    assert blocks.commands("dn-2", "replicate") == []
    blocks.wait(2_000, "dn-3")
    assert blocks.blocks()["under_replicated"] == 1
    assert blocks.commands("dn-2", "replicate") == [
        {
            "kind": "replicate",
            "block_id": str(block_id),
            "generation": 1,
            "targets": [{"node_id": "dn-3", "address": "host of dn-3:9000"}],
            "urgent": True,
        }
    ]
    assert blocks.blocks()["pending"] == 1
    blocks.report("dn-3", stored=[(block_id, 1, BLOCK_BYTES)])
    assert blocks.holders(block_id) == [one, two, three]
    assert blocks.blocks() == {"total": 1, "under_replicated": 0, "missing": 0, "corrupt": 0, "pending": 0}


def test_the_last_copies_go_first(tmp_path: Path) -> None:
    world = World(tmp_path, streams_per_source=1)
    one, two, three, _ = world.join("dn-1", "dn-2", "dn-3", "dn-4")
    two_left = world.write(one, two, three, replication=4)
    one_left = world.write(one)
    queues = world.manager.status()["queues"]
    assert (queues["one_left"], queues["below"]) == (1, 1)
    orders = world.commands("dn-1", "replicate")
    assert orders[0]["block_id"] == str(one_left)
    assert str(two_left) in {order["block_id"] for order in orders + world.commands("dn-2", "replicate")}
    world.close()


def test_a_source_gets_two_large_blocks_at_a_time(blocks: World) -> None:
    one, *_ = blocks.join("dn-1", "dn-2", "dn-3")
    for _ in range(5):
        block_id = blocks.write(one)
        blocks.index.records[block_id] = blocks.index.records[block_id]._replace(length_bytes=128 << 20)
    first = blocks.commands("dn-1", "replicate")
    assert len(first) == 2
    assert blocks.commands("dn-1", "replicate") == []
    target = int(first[0]["targets"][0]["node_id"][-1])
    blocks.report(f"dn-{target}", stored=[(int(first[0]["block_id"]), 1, 128 << 20)])
    assert len(blocks.commands("dn-1", "replicate")) == 1


def large(blocks: World, block_id: int) -> int:
    blocks.index.records[block_id] = blocks.index.records[block_id]._replace(length_bytes=128 << 20)
    return block_id


def test_a_last_copy_does_not_wait_for_less_urgent_ones_that_were_ordered_before(blocks: World) -> None:
    one, two, *_ = blocks.join("dn-1", "dn-2", "dn-3")
    for _ in range(9):
        large(blocks, blocks.write(one, two, replication=3))
    ordered = [order for node_id in ("dn-1", "dn-2") for order in blocks.commands(node_id, "replicate")]
    assert len(ordered) == 4, "all that fits"
    assert not any(order["urgent"] for order in ordered)
    last = large(blocks, blocks.write(one))
    (order,) = blocks.commands("dn-1", "replicate")
    assert (order["block_id"], order["urgent"]) == (str(last), True)


def test_what_is_urgent_leaves_no_room_for_what_is_not(blocks: World) -> None:
    one, *_ = blocks.join("dn-1", "dn-2", "dn-3", "dn-4")
    for _ in range(3):
        large(blocks, blocks.write(one))
    two_left = large(blocks, blocks.write(one, replication=3))
    blocks.report("dn-2", stored=[(two_left, 1, 128 << 20)])
    orders = blocks.commands("dn-1", "replicate")
    assert [order["urgent"] for order in orders] == [True, True]
    assert str(two_left) not in {order["block_id"] for order in orders}


def test_an_order_that_was_not_fetched_becomes_urgent_with_its_block(blocks: World) -> None:
    one, two, *_ = blocks.join("dn-1", "dn-2", "dn-3")
    block_id = blocks.write(one, two, replication=3)
    blocks.settle()
    assert blocks.blocks()["pending"] == 1
    blocks.report("dn-2", removed=[(block_id, 1)])
    (order,) = blocks.commands("dn-1", "replicate")
    assert (order["block_id"], order["urgent"]) == (str(block_id), True)


def test_small_blocks_do_not_wait_for_heartbeats(blocks: World) -> None:
    one, *_ = blocks.join("dn-1", "dn-2", "dn-3")
    for _ in range(20):
        blocks.write(one)
    assert len(blocks.commands("dn-1", "replicate")) == 20


def test_a_copy_that_fails_or_takes_too_long_is_ordered_again(blocks: World) -> None:
    one, *_ = blocks.join("dn-1", "dn-2", "dn-3")
    block_id = blocks.write(one)
    (order,) = blocks.commands("dn-1", "replicate")
    failed = order["targets"][0]["node_id"]
    blocks.report("dn-1", failed_replications=[(block_id, 1, failed)])
    (order,) = blocks.commands("dn-1", "replicate")
    assert order["targets"][0]["node_id"] != failed
    blocks.wait(blocks.policy.copy_timeout_ms - 1_000, "dn-1", "dn-2", "dn-3")
    assert blocks.blocks()["pending"] == 1
    blocks.wait(1_000, "dn-2", "dn-3")
    assert blocks.commands("dn-1", "replicate")
    assert blocks.manager.status()["done"] == done(copies_failed=2)


def done(**counts: int) -> dict[str, int]:
    return {"copied": 0, "moved": 0, "copies_failed": 0, "deletions": 0, "corrupt": 0} | counts


def test_a_corrupt_copy_is_replaced_even_on_its_own_datanode(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    blocks.report("dn-1", corrupt=[(block_id, 1)])
    (order,) = blocks.commands("dn-2", "replicate")
    assert order["targets"][0]["node_id"] == "dn-1"
    blocks.report("dn-1", stored=[(block_id, 1, BLOCK_BYTES)])
    assert [replica.corrupt for replica in blocks.replicas(block_id)] == [False, False]
    assert blocks.commands("dn-1", "delete") == []
    assert blocks.manager.status()["done"] == done(copied=1, corrupt=1)


def test_another_datanode_is_preferred_and_the_corrupt_copy_cleaned_away_afterwards(blocks: World) -> None:
    one, two, three = blocks.join("dn-1", "dn-2", "dn-3")
    block_id = blocks.write(one, two)
    blocks.report("dn-1", corrupt=[(block_id, 1)])
    (order,) = blocks.commands("dn-2", "replicate")
    assert order["targets"][0]["node_id"] == "dn-3"
    assert blocks.commands("dn-1", "delete") == []
    blocks.report("dn-3", stored=[(block_id, 1, BLOCK_BYTES)])
    blocks.settle()
    assert blocks.commands("dn-1", "delete") == [
        {"kind": "delete", "block_id": str(block_id), "generation": 1}
    ]
    blocks.report("dn-1", removed=[(block_id, 1)])
    assert blocks.holders(block_id) == [two, three]


def test_when_all_copies_are_corrupt_nothing_is_deleted_and_it_is_listed(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    blocks.report("dn-1", corrupt=[(block_id, 1)])
    blocks.report("dn-2", corrupt=[(block_id, 1)])
    blocks.wait(60_000, "dn-1", "dn-2")
    assert blocks.heartbeat("dn-1")["commands"] == blocks.heartbeat("dn-2")["commands"] == []
    assert blocks.blocks()["corrupt"] == 1
    assert blocks.manager.replicator.counts()[Level.CORRUPT_ONLY.name.lower()] == 1


def surplus(world: World, *, confirmed: bool) -> int:
    """A block with one copy too many, on dn-3, which has (not) said everything."""
    one, two = world.join("dn-1", "dn-2")
    block_id = world.write(one, two)
    world.register("dn-3", host="host of dn-1", available_space=1)
    page = [(block_id, 1, BLOCK_BYTES)]
    world.report("dn-3", full=True, first=True, last=confirmed, stored=page)
    world.settle()
    return block_id


def all_deletions(world: World) -> list[str]:
    return [n for n in ("dn-1", "dn-2", "dn-3") if world.commands(n, "delete")]


def test_only_the_surplus_is_deleted_and_only_once(blocks: World) -> None:
    block_id = surplus(blocks, confirmed=True)
    assert all_deletions(blocks) == ["dn-3"]
    blocks.wait(10_000, "dn-1", "dn-2", "dn-3")
    assert all_deletions(blocks) == []
    blocks.report("dn-3", removed=[(block_id, 1)])
    assert len(blocks.holders(block_id)) == 2


def test_a_copy_nobody_vouched_for_does_not_justify_a_deletion(blocks: World) -> None:
    surplus(blocks, confirmed=False)
    assert all_deletions(blocks) == []


def test_who_is_elected_again_trusts_nothing_of_before_even_if_it_never_knew_that_another_led(
    blocks: World,
) -> None:
    surplus(blocks, confirmed=True)
    blocks.index.reign += 2
    blocks.manager.leads(True)
    blocks.settle()
    assert all_deletions(blocks) == [], "what the one between ordered may still happen"


@pytest.mark.parametrize(("late", "heard"), [("dn-1", "dn-2"), ("dn-2", "dn-1")])
def test_a_late_datanode_does_not_justify_a_deletion(blocks: World, late: str, heard: str) -> None:
    surplus(blocks, confirmed=True)
    # An order for dn-3 waits while it is not heard of. When it is again, another one is late.
    blocks.wait(6_000, heard)
    assert blocks.commands("dn-3", "delete") == []
    assert blocks.commands(heard, "delete") == []
    blocks.heartbeat(late)
    blocks.settle()
    assert all_deletions(blocks) == ["dn-3"]


def test_a_deletion_that_was_sent_is_never_counted_on_again(blocks: World) -> None:
    block_id = surplus(blocks, confirmed=True)
    assert all_deletions(blocks) == ["dn-3"]
    blocks.report("dn-1", removed=[(block_id, 1)])
    # dn-3 still has it, as far as we know; but it may delete it any moment.
    (order,) = blocks.commands("dn-2", "replicate")
    assert order["targets"][0]["node_id"] == "dn-1"


def test_a_deletion_without_an_answer_is_decided_by_a_full_report(blocks: World) -> None:
    block_id = surplus(blocks, confirmed=True)
    assert all_deletions(blocks) == ["dn-3"]
    blocks.wait(blocks.policy.delete_answer_ms, "dn-1", "dn-2", "dn-3")
    blocks.manager.cleanup()
    assert blocks.heartbeat("dn-3")["full_report"]
    blocks.report("dn-3", full=True, first=True, last=True, stored=[(block_id, 1, BLOCK_BYTES)])
    blocks.settle()
    assert all_deletions(blocks) == ["dn-3"]


def test_raising_the_replication_of_a_file_makes_copies_and_lowering_it_deletes_them(blocks: World) -> None:
    numbers = blocks.join("dn-1", "dn-2", "dn-3")
    block_id = blocks.write(*numbers[:2])

    def set_replication(count: int) -> None:
        blocks.index.records[block_id] = blocks.index.records[block_id]._replace(replication=count)
        blocks.manager.on_committed([ev.AttributesSet(7, 1, "f", None, None, None, count, None)])
        blocks.settle()

    set_replication(3)
    orders = blocks.commands("dn-1", "replicate") + blocks.commands("dn-2", "replicate")
    assert len(orders) == 1
    blocks.report("dn-3", stored=[(block_id, 1, BLOCK_BYTES)])
    set_replication(2)
    assert len(all_deletions(blocks)) == 1
    assert blocks.manager.status()["done"] == done(copied=1, deletions=1)


def test_a_mass_failure_stops_copying_until_the_datanodes_are_back(blocks: World) -> None:
    names = [f"dn-{number}" for number in range(1, 9)]
    numbers = blocks.join(*names)
    block_id = blocks.write(numbers[0], numbers[7])
    blocks.wait(20_000, *names[3:])
    assert "3 of 8 DataNodes were lost at once" in blocks.manager.status()["copying_stopped"]
    assert blocks.commands("dn-8", "replicate") == []
    assert blocks.blocks()["under_replicated"] == 1
    blocks.heartbeat("dn-2")
    blocks.settle()
    assert blocks.manager.status()["copying_stopped"] == ""
    (order,) = blocks.commands("dn-8", "replicate")
    assert order["block_id"] == str(block_id)


def test_an_operator_says_that_a_mass_failure_is_real(blocks: World) -> None:
    names = [f"dn-{number}" for number in range(1, 9)]
    numbers = blocks.join(*names)
    blocks.write(numbers[0], numbers[7])
    blocks.wait(20_000, *names[3:])
    assert blocks.manager.resume_copies() == {"copying_stopped": ""}
    blocks.wait(2_000, *names[3:7])
    assert blocks.manager.status()["copying_stopped"] == ""
    assert len(blocks.commands("dn-8", "replicate")) == 1


def test_a_leader_whose_orders_nobody_obeys_says_why(blocks: World) -> None:
    blocks.join("dn-1", "dn-2")
    blocks.report("dn-1", full=True, first=True, epoch=blocks.index.reign + 4)
    told = blocks.manager.status()["copying_stopped"]
    assert "DataNodes obey a leader of epoch 5, this one's is 1" in told
    assert "force-standalone" in told
    blocks.index.reign += 4
    assert blocks.manager.status()["copying_stopped"] == ""


def test_the_leader_is_the_first_active_datanode_of_the_pipeline(blocks: World) -> None:
    one, two, three = blocks.join("dn-1", "dn-2", "dn-3")
    block_id = blocks.write(two, one, three, replication=3)

    def leaders() -> dict[str, bool]:
        return {found.datanode_id: found.is_leader for found in blocks.manager.locations(block_id)}

    assert leaders() == {"dn-2": True, "dn-1": False, "dn-3": False}
    blocks.wait(6_000, "dn-1", "dn-3")
    assert leaders() == {"dn-2": False, "dn-1": True, "dn-3": False}
    blocks.wait(10_000, "dn-3")
    assert leaders() == {"dn-1": False, "dn-3": True}
    blocks.heartbeat("dn-2")
    assert leaders()["dn-2"]


def copies_of(world: World, source: str, *unreached: str) -> list[str]:
    """Where a DataNode that says it does not reach these is ordered to copy blocks."""
    peers = [{"node_id": name, "reachable": False} for name in unreached]
    orders = []
    for _ in range(3):
        orders += world.heartbeat(source, peers=peers)["commands"]
        world.clock.now_ms += 1_000
        world.settle()
    return [target["node_id"] for order in orders for target in order.get("targets", [])]


def test_nothing_is_copied_to_who_is_out_of_reach_of_its_source(blocks: World) -> None:
    (one, *_) = blocks.join("dn-1", "dn-2", "dn-3")
    blocks.heartbeat("dn-1", peers=[{"node_id": "dn-2", "reachable": False}])
    for _ in range(20):
        blocks.report("dn-1", stored=[(blocks.write(one), 1, BLOCK_BYTES)])
    assert set(copies_of(blocks, "dn-1", "dn-2")) == {"dn-3"}


def test_a_source_that_reaches_the_target_is_asked(blocks: World) -> None:
    one, two, _ = blocks.join("dn-1", "dn-2", "dn-3")
    blocks.heartbeat("dn-1", peers=[{"node_id": "dn-3", "reachable": False}])
    for _ in range(20):
        block_id = blocks.write(one, two, replication=3)
        for holder in ("dn-1", "dn-2"):
            blocks.report(holder, stored=[(block_id, 1, BLOCK_BYTES)])
    assert not copies_of(blocks, "dn-1", "dn-3")
    assert set(copies_of(blocks, "dn-2")) == {"dn-3"}


def test_when_everyone_is_said_to_be_out_of_reach_they_are_tried_all_the_same(blocks: World) -> None:
    (one, *_) = blocks.join("dn-1", "dn-2", "dn-3")
    blocks.heartbeat("dn-1", peers=[{"node_id": name, "reachable": False} for name in ("dn-2", "dn-3")])
    blocks.report("dn-1", stored=[(blocks.write(one), 1, BLOCK_BYTES)])
    assert copies_of(blocks, "dn-1", "dn-2", "dn-3")


@pytest.mark.parametrize("urgent", ["below", "missing"])
def test_what_is_less_urgent_keeps_no_block_out_of_its_queue(tmp_path: Path, urgent: str) -> None:
    """Blocks on one rack are as many as its queue takes, and there is no room on another."""
    world = World(tmp_path, queued_max=10)
    world.racks |= {"dn-1": "/a", "dn-2": "/a", "dn-3": "/a", "dn-4": "/b"}
    one, two, three, four = world.join("dn-1", "dn-2", "dn-3", "dn-4")
    world.heartbeat("dn-4", available_space=0)
    for _ in range(world.policy.queued_max + 2):
        world.write(one, two)
    world.settle()
    assert world.manager.status()["queues"]["badly_placed"] == world.policy.queued_max
    assert not world.manager.recheck(begin=False)["busy"]
    if urgent == "below":
        block_id = world.write(one, four, replication=3)
        world.live(5_000, "dn-1", "dn-2", "dn-3")
        assert set(world.holders(block_id)) & {two, three}
    else:
        world.write(three)
        world.report("dn-3", removed=[(world.index.next_id - 1, 1)])
        world.settle()
        assert world.blocks()["missing"] == 1
    world.close()
