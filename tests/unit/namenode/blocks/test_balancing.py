from pathlib import Path
from typing import Any

import pytest

from esdfs.namenode import events as ev
from tests.unit.namenode.blocks.world import BLOCK_BYTES, World

CAPACITY = 100 * BLOCK_BYTES


class Cluster:
    """DataNodes that store what they are told to, and say how full they are."""

    def __init__(
        self, directory: Path, *names: str, hosts: dict[str, str] | None = None, **policy: Any
    ) -> None:
        self.world = World(directory, **policy)
        self.balancer = self.world.manager.balancer
        self.disks: dict[str, set[int]] = {}
        self.numbers: dict[str, int] = {}
        self.moved: list[tuple[int, str, str]] = []
        self.hosts = hosts or {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        self.disks[name] = set()
        self.numbers[name] = self.world.register(
            name, host=self.hosts.get(name, ""), storage_capacity=CAPACITY, available_space=CAPACITY
        )
        self.world.report(name, full=True, first=True, last=True)
        self.world.settle()

    def fill(self, count: int, *names: str) -> None:
        for _ in range(count):
            block_id = self.world.write(
                *(self.numbers[name] for name in names), replication=len(names), inode=7
            )
            for name in names:
                self.disks[name].add(block_id)
                self.world.report(name, stored=[(block_id, 1, BLOCK_BYTES)])

    def beat(self, name: str) -> list[dict[str, Any]]:
        used = len(self.disks[name]) * BLOCK_BYTES
        answer = self.world.heartbeat(
            name, storage_capacity=CAPACITY, available_space=max(0, CAPACITY - used), used_bytes=used
        )
        commands: list[dict[str, Any]] = answer["commands"]
        return commands

    def obey(self, name: str, order: dict[str, Any]) -> None:
        block_id = int(order["block_id"])
        if order["kind"] == "delete":
            self.disks[name].discard(block_id)
            assert any(block_id in disk for disk in self.disks.values()), "the last copy is gone"
            self.world.report(name, removed=[(block_id, 1)])
            return
        (target,) = (entry["node_id"] for entry in order["targets"])
        assert block_id not in self.disks[target], "a second copy on one DataNode"
        self.disks[target].add(block_id)
        self.moved.append((block_id, name, target))
        self.world.report(target, stored=[(block_id, 1, BLOCK_BYTES)])

    def step(self) -> None:
        self.world.clock.now_ms += 1_000
        for name in self.disks:
            for order in self.beat(name):
                self.obey(name, order)
        self.world.settle()

    def run(self, steps: int = 200) -> dict[str, Any]:
        for _ in range(steps):
            self.step()
            if self.balancer.status()["state"] != "running":
                break
        return self.balancer.status()

    def copies(self, block_id: int) -> set[str]:
        return {name for name, disk in self.disks.items() if block_id in disk}

    def use(self) -> dict[str, int]:
        return {name: len(disk) for name, disk in self.disks.items()}


@pytest.fixture
def uneven(tmp_path: Path) -> Cluster:
    """Three DataNodes with 40 blocks each and an empty one."""
    cluster = Cluster(tmp_path, "dn-1", "dn-2", "dn-3")
    for pair in (("dn-1", "dn-2"), ("dn-2", "dn-3"), ("dn-3", "dn-1")):
        cluster.fill(20, *pair)
    cluster.add("dn-4")
    return cluster


def test_a_new_datanode_stays_empty_until_somebody_asks(uneven: Cluster) -> None:
    for _ in range(20):
        uneven.step()
    assert uneven.use()["dn-4"] == 0
    assert uneven.balancer.status()["state"] == "off"
    assert uneven.balancer.status()["spread"] == pytest.approx(0.3)


def test_balancing_ends_within_the_threshold_with_every_block_on_two_datanodes(uneven: Cluster) -> None:
    uneven.balancer.start(0.05)
    status = uneven.run()
    assert (status["state"], status["why"], status["to_go_bytes"]) == ("balanced", "", 0)
    assert status["spread"] == status["ended_spread"] <= 0.05
    assert min(uneven.use().values()) >= 25
    assert sum(uneven.use().values()) == 120
    assert all(len(uneven.copies(block_id)) == 2 for block_id in uneven.world.index.records)
    assert status["moved_blocks"] == len(uneven.moved) == uneven.use()["dn-4"]
    assert status["moved_bytes"] == len(uneven.moved) * BLOCK_BYTES
    moved = len(uneven.moved)
    for _ in range(20):
        uneven.step()
    assert len(uneven.moved) == moved


def test_orders_name_the_rate_and_change_it_while_it_runs(uneven: Cluster) -> None:
    uneven.balancer.start(0.05, 1_000_000)
    assert [uneven.beat(name) for name in uneven.disks] == [[], [], [], []]
    uneven.world.settle()
    (first, *_) = [order for name in uneven.disks for order in uneven.beat(name)]
    assert (first["kind"], first["bytes_per_s"]) == ("transfer", 1_000_000)
    uneven.balancer.start(0.05, 2_000_000)
    assert uneven.balancer.status()["bytes_per_s"] == 2_000_000


def test_an_order_is_told_once(uneven: Cluster) -> None:
    uneven.balancer.start(0.05)
    assert [uneven.beat(name) for name in uneven.disks] == [[], [], [], []]
    uneven.world.settle()
    told = [order["block_id"] for _ in range(3) for name in uneven.disks for order in uneven.beat(name)]
    assert len(told) == len(set(told)) > 0


def test_the_copy_that_goes_is_the_sources(uneven: Cluster) -> None:
    uneven.balancer.start(0.05)
    uneven.run()
    assert uneven.moved
    for block_id, source, target in uneven.moved:
        assert source not in uneven.copies(block_id)
        assert target in uneven.copies(block_id)


def test_it_stops_when_it_is_told_to_and_what_is_under_way_ends_well(uneven: Cluster) -> None:
    uneven.balancer.start(0.05)
    for name in uneven.disks:
        uneven.beat(name)
    uneven.world.settle()
    orders = {name: uneven.beat(name) for name in ("dn-1", "dn-2", "dn-3")}
    uneven.world.settle()
    uneven.balancer.stop(uneven.world.clock.monotonic_ns())
    assert uneven.balancer.status()["state"] == "stopped"
    for name, ordered in orders.items():
        for order in ordered:
            uneven.obey(name, order)
    for _ in range(5):
        uneven.step()
    assert all(len(uneven.copies(block_id)) == 2 for block_id in uneven.world.index.records)
    assert all(source not in uneven.copies(block_id) for block_id, source, _ in uneven.moved)


def test_a_namenode_that_forgets_it_all_leaves_every_block_with_its_copies(uneven: Cluster) -> None:
    uneven.balancer.start(0.05)
    for _ in range(2):
        uneven.step()
    assert uneven.moved
    uneven.world.restart()
    uneven.balancer = uneven.world.manager.balancer
    assert uneven.balancer.status()["state"] == "off"
    for name, disk in uneven.disks.items():
        uneven.world.register(name, storage_capacity=CAPACITY)
        stored = [(block_id, 1, BLOCK_BYTES) for block_id in sorted(disk)]
        uneven.world.report(name, full=True, first=True, last=True, stored=stored)
    for _ in range(10):
        uneven.step()
    assert all(len(uneven.copies(block_id)) == 2 for block_id in uneven.world.index.records)
    uneven.balancer.start(0.05)
    assert uneven.run()["state"] == "balanced"


def test_a_target_that_dies_in_the_middle_is_no_obstacle(uneven: Cluster) -> None:
    uneven.add("dn-5")
    uneven.balancer.start(0.05)
    for _ in range(2):
        uneven.step()
    dead = uneven.disks.pop("dn-4")
    assert dead
    for _ in range(40):  # until it is dead, and its copies were made anew
        uneven.step()
    assert uneven.run(400)["state"] == "balanced"
    assert all(len(uneven.copies(block_id)) == 2 for block_id in uneven.world.index.records)


def test_missing_copies_are_made_before_anything_moves(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, "dn-1", "dn-2")
    cluster.fill(40, "dn-1", "dn-2")
    cluster.add("dn-3")
    lost = cluster.world.write(cluster.numbers["dn-1"], replication=2)
    cluster.disks["dn-1"].add(lost)
    cluster.balancer.start(0.05)
    cluster.world.settle()
    kinds = [order["kind"] for order in cluster.beat("dn-1")]
    assert kinds == ["replicate"]


def test_copies_are_never_brought_closer_together_and_it_says_why_it_cannot_go_on(tmp_path: Path) -> None:
    hosts = {"dn-1": "a", "dn-2": "b", "dn-3": "a"}
    cluster = Cluster(tmp_path, "dn-1", "dn-2", hosts=hosts)
    cluster.fill(60, "dn-1", "dn-2")
    cluster.add("dn-3")
    cluster.balancer.start(0.02)
    status = cluster.run(400)
    # dn-2 alone is on its host: only dn-1's blocks can go to dn-3.
    assert (status["state"], cluster.use()["dn-2"]) == ("stuck", 60)
    assert "closer together" in status["why"]
    assert status["spread"] > 0.02
    assert {source for _, source, _ in cluster.moved} == {"dn-1"}


def test_copies_on_two_racks_stay_on_two_racks(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.world.racks.update({"dn-1": "/a", "dn-2": "/b", "dn-3": "/a"})
    cluster.add("dn-1")
    cluster.add("dn-2")
    cluster.fill(60, "dn-1", "dn-2")
    cluster.add("dn-3")
    cluster.balancer.start(0.02)
    cluster.run(400)
    assert {source for _, source, _ in cluster.moved} == {"dn-1"}


def test_a_datanode_without_room_gets_nothing(uneven: Cluster) -> None:
    uneven.balancer.start(0.05)
    for _ in range(3):
        uneven.world.clock.now_ms += 1_000
        for name in ("dn-1", "dn-2", "dn-3"):
            assert [order["kind"] for order in uneven.beat(name)] == []
        uneven.world.heartbeat("dn-4", storage_capacity=CAPACITY, available_space=BLOCK_BYTES - 1)
        uneven.world.settle()


def test_with_a_threshold_in_the_settings_it_begins_by_itself_but_not_at_once_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, "dn-1", "dn-2", "dn-3", balance_threshold=0.1, balance_pause_ms=30_000)
    cluster.fill(30, "dn-1", "dn-2")
    cluster.step()
    cluster.step()
    assert cluster.run()["state"] == "balanced"
    assert cluster.use()["dn-3"] >= 10
    cluster.add("dn-4")
    for _ in range(20):
        cluster.step()
    assert cluster.use()["dn-4"] == 0
    for _ in range(40):
        cluster.step()
    assert cluster.use()["dn-4"] >= 5


def test_a_follower_moves_nothing(uneven: Cluster) -> None:
    uneven.balancer.start(0.05)
    uneven.world.manager.leads(False)
    assert uneven.balancer.status()["state"] == "off"
    assert "since this NameNode leads" in uneven.balancer.status()["why"]
    for _ in range(5):
        uneven.step()
    assert uneven.moved == []


def test_a_block_that_is_to_have_one_copy_more_keeps_that_of_the_source_and_its_move_is_over(
    uneven: Cluster,
) -> None:
    world = uneven.world
    uneven.balancer.start(0.05)
    for name in uneven.disks:
        uneven.beat(name)
    world.settle()
    for name in ("dn-1", "dn-2", "dn-3"):
        for order in uneven.beat(name):
            uneven.obey(name, order)
    assert uneven.moved
    for block_id, _, _ in uneven.moved:
        world.index.records[block_id] = world.index.records[block_id]._replace(replication=3)
    raised = ev.AttributesSet(7, 1, "f", None, None, None, 3, None)
    world.manager.on_committed([raised])
    assert uneven.run()["state"] == "balanced"
    assert world.clock.now_ms < 1_100_000


def test_blocks_that_cannot_move_yet_are_not_looked_at_again_before_anybody_speaks(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, "dn-1", "dn-2")
    cluster.fill(300, "dn-1", "dn-2")
    cluster.add("dn-3")
    del cluster.disks["dn-2"]  # no copy of it is sure, and it is waited for
    for _ in range(6):
        cluster.step()
    cluster.balancer.start(0.05)
    assert sum(cluster.world.manager.tick() for _ in range(100)) <= 300 / 64


def test_what_can_only_wait_for_a_busy_target_is_not_given_up(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, "dn-1", "dn-2", "dn-3")
    for pair in (("dn-1", "dn-2"), ("dn-2", "dn-3"), ("dn-3", "dn-1")):
        cluster.fill(45, *pair)
    cluster.add("dn-4")
    cluster.balancer.start(0.05)
    told: list[tuple[str, dict[str, Any]]] = []
    for _ in range(10):  # they are slow: nothing arrives, and dn-4 is to get no more meanwhile
        cluster.world.clock.now_ms += 1_000
        told += [(name, order) for name in cluster.disks for order in cluster.beat(name)]
        cluster.world.settle()
    assert 0 < len(told) < 60
    for name, order in told:
        cluster.obey(name, order)
    assert cluster.run()["state"] == "balanced"


def test_a_silent_datanode_is_waited_for_before_anybody_says_that_it_is_done(uneven: Cluster) -> None:
    silent = uneven.disks.pop("dn-1")
    for _ in range(6):
        uneven.step()
    uneven.balancer.start(0.15)
    status = uneven.run(3)
    assert status["state"] == "running"
    assert "nothing was heard of dn-1" in status["why"]
    uneven.disks["dn-1"] = silent
    status = uneven.run()
    assert status["state"] == "balanced"
    assert max(uneven.use().values()) <= 45


def test_a_new_leader_does_not_judge_by_the_datanodes_that_registered_first(uneven: Cluster) -> None:
    uneven.step()
    uneven.world.restart()
    uneven.balancer = uneven.world.manager.balancer
    uneven.balancer.start(0.05)
    for name, disk in sorted(uneven.disks.items()):
        uneven.world.register(name, storage_capacity=CAPACITY, used_bytes=len(disk) * BLOCK_BYTES)
        stored = [(block_id, 1, BLOCK_BYTES) for block_id in sorted(disk)]
        uneven.world.report(name, full=True, first=True, last=True, stored=stored)
        uneven.world.settle()
        assert uneven.balancer.status()["state"] == "running"
    assert uneven.run()["state"] == "balanced"
    assert uneven.use()["dn-4"] >= 25
