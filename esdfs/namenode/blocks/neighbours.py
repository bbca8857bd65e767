"""Which other DataNodes each DataNode is to look at, so that cuts between them are seen. Pure."""

from typing import Any, Final

from esdfs.namenode.blocks.datanodes import DataNode, DataNodeTable
from esdfs.namenode.blocks.policy import ns

EVERY_MS: Final = 30_000
COUNT: Final = 32
"""Everyone looks at so many, and so many look at everyone."""


class Neighbours:
    """DataNodes in a ring by their numbers: each is named those that follow it."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, int]] = {}

    def due(self, node: DataNode, nodes: DataNodeTable, now_ns: int) -> list[dict[str, Any]]:
        """Those to name in a heartbeat's answer; empty most of the time."""
        incarnation, told_ns = self._told.get(node.number, (0, 0))
        # A new process knows nobody; of one there is, the others may have moved.
        if incarnation == node.row.incarnation and now_ns - told_ns < ns(EVERY_MS):
            return []
        self._told[node.number] = node.row.incarnation, now_ns
        others = sorted(other.number for other in nodes if other.counts and other.number != node.number)
        ring = [number for number in others if number > node.number]
        ring += [number for number in others if number < node.number]
        rows = [found.row for number in ring[:COUNT] if (found := nodes.get(number)) is not None]
        return [{"node_id": row.node_id, "address": row.address} for row in rows]
