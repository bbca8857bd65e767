"""How a block stands: its copies held against what it should have. Pure."""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, unique
from typing import NamedTuple

from esdfs.blocks import BlockLocation, DataNodeStatus
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.replicas import Replica
from esdfs.namenode.namespace.inodes import BlockRecord


@unique
class Level(IntEnum):
    """How badly a block needs copies; lower first (the order of HDFS's ``LowRedundancyBlocks``)."""

    ONE_LEFT = 0  # on DataNodes that are not in maintenance
    FAR_BELOW = 1
    BELOW = 2
    BADLY_PLACED = 3  # enough copies, all in one domain
    CORRUPT_ONLY = 4  # nothing to copy from: listed for people, never deleted
    MISSING = 5  # no copy on any living DataNode


class Health(NamedTuple):
    """A block's copies by what they are worth; DataNode numbers in recorded order.

    Attributes:
        good: Right generation, not corrupt, not ordered away, on a DataNode that counts and is to stay.
        sure: Those of ``good`` that their obeying DataNode vouches for with a full report, and that stay.
        stale: Of another generation, on a DataNode that counts.
        corrupt: On a DataNode that counts.
        draining: Good, on a DataNode that is being decommissioned: read and copied from, not counted.
        serving: How many of ``good`` are not on a DataNode in maintenance.
        one_domain: All of ``good``, though more than one is wanted, are on one rack (on one host, while there
            is one rack), and there are others.
    """

    target: int
    good: tuple[int, ...]
    sure: tuple[int, ...]
    stale: tuple[int, ...]
    corrupt: tuple[int, ...]
    draining: tuple[int, ...] = ()
    serving: int = 0
    one_domain: bool = False

    @property
    def lacking(self) -> int:
        """Copies to be made. One at least is not in maintenance, if the block is to be read meanwhile."""
        return max(self.target - len(self.good), 0 if self.serving else 1, 0)

    @property
    def level(self) -> Level | None:
        """How urgent it is; None when there are enough copies."""
        if not self.lacking:
            return Level.BADLY_PLACED if self.one_domain else None
        if not self.good and not self.draining:
            return Level.CORRUPT_ONLY if self.corrupt else Level.MISSING
        if self.serving + len(self.draining) <= 1:
            return Level.ONE_LEFT
        return Level.FAR_BELOW if len(self.good) * 3 < self.target else Level.BELOW


def examine(
    record: BlockRecord,
    replicas: Sequence[Replica],
    nodes: DataNodeTable,
    *,
    default_target: int,
    leaving: Callable[[int], bool],
    expected: Callable[[int], bool],
) -> Health:
    """Sort a block's copies.

    Args:
        record: The block's.
        replicas: What is known of its copies.
        nodes: Where they are.
        default_target: Copies of a block whose record asks for none in particular.
        leaving: Whether a DataNode was ordered to delete its copy.
        expected: Whether a DataNode has not said itself that it has one.
    """
    good, sure, stale, corrupt, draining = [], [], [], [], []
    serving, domains = 0, set[str]()
    for number, generation, bad in replicas:
        node = nodes.get(number)
        if node is None or not node.counts:
            continue
        if bad:
            corrupt.append(number)
        elif generation != record.generation:
            stale.append(number)
        elif leaving(number):
            continue
        elif node.drains:
            draining.append(number)
        else:
            good.append(number)
            domains.add(nodes.domain(node.row))
            if node.status is not DataNodeStatus.MAINTENANCE:
                serving += 1
                if node.confirmed and node.obeys and not expected(number):
                    sure.append(number)
    target = record.replication or default_target
    one_domain = target > 1 and len(domains) == 1 and len(nodes.domains) > 1
    return Health(
        target, tuple(good), tuple(sure), tuple(stale), tuple(corrupt), tuple(draining), serving, one_domain
    )


def is_whole(
    record: BlockRecord,
    replicas: Sequence[Replica],
    domain_of: Mapping[int, str],
    default_target: int,
    several_domains: bool,
) -> bool:
    """Whether ``examine`` would find nothing to do, told in a fraction of its time; False = it has to look.

    ``domain_of``: Of the DataNodes that serve and are to stay. Whether a copy is leaving is not asked.
    """
    _, generation, _, replication, complete = record
    if not complete or len(replicas) != (replication or default_target):
        return False
    for number, held, corrupt in replicas:
        if corrupt or held != generation or number not in domain_of:
            return False
    return not several_domains or len(replicas) == 1 or len({domain_of[one.number] for one in replicas}) > 1


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
