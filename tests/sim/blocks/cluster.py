"""What a simulated cluster consists of, and the network between its parts."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from esdfs.namenode import events as ev
from esdfs.namenode.blocks.policy import Policy
from tests.sim.blocks.checkers import Checkers
from tests.sim.blocks.datanode import Link, SimDataNode
from tests.sim.blocks.namenode import SimNameNode
from tests.sim.blocks.namespace import BLOCK_BYTES, Commit, Namespace
from tests.sim.world import MS, World

if TYPE_CHECKING:
    from tests.sim.blocks.mutants import Mutant


class Network:
    """Loses, delays and repeats; perfect once ``trouble`` is over."""

    def __init__(self, world: World) -> None:
        self.chance = world.rng("network")
        self.lost = self.unanswered = self.delayed = self.repeats = self.failing = 0.0
        self.trouble = True

    def fate(self, link: Link) -> str:
        if not link.reachable:
            return "lost"
        if not self.trouble:
            return "ok"
        point = self.chance.random()
        for fate, share in (("lost", self.lost), ("no answer", self.unanswered), ("late", self.delayed)):
            point -= share
            if point < 0:
                return fate
        return "ok"

    def fails(self) -> bool:
        return self.trouble and self.chance.random() < self.failing

    def latency(self) -> int:
        return self.chance.randrange(1, 300) * MS if self.chance.random() < 0.1 else 0

    def late(self) -> int:
        return self.chance.randrange(500, 9_000) * MS

    def jittered(self, ns: int) -> int:
        return int(ns * (0.5 + self.chance.random()))

    def calm(self) -> None:
        self.trouble = False
        self.lost = self.unanswered = self.delayed = self.repeats = self.failing = 0.0


class Cluster:
    """All of it.

    Attributes:
        truth: The namespace as it is committed.
        holders: Names of the DataNodes that have a good copy of a block, on a disk that exists.
        futures: Blocks of a future nobody knows, and who keeps them.
        blocks: There at first.
        capacity_blocks: Of a DataNode; some have more.
    """

    def __init__(
        self, world: World, directory: Path, mutant: "Mutant", policy: Policy, heartbeat_ns: int
    ) -> None:
        self.world = world
        self.mutant = mutant
        self.policy = policy
        self.heartbeat_ns = heartbeat_ns
        self.page = 40
        self.blocks = 1_000
        self.capacity_blocks = 100_000
        self.settings = ev.ClusterFormatted("c-1", BLOCK_BYTES, 2, 2, False)
        self.truth = Namespace(self.settings)
        self.network = Network(world)
        self.stats: Counter[str] = Counter()
        self.holders: dict[int, set[str]] = {}
        self.garbage: set[int] = set()
        self.futures: dict[int, str] = {}
        self.datanodes: dict[str, SimDataNode] = {}
        self.checkers = Checkers(self)
        self.reign = 1
        self.maintained: set[str] = set()
        self._chance = world.rng("journal")
        self._sizes = world.rng("sizes")
        self.namenodes = [SimNameNode(self, name, directory / name) for name in ("nn-1", "nn-2")]

    def add_datanode(self, host: str, rack: str) -> SimDataNode:
        node = SimDataNode(self, f"dn-{len(self.datanodes) + 1}", host, rack)
        node.capacity_blocks = self.capacity_blocks * self._sizes.choice((1, 1, 1, 2))
        self.datanodes[node.name] = node
        return node

    def disks(self) -> list[SimDataNode]:
        """DataNodes that may come back, or are here."""
        return [node for node in self.datanodes.values() if not node.destroyed]

    def leader(self) -> SimNameNode | None:
        """Who leads in the newest epoch."""
        for namenode in self.namenodes:
            if namenode.up and namenode.leading and namenode.view.reign == self.reign:
                return namenode
        return None

    def elect(self, namenode: SimNameNode) -> None:
        """The quorum has chosen; who led before learns of it when it hears of anything."""
        self.reign += 1
        namenode.lead(True)
        self.stats["elections"] += 1
        for other in self.namenodes:
            if other is not namenode:
                self.world.after(self._chance.randrange(3_000) * MS, other.hear_of, self.reign)

    def commit(self, commit: Commit) -> None:
        commit.change(self.truth)
        for namenode in self.namenodes:
            namenode.committed(commit, self._chance.randrange(800) * MS)

    def node_of(self, number: int) -> SimDataNode:
        """By its journaled number."""
        return self.datanodes[self.truth.names[number]]
