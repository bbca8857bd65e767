"""Dead DataNodes are forgotten in the end, but never one that has what nobody else has."""

from typing import Final

from structlog.typing import FilteringBoundLogger

from esdfs.blocks import DataNodeStatus
from esdfs.namenode.blocks.datanodes import DataNode, DataNodeTable
from esdfs.namenode.blocks.garbage import Deletions
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.blocks.redundancy import BlockReplicator

_PAGE: Final = 128


class Farewell:
    """Drops the locations of DataNodes that are dead for long, page by page, as their blocks become safe."""

    def __init__(
        self,
        index: BlockIndex,
        store: LocationsStore,
        nodes: DataNodeTable,
        deletions: Deletions,
        replicator: BlockReplicator,
        policy: Policy,
        logger: FilteringBoundLogger,
    ) -> None:
        self._index = index
        self._store = store
        self._nodes = nodes
        self._deletions = deletions
        self._replicator = replicator
        self._after_ns = ns(policy.forget_after_ms)
        self._log = logger
        self._cursors: dict[int, int] = {}

    def tick(self, now_ns: int) -> None:
        """Go on by one page per DataNode that has been dead long enough."""
        for node in list(self._nodes):
            if node.status is DataNodeStatus.DEAD and now_ns - node.lost_ns >= self._after_ns:
                self._go_on(node)

    def _go_on(self, node: DataNode) -> None:
        number = node.number
        page = self._store.blocks_of(number, after=self._cursors.get(number, 0), limit=_PAGE)
        if not page and not self._store.blocks_of(number, limit=1):
            self._nodes.forget(number)
            self._deletions.restarted(number)
            self._store.forget_datanode(number)
            self._cursors.pop(number, None)
            self._log.warning("DataNode forgotten", node_id=node.row.node_id, why="dead, nothing needs it")
            return
        # At the end what was not safe is looked at again, from the start.
        self._cursors[number] = page[-1] if page else 0
        safe = [block_id for block_id in page if self._is_safe(block_id)]
        if safe:
            with self._store.write() as locations:
                for block_id in safe:
                    locations.remove(block_id, number)

    def _is_safe(self, block_id: int) -> bool:
        record = self._index.block(block_id)
        if record is None:
            return True
        health = self._replicator.check(block_id, record)
        return health is not None and not health.lacking
