"""What must hold after every event. The names are those of ``esdfs/namenode/blocks/DESIGN.md``."""

from itertools import islice
from typing import TYPE_CHECKING, Any

from esdfs.namenode.blocks.copies import Copy
from esdfs.namenode.blocks.datanodes import DataNode
from esdfs.namenode.blocks.health import Level
from esdfs.namenode.blocks.reports import FullReport
from tests.sim.blocks.beliefs import is_sure
from tests.sim.blocks.moving import Moving
from tests.sim.checkers import InvariantBrokenError
from tests.sim.world import MS

if TYPE_CHECKING:  # a cluster has checkers, and checkers look at a cluster
    from tests.sim.blocks.cluster import Cluster
    from tests.sim.blocks.datanode import SimDataNode
    from tests.sim.blocks.namenode import SimNameNode

IN_FLIGHT_NS = 60_000 * MS
"""A report is at most so old when a paused NameNode takes it in."""

PHANTOM_NS = IN_FLIGHT_NS + 30_000 * MS
"""A copy that a writer vouched for is believed in for so much longer."""

WAITING_SAMPLE = 20
PASSED_OVER_NS = 3_000 * MS
NOTICED_NS = 2_000 * MS
BRAKE_FRESH_NS = 20_000 * MS
BRAKE_MARGIN = 0.05


class Checkers:
    """Watches every order, every deletion, and what the NameNodes believe."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self.released_ns = -(10**18)
        self._passed_over: dict[str, dict[int, int]] = {}
        self.moving = Moving(cluster)

    # --- B1, B3 ---

    def deleted(self, node: "SimDataNode", block_id: int) -> None:
        """A good copy was just deleted by order."""
        if block_id in self._cluster.futures:
            raise InvariantBrokenError(
                "B3", f"{node.name} was made to delete {block_id}, which nobody allocated"
            )
        if block_id in self._cluster.truth.records and not self._cluster.holders[block_id]:
            raise InvariantBrokenError(
                "B1", f"{node.name} was made to delete the last good copy of {block_id}"
            )

    def ordered_away(self, node: "SimDataNode", block_id: int) -> None:
        """A DataNode has taken the order to delete its copy: another must be left, with no such order."""
        if block_id not in self._cluster.truth.records or block_id not in node.good:
            return
        for name in self._cluster.holders[block_id]:
            if name != node.name and not self._cluster.datanodes[name].is_losing(block_id):
                return
        raise InvariantBrokenError(
            "B1", f"{node.name} is to delete the last copy of {block_id} not ordered away"
        )

    # --- B8 ---

    def ordered(self, namenode: "SimNameNode", node_id: str, answer: dict[str, Any]) -> None:
        """A heartbeat was answered with orders."""
        if not answer["commands"]:
            return
        self._cluster.stats["orders"] += len(answer["commands"])
        if not namenode.leading:
            raise InvariantBrokenError("B8", f"{namenode.name} does not lead and gave orders to {node_id}")
        for order in answer["commands"]:
            if order["kind"] == "delete":
                self._enough_without(namenode, node_id, int(order["block_id"]))
        now_ns, dead_ns = self._cluster.world.now_ns, self._cluster.policy.dead_after_ms * MS
        if now_ns - self.released_ns < 10 * BRAKE_FRESH_NS:
            return
        lost = alive = 0
        for number, heard_ns in namenode.heard_ns.items():
            age_ns = now_ns - heard_ns
            expected = self._expected(number) or number in namenode.manager._brake._forgiven
            alive += age_ns <= dead_ns or expected
            lost += dead_ns + NOTICED_NS < age_ns < dead_ns + BRAKE_FRESH_NS and not expected
        policy = self._cluster.policy
        many = lost >= policy.brake_nodes_min and lost > (policy.brake_share + BRAKE_MARGIN) * (alive + lost)
        if many:
            raise InvariantBrokenError(
                "B8", f"{lost} DataNodes of {alive + lost} were lost, {node_id} got orders"
            )

    # --- B5, B6 ---

    def _enough_without(self, namenode: "SimNameNode", node_id: str, block_id: int) -> None:
        """What is ordered away is not needed, by what its NameNode may believe, and by what is true.

        It may be mistaken in one copy: faults destroy no more of a block before it has noticed.
        """
        record = namenode.view.block(block_id)
        if record is None:
            return
        cluster, true = self._cluster, self._cluster.holders[block_id]
        sure = wrong = 0
        for replica in namenode.store.replicas(block_id):
            if replica.corrupt or namenode.manager._nodes.get(replica.number) is None:
                continue
            if is_sure(namenode, block_id, replica):
                sure += 1
                wrong += cluster.truth.names[replica.number] not in true
        if sure < record.replication:
            raise InvariantBrokenError(
                "B5", f"{node_id} is to delete {block_id} for {sure} copies that are sure"
            )
        if cluster.datanodes[node_id].fence > namenode.view.reign and not cluster.mutant.obeys_deposed:
            return  # deposed without knowing it, as after a pause: its order is refused
        staying = [n for n in true if n != node_id and not cluster.datanodes[n].is_losing(block_id)]
        if len(staying) + min(wrong, 1) < record.replication:
            raise InvariantBrokenError("B6", f"{node_id} is to delete {block_id}, of which {staying} stay")

    def _expected(self, number: int) -> bool:
        return self._cluster.truth.names[number] in self._cluster.maintained

    # --- what happens inside ---

    def watch(self, namenode: "SimNameNode") -> None:
        """Look over the shoulder of its block manager."""
        manager = namenode.manager
        self._passed_over[namenode.name] = {}  # a process that has just started passed over none
        copies, intake = manager.replicator._copies, manager._intake
        start, confirmed = copies.start, intake._confirmed

        def watched_start(block_id: int, copy: Copy) -> None:
            self._cluster.stats["copies wanted"] += 1
            self._in_order(namenode, block_id)
            start(block_id, copy)

        def watched_confirmed(node: DataNode, report: FullReport) -> None:
            self._taken_in(namenode, node, report)
            confirmed(node, report)

        copies.start = watched_start  # type: ignore[method-assign]
        intake._confirmed = watched_confirmed  # type: ignore[method-assign]
        self.moving.watch(namenode, lambda block_id: self._in_order(namenode, block_id))

    def _in_order(self, namenode: "SimNameNode", block_id: int) -> None:
        """Nothing better off gets again and again what a block with one copy left could have had."""
        replicator, now_ns = namenode.manager.replicator, self._cluster.world.now_ns
        urgent, passed_over = replicator._queues.at(Level.ONE_LEFT), self._passed_over[namenode.name]
        passed_over.pop(block_id, None)
        if block_id in urgent or not urgent:
            return
        busy_sources, busy_targets = replicator._copies.busy(urgent=True)
        waiting = (other for other in urgent if other not in replicator._copies)
        for other in islice(waiting, WAITING_SAMPLE):
            record = namenode.view.block(other)
            if record is None or not record.complete:
                continue
            health = replicator._examine(other, record)
            free = any(n not in busy_sources and replicator._obeys(n) for n in health.good)
            could = health.level is Level.ONE_LEFT and free
            if not could or not replicator._targets(other, record, health, busy_targets):
                passed_over.pop(other, None)
            elif now_ns - passed_over.setdefault(other, now_ns) > PASSED_OVER_NS:
                raise InvariantBrokenError(
                    "RepairOrder", f"{namenode.name} copies {block_id} while {other} has one copy left"
                )

    def _taken_in(self, namenode: "SimNameNode", node: DataNode, report: FullReport) -> None:
        """Once a full report counts, its DataNode's locations are true, but for what happened just now."""
        disk = self._cluster.datanodes[node.row.node_id]
        number = node.number
        known = set(namenode.store.blocks_of(number, limit=1 << 30))
        before_ns = report.began_ns - IN_FLIGHT_NS
        for block_id in disk.good.keys() - known:
            if disk.stored_ns[block_id] <= before_ns and namenode.view.block(block_id) is not None:
                raise InvariantBrokenError("B11", f"{namenode.name} does not know {block_id} of {disk.name}")
        before_ns = report.began_ns - PHANTOM_NS
        expected = namenode.manager.replicator._expected
        for block_id in known - disk.good.keys() - disk.rotten.keys() - disk.aside:
            if (number, block_id) in expected:
                continue  # only the journal told of it, and it is not trusted
            if disk.gone_ns.get(block_id, before_ns) < before_ns:
                raise InvariantBrokenError(
                    "B11", f"{namenode.name} still believes in {block_id} of {disk.name}"
                )
