"""How a block stands: its copies held against what it should have. Pure."""

from collections.abc import Callable, Sequence
from enum import IntEnum, unique
from typing import NamedTuple

from esdfs.blocks import BlockLocation, DataNodeStatus
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.locations import Replica
from esdfs.namenode.namespace.inodes import BlockRecord


@unique
class Level(IntEnum):
    """How badly a block needs copies; lower first."""

    ONE_LEFT = 0
    FAR_BELOW = 1
    BELOW = 2
    CORRUPT_ONLY = 4  # nothing to copy from: listed for people, never deleted
    MISSING = 5  # no copy on any living DataNode


class Health(NamedTuple):
    """A block's copies by what they are worth; DataNode numbers in recorded order.

    Attributes:
        good: Right generation, not corrupt, not ordered away, on a DataNode that counts.
        sure: Those of ``good`` that a full report of their obeying DataNode vouches for.
        stale: Of another generation, on a DataNode that counts.
        corrupt: On a DataNode that counts.
    """

    target: int
    good: tuple[int, ...]
    sure: tuple[int, ...]
    stale: tuple[int, ...]
    corrupt: tuple[int, ...]

    @property
    def level(self) -> Level | None:
        """How urgent it is; None when there are enough copies."""
        count = len(self.good)
        if count >= self.target:
            return None
        if not count:
            return Level.CORRUPT_ONLY if self.corrupt else Level.MISSING
        if count == 1:
            return Level.ONE_LEFT
        return Level.FAR_BELOW if count * 3 < self.target else Level.BELOW


def examine(
    record: BlockRecord,
    replicas: Sequence[Replica],
    nodes: DataNodeTable,
    *,
    default_target: int,
    leaving: Callable[[int], bool],
) -> Health:
    """Sort a block's copies; ``leaving`` tells whether a DataNode was ordered to delete its copy."""
    good, sure, stale, corrupt = [], [], [], []
    for number, generation, bad in replicas:
        node = nodes.get(number)
        if node is None or not node.counts:
            continue
        if bad:
            corrupt.append(number)
        elif generation != record.generation:
            stale.append(number)
        elif not leaving(number):
            good.append(number)
            if node.confirmed and node.obeys:
                sure.append(number)
    target = record.replication or default_target
    return Health(target, tuple(good), tuple(sure), tuple(stale), tuple(corrupt))


def located(
    block_id: int, generation: int, replicas: Sequence[Replica], nodes: DataNodeTable
) -> list[BlockLocation]:
    """Where a block can be read, in recorded order; DEAD DataNodes, stale and corrupt copies left out.

    The leader is the first on an ACTIVE DataNode, so it moves as soon as its DataNode is late.
    """
    found: list[BlockLocation] = []
    led = False
    for replica in replicas:
        node = nodes.get(replica.number)
        if node is None or not node.counts or replica.corrupt or replica.generation != generation:
            continue
        leads = not led and node.status is DataNodeStatus.ACTIVE
        led = led or leads
        found.append(BlockLocation(str(block_id), node.row.node_id, leads))
    return found
