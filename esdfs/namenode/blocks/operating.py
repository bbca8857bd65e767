"""What operators want of DataNodes, as the journal says, carried over to what is done with them."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from esdfs.env import Clock
from esdfs.namenode.blocks.admin import of_wish
from esdfs.namenode.blocks.datanodes import Change, DataNode, DataNodeTable
from esdfs.namenode.blocks.draining import Draining
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.redundancy import BlockReplicator
from esdfs.namenode.events import DataNodeStateSet
from esdfs.namenode.namespace.datanode_states import holds


class Operating:
    """Follows the journal and the clock: a maintenance ends by its deadline without a record.

    Args:
        on_changed: Told a change of status.
        on_wish: Told a DataNode whose copies are worth something else now, or whose row changed.
    """

    def __init__(
        self,
        index: BlockIndex,
        store: LocationsStore,
        nodes: DataNodeTable,
        replicator: BlockReplicator,
        clock: Clock,
        logger: FilteringBoundLogger,
        *,
        on_changed: Callable[[Change], None],
        on_wish: Callable[[DataNode], None],
        on_counted: Callable[[DataNode], None],
    ) -> None:
        self._index = index
        self._nodes = nodes
        self._clock = clock
        self._log = logger
        self._on_changed = on_changed
        self._on_wish = on_wish
        self._on_counted = on_counted
        self._draining = Draining(index, store, nodes, replicator, self._counted)

    def restore(self) -> None:
        """Take over everything that is wanted, from the index."""
        for wish in self._index.datanode_states():
            node = self._nodes.get(wish.number)
            if node is None or node.wish != wish:
                self.apply(wish)

    def apply(self, wish: DataNodeStateSet) -> None:
        """An operator wants this, and that is committed."""
        now_ns, now_us = self._clock.monotonic_ns(), self._clock.wall_us()
        change = self._nodes.want(wish, now_ns, now_us)
        if change is not None:
            self._on_changed(change)
        node = self._nodes.get(wish.number)
        if node is not None:
            self.look(node)
            self._log.warning("DataNode wanted", node_id=wish.node_id, state=wish.state, why=wish.why)
            self._on_wish(node)

    def look(self, node: DataNode) -> None:
        """Show what is wanted of it now, and count from the start."""
        now_us = self._clock.wall_us()
        node.show(of_wish(node.wish, now_us))
        if holds(node.wish, now_us):
            self._draining.begin(node.number)
        else:
            self._draining.end(node.number)
        self._on_counted(node)

    def work(self, now_ns: int, is_late: Callable[[], bool]) -> bool:
        """Go on counting what DataNodes have to wait for."""
        return self._draining.work(now_ns, is_late)

    def _counted(self, node: DataNode) -> None:
        admin = node.row.admin
        if admin.ready:
            self._log.warning("DataNode may be stopped", node_id=node.row.node_id, state=admin.state)
        self._on_counted(node)
