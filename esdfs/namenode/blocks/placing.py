"""Homes for the blocks that writers ask for."""

from esdfs.env import Rng
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.placement import candidates, choose, demand
from esdfs.namenode.blocks.policy import Policy
from esdfs.namenode.blocks.promises import Promises
from esdfs.namenode.events import ClusterFormatted


class Placing:
    """What ``engine.Placer`` asks for."""

    def __init__(
        self, cluster: ClusterFormatted, nodes: DataNodeTable, promises: Promises, policy: Policy, rng: Rng
    ) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._promises = promises
        self._policy = policy
        self._rng = rng

    def place(
        self, count: int, replication: int, exclude: set[str], block_size_bytes: int
    ) -> list[tuple[int, ...]]:
        """Homes for ``count`` new blocks: DataNode numbers, the pipeline's head first.

        Args:
            count: Blocks.
            replication: Copies of each; 0 = the cluster's default.
            exclude: Names of DataNodes the writer had trouble with.
            block_size_bytes: Room needed per copy.

        Raises:
            NotEnoughDataNodes: Fewer than the minimum are live and have room.
        """
        wanted = replication or self._cluster.replication
        minimum = 1 if self._cluster.allow_degraded else self._cluster.min_replication
        shunned = {node.number for node in self._nodes if node.row.node_id in exclude}
        among = candidates(
            self._nodes,
            scheduled=dict(self._promises.by_node),
            size_bytes=block_size_bytes,
            reserve_bytes=self._policy.reserve_bytes,
            exclude=shunned,
            slow=self._nodes.slow,
        )
        live = len(self.serving())
        demand(len(among), wanted, minimum, live=live, size_bytes=block_size_bytes, excluded=len(shunned))
        return [choose(among, wanted, self._rng) for _ in range(count)]

    def serving(self) -> frozenset[int]:
        """Numbers of the DataNodes that new blocks may go to."""
        return frozenset(node.number for node in self._nodes if node.serves)
