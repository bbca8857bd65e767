"""What must hold of blocks that move for balance: B21."""

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING

from esdfs.namenode.blocks import evenness
from esdfs.namenode.blocks.copies import Copy
from esdfs.namenode.blocks.evenness import Share
from esdfs.namenode.blocks.garbage import Why
from tests.sim.blocks.beliefs import is_sure
from tests.sim.blocks.namespace import BLOCK_BYTES
from tests.sim.checkers import InvariantBrokenError

if TYPE_CHECKING:  # a cluster has checkers, and checkers look at a cluster
    from tests.sim.blocks.cluster import Cluster
    from tests.sim.blocks.datanode import SimDataNode
    from tests.sim.blocks.namenode import SimNameNode


class Moving:
    """Watches what moves, and which of its copies goes then."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster

    def watch(self, namenode: "SimNameNode", in_order: Callable[[int], None]) -> None:
        """Look over the shoulder of its balancer; ``in_order``: whether a block may come before others."""
        replicator = namenode.manager.replicator
        start, order_away = replicator.moves.start, replicator._order_away

        def watched_start(block_id: int, copy: Copy, until_ns: int) -> None:
            self._cluster.stats["moves wanted"] += 1
            in_order(block_id)
            self._lacks_nothing(namenode, block_id, copy)
            self._helps(namenode, block_id, copy)
            start(block_id, copy, until_ns)

        def watched_order_away(number: int, block_id: int, generation: int, why: Why) -> None:
            if why is Why.EXCESS:
                self._takes_the_source(namenode, number, block_id)
            order_away(number, block_id, generation, why)

        replicator.moves.start = watched_start  # type: ignore[method-assign]
        replicator._order_away = watched_order_away  # type: ignore[method-assign]

    def _broken(self, namenode: "SimNameNode", text: str) -> InvariantBrokenError:
        return InvariantBrokenError("B21", f"{namenode.name} {text}")

    # --- a move begins ---

    def _lacks_nothing(self, namenode: "SimNameNode", block_id: int, copy: Copy) -> None:
        """It has exactly its copies, each of them sure, and the target has none."""
        cluster, manager = self._cluster, namenode.manager
        record = namenode.view.block(block_id)
        assert record is not None, "what moves is known"
        replicas = [
            replica
            for replica in namenode.store.replicas(block_id)
            if manager._nodes.counts(replica.number)
            and not manager._deletions.leaving(replica.number, block_id)
        ]
        sure = {replica.number for replica in replicas if is_sure(namenode, block_id, replica)}
        if copy.source not in sure or len(replicas) != len(sure) or len(sure) != record.replication:
            raise self._broken(namenode, f"moves {block_id} with {len(sure)} sure of {len(replicas)} copies")
        (target,) = copy.targets
        if target in {replica.number for replica in namenode.store.replicas(block_id)}:
            raise self._broken(namenode, f"moves {block_id} to where it has a copy")
        if (truth := cluster.truth.records.get(block_id)) is None:
            return  # it was given up, and this NameNode has not heard of it
        staying = [n for n in cluster.holders[block_id] if not cluster.datanodes[n].is_losing(block_id)]
        wrong = sum(cluster.truth.names[number] not in cluster.holders[block_id] for number in sure)
        if len(staying) + wrong < min(truth.replication, record.replication):
            raise self._broken(namenode, f"moves {block_id}, of which {sorted(staying)} stay")

    def _helps(self, namenode: "SimNameNode", block_id: int, copy: Copy) -> None:
        """With fresh figures the source is left no emptier than the target: unevenness falls."""
        (target,) = copy.targets
        moves = namenode.manager.replicator.moves._by_block.values()
        turns = copy.source in {move.target for move in moves} or target in {move.source for move in moves}
        if turns or not self._is_fresh(namenode, copy.source) or not self._is_fresh(namenode, target):
            return  # what is on its way may be counted twice
        giver, taker = self._share(namenode, copy.source), self._share(namenode, target)
        if not evenness.improves(giver, taker, copy.size_bytes):
            raise self._broken(
                namenode, f"moves {block_id} from {giver.use:.3f} to {taker.use:.3f}, which is no better"
            )

    def _is_fresh(self, namenode: "SimNameNode", number: int) -> bool:
        """Whether what it last said is how full it is."""
        node, disk = namenode.manager._nodes.get(number), self._cluster.node_of(number)
        return node is not None and node.row.used_bytes == disk.used_bytes

    def _share(self, namenode: "SimNameNode", number: int) -> Share:
        """How full a DataNode will be after the moves it takes part in."""
        disk = self._cluster.node_of(number)
        used_bytes = disk.used_bytes
        for block_id, move in namenode.manager.replicator.moves._by_block.items():
            has = block_id in disk.good or block_id in disk.rotten
            if move.target == number and move.arrived_ns is None and not has:
                used_bytes += move.size_bytes
            if move.source == number and move.left_ns is None and has:
                used_bytes -= move.size_bytes
        return _share(number, disk, used_bytes)

    # --- a move ends ---

    def _takes_the_source(self, namenode: "SimNameNode", number: int, block_id: int) -> None:
        """When the copy has arrived, that of the source is the one too many."""
        moves = namenode.manager.replicator.moves
        move = moves._by_block.get(block_id) or moves._late.get(block_id)
        if move is None or move.target != number:
            return
        replicas = {replica.number: replica for replica in namenode.store.replicas(block_id)}
        source = replicas.get(move.source)
        if source is not None and is_sure(namenode, block_id, source):
            raise self._broken(namenode, f"takes {block_id} from where it was moved to")

    # --- balancing ends ---

    def ended(self, namenode: "SimNameNode", threshold: float) -> None:
        """In peace: it is even, or no block that may move would make it more even."""
        cluster, state = self._cluster, namenode.manager.balancer.status()["state"]
        shares = [_share(cluster.truth.numbers[disk.name], disk, disk.used_bytes) for disk in cluster.disks()]
        cluster.stats[f"ended {state}"] += 1
        if state == "balanced" and (spread := evenness.spread(shares)) > threshold:
            raise self._broken(namenode, f"says that it is balanced, and the spread is {spread:.3f}")
        if state == "stuck" and (found := self._any_that_helps(shares, threshold)):
            raise self._broken(namenode, f"says that it is stuck, and could move {found}")

    def _any_that_helps(self, shares: list[Share], threshold: float) -> str:
        for giver in evenness.sources(shares, threshold):
            takers = [
                taker
                for taker in evenness.targets(shares, giver, threshold)
                if evenness.improves(giver, taker, BLOCK_BYTES)
            ]
            source = self._cluster.node_of(giver.number)
            for block_id, taker in product(sorted(source.good), takers):
                if self._may_move(block_id, source, self._cluster.node_of(taker.number)):
                    return f"{block_id} from {source.name} to {taker.number}"
        return ""

    def _may_move(self, block_id: int, source: "SimDataNode", target: "SimDataNode") -> bool:
        names = self._cluster.holders[block_id]
        record = self._cluster.truth.records.get(block_id)
        if record is None or len(names) != record.replication or block_id in target.aside:
            return False
        others = [self._cluster.datanodes[name] for name in sorted(names - {source.name})]
        apart = all(
            len({one.host for one in after}) >= len({one.host for one in before})
            and len({one.rack for one in after}) >= len({one.rack for one in before})
            for before, after in [([source, *others], [target, *others])]
        )
        return target.name not in names and target.available_bytes >= BLOCK_BYTES and apart


def _share(number: int, disk: "SimDataNode", used_bytes: int) -> Share:
    return Share(number, used_bytes, disk.capacity_blocks * BLOCK_BYTES)
