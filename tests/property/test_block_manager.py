"""The block manager against DataNodes that crash, lose disks, rot, repeat themselves and come late.

Whatever happens: no order of ours takes the last good copy of a block somebody names, and once the faults
end every block with a good copy left has all of them again, garbage is gone, and nothing waits.
The same holds while blocks are balanced.
"""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from esdfs.errors import NotEnoughDataNodes, UnknownDataNode
from tests.unit.namenode.blocks.world import BLOCK_BYTES, World

STEP_MS = 2_000
FAULTY_STEPS = 90
QUIET_STEPS = 130
DESTRUCTIVE_EVERY_MS = 60_000
"""Two disks that die before either is noticed are beyond two copies: no order of ours is to blame."""


class Node:
    """A DataNode: what is on its disk, and what its process has in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0
        self.good: set[int] = set()
        self.rotten: set[int] = set()
        self.aside: set[int] = set()
        self.destroyed = False
        self.up = True
        self.reachable = True
        self.incarnation = 1
        self.fence = 0
        self.registered = False
        self.full_due = True
        self.deltas: list[tuple[str, tuple[Any, ...]]] = []
        self.orders: list[tuple[int, int, dict[str, Any]]] = []

    def say(self, kind: str, *entry: Any) -> None:
        """News to report; later news of a block overtakes earlier."""
        if kind != "failed_replications":
            self.deltas = [d for d in self.deltas if d[0] == "failed_replications" or d[1][0] != entry[0]]
        self.deltas.append((kind, entry))

    def store(self, block_id: int) -> None:
        self.rotten.discard(block_id)
        self.aside.discard(block_id)
        self.good.add(block_id)
        self.say("stored", block_id, 1, BLOCK_BYTES)

    def detect(self, block_id: int) -> None:
        self.rotten.discard(block_id)
        self.aside.add(block_id)
        self.say("corrupt", block_id, 1)

    def restart(self) -> None:
        self.up = True
        self.incarnation += 1
        self.registered = False
        self.deltas.clear()
        self.orders.clear()


class Simulation:
    def __init__(self, directory: Path, seed: int, *, balances: bool = False) -> None:
        self.balances = balances
        self.moved = 0
        self.chance = random.Random(seed)
        # A block that is lost for good keeps safe mode up no longer than the quiet time lasts.
        self.world = World(directory, seed=seed, forget_after_ms=60_000, safe_mode_max_ms=120_000)
        self.nodes: dict[str, Node] = {}
        self.trouble = True
        self.writing: list[tuple[int, list[Node]]] = []
        self.ever_aborted: set[int] = set()
        self.destroyed_ms = -DESTRUCTIVE_EVERY_MS
        self.deleted = self.copied = self.lost_disks = self.rotted = 0
        for _ in range(5):
            self.add_node()
        # A replica from a future our metadata does not know: it must outlive everything.
        self.future = 1 << 40
        self.keeper = self.nodes["dn-1"]
        self.keeper.good.add(self.future)

    def add_node(self) -> None:
        name = f"dn-{len(self.nodes) + 1}"
        self.nodes[name] = Node(name)

    def often(self, probability: float) -> bool:
        return self.trouble and self.chance.random() < probability

    def disks(self) -> Iterator[Node]:
        return (node for node in self.nodes.values() if not node.destroyed)

    def copies(self, block_id: int) -> int:
        return sum(block_id in node.good for node in self.disks())

    # --- one step ---

    def step(self) -> None:
        self.world.clock.now_ms += STEP_MS
        if self.trouble:
            self.write()
            self.break_something()
            if self.balances and self.often(0.3):
                self.world.manager.balancer.start(0.001)
        for node in list(self.disks()):
            if node.up:
                self.obey(node)
                if node.reachable:
                    self.exchange(node)
        self.world.settle()
        self.world.manager.cleanup()

    def write(self) -> None:
        manager, world = self.world.manager, self.world
        if self.often(0.5):
            replication = self.chance.choice([2, 2, 3])
            try:
                (targets,) = manager.place(1, replication, set(), BLOCK_BYTES)
            except NotEnoughDataNodes:
                return
            block_id = world.allocate(*targets, replication=replication, inode=world.index.next_id)
            by_number = {node.number: node for node in self.nodes.values()}
            self.writing.append((block_id, [by_number[number] for number in targets]))
        for entry in list(self.writing):
            if self.chance.random() < 0.5:
                continue
            self.writing.remove(entry)
            block_id, pipeline = entry
            reached = [node for node in pipeline if node.up and not node.destroyed]
            for node in reached:
                node.store(block_id)
            if len(reached) >= 2 and self.chance.random() < 0.8:
                world.complete(block_id, *(node.number for node in reached))
            else:
                self.ever_aborted.add(block_id)
                world.abort(block_id)

    def break_something(self) -> None:
        for node in self.disks():
            if node.up and self.often(0.02):
                node.up = False
            elif not node.up and self.often(0.15):
                node.restart()
            if self.often(0.02):
                node.reachable = not node.reachable
            elif not node.reachable and self.often(0.15):
                node.reachable = True
            for block_id in list(node.rotten):
                if node.up and self.often(0.1):
                    node.detect(block_id)
        if self.often(0.01):
            self.world.restart()
        now_ms = self.world.clock.now_ms
        if now_ms - self.destroyed_ms >= DESTRUCTIVE_EVERY_MS and not any(n.rotten for n in self.disks()):
            self.destroy(now_ms)

    def destroy(self, now_ms: int) -> None:
        candidates = [node for node in self.disks() if node.good and node is not self.keeper]
        if not candidates:
            return
        node = self.chance.choice(candidates)
        if self.often(0.03) and self.lost_disks < 2:
            node.destroyed = True
            self.lost_disks += 1
            self.destroyed_ms = now_ms
            self.add_node()
        elif self.often(0.1):
            # A disk of several is gone when it comes back, and nobody says so before its full report.
            node.up = False
            node.good -= {block_id for block_id in sorted(node.good) if self.chance.random() < 0.5}
            self.destroyed_ms = now_ms
        elif self.often(0.2):
            block_id = self.chance.choice(sorted(node.good))
            node.good.discard(block_id)
            node.rotten.add(block_id)
            self.rotted += 1
            self.destroyed_ms = now_ms

    # --- DataNodes at work ---

    def obey(self, node: Node) -> None:
        now_ms = self.world.clock.now_ms
        later = []
        for due_ms, epoch, order in node.orders:
            if due_ms > now_ms:
                later.append((due_ms, epoch, order))
            elif epoch >= node.fence:
                if order["kind"] == "delete":
                    self.delete(node, int(order["block_id"]))
                else:
                    self.copy(node, int(order["block_id"]), order["targets"])
                    self.moved += order["kind"] == "transfer"
        node.orders = later

    def delete(self, node: Node, block_id: int) -> None:
        if block_id in node.aside:
            node.aside.discard(block_id)
            node.say("removed", block_id, 1)
        if block_id in node.good | node.rotten:
            self.deleted += 1
            was_good = block_id in node.good
            node.good.discard(block_id)
            node.rotten.discard(block_id)
            assert block_id != self.future, "a block of a future we do not know was deleted"
            if block_id in self.world.index.records and was_good:
                assert self.copies(block_id), f"the last good copy of block {block_id} was ordered away"
            node.say("removed", block_id, 1)

    def copy(self, node: Node, block_id: int, targets: list[dict[str, str]]) -> None:
        if block_id in node.rotten:
            node.detect(block_id)
        for target in targets:
            other = self.nodes[target["node_id"]]
            works = block_id in node.good and other.up and not other.destroyed and not self.often(0.1)
            if works and block_id not in other.good | other.rotten:
                other.store(block_id)
                self.copied += 1
            elif not works:
                node.say("failed_replications", block_id, 1, other.name)

    def exchange(self, node: Node) -> None:
        if self.often(0.1):
            return  # a heartbeat is lost, reports wait
        world = self.world
        if not node.registered:
            node.number = world.register(node.name, incarnation=node.incarnation)
            node.registered = node.full_due = True
        try:
            answer = world.heartbeat(
                node.name,
                incarnation=node.incarnation,
                available_space=self.chance.randrange(1 << 30, 1 << 39),
                # Small enough that a block more or less makes a difference.
                storage_capacity=200 * BLOCK_BYTES,
                used_bytes=BLOCK_BYTES * len(node.good | node.rotten),
            )
        except UnknownDataNode:
            node.registered = False
            return
        node.full_due = node.full_due or answer["full_report"]
        if not self.often(0.1):  # else the answer is lost
            node.fence = max(node.fence, answer["epoch"])
            for order in answer["commands"]:
                due_ms = world.clock.now_ms + (self.chance.randrange(8_000) if self.trouble else 0)
                node.orders.append((due_ms, answer["epoch"], order))
        if self.often(0.2):
            return  # it is slow to report
        if node.full_due:
            self.report_all(node)
        for kind, entry in node.deltas:
            for _ in range(2 if self.often(0.1) else 1):
                news: dict[str, Any] = {kind: [entry]}
                world.report(node.name, incarnation=node.incarnation, **news)
        node.deltas.clear()

    def report_all(self, node: Node) -> None:
        node.deltas = [delta for delta in node.deltas if delta[0] == "failed_replications"]
        blocks = sorted(node.good | node.rotten)
        pages = [blocks[at : at + 3] for at in range(0, len(blocks), 3)] or [[]]
        for number, page in enumerate(pages):
            if self.often(0.05):
                return  # interrupted: it starts all over
            self.world.report(
                node.name,
                incarnation=node.incarnation,
                full=True,
                first=number == 0,
                last=number == len(pages) - 1,
                stored=[(block_id, 1, BLOCK_BYTES) for block_id in page],
                corrupt=[(block_id, 1) for block_id in sorted(node.aside)] if number == 0 else [],
            )
        node.full_due = False

    # --- the end ---

    def heal(self) -> None:
        self.trouble = False
        self.world.manager.balancer.stop(self.world.clock.monotonic_ns())
        for node in self.disks():
            node.reachable = True
            if not node.up:
                node.restart()
            for block_id in list(node.rotten):
                node.detect(block_id)
        for block_id, _ in self.writing:
            self.ever_aborted.add(block_id)
            self.world.abort(block_id)
        self.writing.clear()

    def problems(self) -> list[str]:
        """What is not yet as it should be."""
        status = self.world.manager.status()
        found = [
            f"{name}: {value}" for name, value in status["queues"].items() if value and name not in _HOPELESS
        ]
        if status["blocks"]["pending"]:
            found.append(f"{status['blocks']['pending']} copies under way")
        for block_id, record in self.world.index.records.items():
            count = self.copies(block_id)
            if count not in {0, record.replication}:
                found.append(f"block {block_id} has {count} of {record.replication} copies")
        found += [f"{node.name} has orders" for node in self.disks() if node.orders or node.deltas]
        found += [f"block {block_id} is garbage" for block_id in self.ever_aborted if self.copies(block_id)]
        return found

    def check(self) -> None:
        status = self.world.manager.status()
        assert not self.problems()
        assert self.future in self.keeper.good
        assert str(self.future) in {alarm["block_id"] for alarm in status["alarms"]}
        gone = 0
        for block_id in self.world.index.records:
            good = {node.number for node in self.disks() if block_id in node.good}
            gone += not good
            known = {r.number for r in self.world.replicas(block_id) if not r.corrupt}
            assert good == {number for number in known if self.is_disk(number)}, block_id
        assert status["blocks"]["missing"] + status["blocks"]["corrupt"] == gone
        assert not status["safe_mode"]

    def is_disk(self, number: int) -> bool:
        return any(node.number == number for node in self.disks())


S = TypeVar("S", bound=Simulation)
_HOPELESS = {"missing", "corrupt_only"}


def run(seed: int, *, balances: bool = False) -> Simulation:
    return through(lambda directory: Simulation(directory, seed, balances=balances), seed)


def through(make: Callable[[Path], S], seed: int) -> S:
    """A simulation through its faults to its peace, in which it settles."""
    directory = Path(tempfile.mkdtemp())
    simulation = make(directory)
    try:
        for _ in range(FAULTY_STEPS):
            simulation.step()
        simulation.heal()
        for _ in range(QUIET_STEPS):
            simulation.step()
            if not simulation.problems():
                break
        # Once more with everything known: nothing that settled may move again.
        deleted, copied = simulation.deleted, simulation.copied
        for _ in range(5):
            simulation.step()
        simulation.check()
        assert (simulation.deleted, simulation.copied) == (deleted, copied), "it settled and went on"
    except AssertionError as error:
        error.add_note(f"seed {seed}, at {simulation.world.clock.now_ms} ms")
        raise
    finally:
        simulation.world.close()
        shutil.rmtree(directory)
    return simulation


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_no_order_takes_a_last_copy_and_all_blocks_recover(first: int) -> None:
    ran = [run(seed) for seed in range(first, first + 20)]
    # A world in which nothing goes wrong proves nothing.
    assert sum(simulation.copied for simulation in ran) > 100
    assert sum(simulation.deleted for simulation in ran) > 50
    assert sum(simulation.rotted for simulation in ran) > 10


@pytest.mark.parametrize("first", range(1000, 1060, 20))
def test_balancing_takes_no_last_copy_and_leaves_no_copy_too_many(first: int) -> None:
    ran = [run(seed, balances=True) for seed in range(first, first + 20)]
    assert sum(simulation.moved for simulation in ran) > 100
