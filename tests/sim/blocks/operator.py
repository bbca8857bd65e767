"""An operator who adds DataNodes, and wants all of them equally full, whatever else goes on."""

from typing import Literal

from esdfs.namenode.frames import Balance
from tests.sim.blocks.cluster import Cluster
from tests.sim.world import MS


class Operator:
    """Some never balance, some at all times.

    Attributes:
        threshold: What they call even.
    """

    def __init__(self, cluster: Cluster, *, until_ns: int) -> None:
        self._cluster, self._until_ns = cluster, until_ns
        self._chance = chance = cluster.world.rng("operator")
        self.threshold = chance.choice((0.005, 0.01, 0.03, 0.1))
        self._bytes_per_s = chance.choice((200_000, 1_000_000, 4_000_000, 0))
        self._pause_ns = chance.choice((10_000, 30_000, 90_000)) * MS
        self._new = chance.choice((0, 0, 3, 8))
        self.balances = chance.random() < 0.75

    def begin(self) -> None:
        if self.balances:
            self._cluster.world.after(self._chance.randrange(1, self._pause_ns), self._act)

    def _act(self) -> None:
        if self._cluster.world.now_ns >= self._until_ns:
            return
        self._cluster.world.after(int(self._chance.expovariate(1 / self._pause_ns)), self._act)
        point = self._chance.random()
        if point < 0.2:
            self._add()
        elif point < 0.3:
            self._ask("stop")
        else:
            self._ask("start")

    def _add(self) -> None:
        """A DataNode that is empty, on a host of its own."""
        if not self._new:
            return
        self._new -= 1
        racks = sorted({node.rack for node in self._cluster.disks()})
        fresh = self._cluster.add_datanode(f"new-host-{self._new}", self._chance.choice(racks))
        fresh.start()
        self._cluster.stats["nodes added"] += 1

    def _ask(self, action: Literal["start", "stop"]) -> None:
        leader = self._cluster.leader()
        if leader is None or leader.paused:
            return
        wanted = Balance(action, self.threshold, self._bytes_per_s)
        leader.manager.balancer.ask(wanted, self._cluster.world.now_ns)
        self._cluster.stats[f"balancing {action}"] += 1

    def heal(self) -> None:
        """Once more, to the end and at the usual rate; those who never balance do not begin now."""
        self._bytes_per_s = 0
        self._ask("start" if self.balances else "stop")
