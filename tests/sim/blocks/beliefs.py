"""What a NameNode may take for sure, said once more without its own code for it."""

from typing import TYPE_CHECKING

from esdfs.blocks import DataNodeStatus
from esdfs.namenode.blocks.replicas import Replica

if TYPE_CHECKING:  # a NameNode is in a cluster, whose checkers ask what it believes
    from tests.sim.blocks.namenode import SimNameNode


def is_sure(namenode: "SimNameNode", block_id: int, replica: Replica) -> bool:
    """Whether a copy is one that a deletion or a move may rest on."""
    manager = namenode.manager
    node = manager._nodes.get(replica.number)
    if node is None or replica.corrupt or manager._deletions.leaving(replica.number, block_id):
        return False
    if (replica.number, block_id) in manager.replicator._expected:
        return False
    stays = node.status is not DataNodeStatus.MAINTENANCE and not node.drains
    return node.obeys and node.confirmed and stays
