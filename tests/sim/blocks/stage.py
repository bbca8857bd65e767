"""A few DataNodes that speak and obey when a story has them do so, before the production block manager."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esdfs.blocks import Block
from esdfs.errors import UnknownDataNode
from esdfs.namenode import events as ev
from esdfs.namenode.blocks.policy import Policy
from tests.sim.blocks.cluster import Cluster
from tests.sim.blocks.datanode import Link, Process, SimDataNode
from tests.sim.blocks.mutants import mutant
from tests.sim.blocks.namenode import SimNameNode
from tests.sim.blocks.namespace import BLOCK_BYTES, Commit, Namespace
from tests.sim.world import MS, World

SECOND_NS = 1_000 * MS
NODES = ("dn-1", "dn-2", "dn-3", "dn-4")


class Puppet(SimDataNode):
    """Keeps the orders it took until it is told to carry them out."""

    def start(self) -> None:
        self.up = True
        self.incarnation += 1
        self.links = [Link(self, namenode) for namenode in self.cluster.namenodes]
        self._held: list[tuple[dict[str, Any], int, int]] = []

    def _later(self, order: dict[str, Any], epoch: int, sent_ns: int) -> None:
        self._held.append((order, epoch, sent_ns))

    def holds(self, kind: str) -> bool:
        """Whether it has taken such an order and not carried it out."""
        return any(order["kind"] == kind for order, _, _ in self._held)

    def obey(self) -> None:
        """Carry out what it has taken."""
        held, self._held = self._held, []
        for order, epoch, sent_ns in held:
            self._obey(order, epoch, sent_ns, self.incarnation)


class Stage:
    """Two NameNodes, of which the first leads, and DataNodes on racks of their own; nothing is by chance."""

    def __init__(self, directory: Path, mutant_name: str) -> None:
        self.world = World(0)
        policy = Policy(
            takeover_report_ms=1,
            delete_answer_ms=20_000,
            delete_settle_ms=15_000,
            safe_mode_min_ms=0,
            safe_mode_scan_ms=0,
        )
        self.cluster = Cluster(self.world, directory, mutant(mutant_name), policy, SECOND_NS)
        self.cluster.page = 1
        self.cluster.network.calm()
        self.cluster.network.latency = lambda: 0  # type: ignore[method-assign]
        self.stats = self.cluster.stats
        for namenode in self.cluster.namenodes:
            namenode.boot(fresh=True)
        self.cluster.elect(self.first)
        for number, name in enumerate(NODES):
            node = Puppet(self.cluster, name, f"host-{number}", f"rack-{number}")
            self.cluster.datanodes[name] = node
            node.start()

    @property
    def first(self) -> SimNameNode:
        return self.cluster.namenodes[0]

    @property
    def second(self) -> SimNameNode:
        return self.cluster.namenodes[1]

    def node(self, name: str) -> Puppet:
        found = self.cluster.datanodes[name]
        assert isinstance(found, Puppet)
        return found

    def link(self, name: str, namenode: SimNameNode) -> Link:
        return self.node(name).links[self.cluster.namenodes.index(namenode)]

    # --- what happens ---

    def block(self, *homes: str, replication: int = 2) -> int:
        """A block that has had these copies all along."""
        block_id = self.cluster.truth.next_id

        def change(namespace: Namespace) -> None:
            namespace.allocate(block_id, block_id, replication)
            namespace.complete(block_id)

        self.cluster.commit(Commit(change))
        for name in homes:
            self.node(name).store(block_id)
        return block_id

    def complete(self, *homes: str) -> int:
        """A file of one block has just been written there."""
        block_id = self.cluster.truth.next_id
        numbers = tuple(self.cluster.truth.numbers[name] for name in homes)

        def change(namespace: Namespace) -> None:
            namespace.allocate(block_id, block_id, len(homes))
            namespace.complete(block_id)

        for name in homes:
            self.node(name).store(block_id)
        block = ev.CompletedBlock(Block(block_id, 1, BLOCK_BYTES, BLOCK_BYTES, 0), numbers)
        done = ev.FileCompleted(block_id, 1, "f", BLOCK_BYTES, 0, (block,), 0, 0)
        self.cluster.commit(Commit(change, [done]))
        return block_id

    def speak(self, *names: str, to: SimNameNode) -> None:
        """These send a heartbeat and what they have to report, and take their orders."""
        for name in names:
            link = self.link(name, to)
            try:
                _all(link._exchange())
            except UnknownDataNode:  # a NameNode that was restarted
                link._registered = False
                _all(link._exchange())
        self.pass_s(1)

    def pass_s(self, seconds: int) -> None:
        """NameNodes work, and nobody speaks."""
        self.world.run_until(self.world.now_ns + seconds * SECOND_NS)

    def until(self, is_so: Callable[[], bool], *, to: SimNameNode, at_most_s: int = 60) -> None:
        """All speak until it is so."""
        for _ in range(at_most_s):
            if is_so():
                return
            self.speak(*NODES, to=to)
        raise AssertionError("the story cannot go on")

    def copies(self, block_id: int) -> set[str]:
        return self.cluster.holders[block_id]

    def close(self) -> None:
        for namenode in self.cluster.namenodes:
            namenode.destroy()


def _all(process: Process) -> None:
    for _ in process:
        pass


@contextmanager
def stage(mutant_name: str) -> Iterator[Stage]:
    """An empty one, with one rule broken or none."""
    directory = Path(tempfile.mkdtemp(prefix="esdfs-s-"))
    set_up = Stage(directory, mutant_name)
    try:
        yield set_up
    finally:
        set_up.close()
        shutil.rmtree(directory)
