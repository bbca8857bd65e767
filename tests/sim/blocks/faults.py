"""What goes wrong with DataNodes, disks and NameNodes: each seed has its own mix.

Copies may be destroyed only as fast as two copies can bear: a block that a NameNode still believes to be
where it is not, loses no further copy, nor the last one that nobody was ordered to delete.
"""

from random import Random

from esdfs.namenode import events as ev
from tests.sim.blocks.cluster import Cluster
from tests.sim.blocks.datanode import DISKS, SimDataNode
from tests.sim.blocks.namenode import SimNameNode
from tests.sim.blocks.namespace import Commit, Namespace
from tests.sim.world import MS

KINDS = (
    "crash",
    "long crash",
    "cut",
    "rack loss",
    "mass failure",
    "lost disk",
    "disk lost while down",
    "lost node",
    "rot",
    "sluggish",
    "maintenance",
    "decommission",
    "pause",
    "restart",
    "reboot",
    "failover",
    "flaky network",
)


class Faults:
    """The nemesis of one run."""

    def __init__(self, cluster: Cluster, *, kinds: list[str], pause_ns: int, until_ns: int) -> None:
        self._cluster, self._world = cluster, cluster.world
        self._chance: Random = cluster.world.rng("faults")
        self._kinds, self._pause_ns, self._until_ns = kinds, pause_ns, until_ns
        self._over = False

    def begin(self) -> None:
        self._world.after(self._pause_ns, self._strike)

    def _strike(self) -> None:
        if self._world.now_ns >= self._until_ns:
            return
        self._world.after(int(self._chance.expovariate(1 / self._pause_ns)), self._strike)
        kind = self._chance.choice(self._kinds)
        getattr(self, "_" + kind.replace(" ", "_"))()

    def _count(self, what: str) -> None:
        self._cluster.stats[what] += 1

    def _soon(self, least_ms: int, most_ms: int) -> int:
        return self._chance.randrange(least_ms, most_ms) * MS

    def _any(self, *, up: bool = True) -> SimDataNode | None:
        found = [node for node in self._cluster.disks() if node.up or not up]
        return self._chance.choice(found) if found else None

    # --- DataNodes ---

    def _crash(self) -> None:
        if (node := self._any()) is not None:
            self._down(node, self._soon(100, 15_000))

    def _long_crash(self) -> None:
        if (node := self._any()) is not None:
            self._down(node, self._soon(20_000, 90_000))

    def _down(self, node: SimDataNode, for_ns: int) -> None:
        self._count("crashes")
        node.crash()
        self._world.after(for_ns, self._up, node)

    def _up(self, node: SimDataNode) -> None:
        if not node.up and not node.destroyed:
            node.start()

    def _cut(self) -> None:
        if (node := self._any()) is not None:
            both = self._chance.random() < 0.5
            links = node.links if both else [self._chance.choice(node.links)]
            self._unplug(links, self._soon(2_000, 60_000))

    def _unplug(self, links: list, for_ns: int) -> None:  # type: ignore[type-arg]
        self._count("cuts")
        for link in links:
            link.reachable = False
        self._world.after(for_ns, self._plug, links)

    def _plug(self, links: list) -> None:  # type: ignore[type-arg]
        for link in links:
            link.reachable = True

    def _rack_loss(self) -> None:
        racks = sorted({node.rack for node in self._cluster.disks()})
        rack = self._chance.choice(racks)
        nodes = [node for node in self._cluster.disks() if node.rack == rack and node.up]
        self._count("racks lost")
        power = self._chance.random() < 0.5
        for_ns = self._soon(10_000, 80_000)
        for node in nodes:
            if power:
                self._down(node, for_ns + self._soon(0, 5_000))
            else:
                self._unplug(node.links, for_ns)

    def _mass_failure(self) -> None:
        nodes = [node for node in self._cluster.disks() if node.up]
        self._count("mass failures")
        for_ns = self._soon(35_000, 90_000)
        for node in self._chance.sample(nodes, int(len(nodes) * self._chance.uniform(0.4, 0.7))):
            self._unplug(node.links, for_ns + self._soon(0, 3_000))

    def _sluggish(self) -> None:
        if (node := self._any()) is not None:
            self._count("slow nodes")
            node.sluggish = True
            self._world.after(self._soon(10_000, 60_000), self._brisk, node)

    def _brisk(self, node: SimDataNode) -> None:
        node.sluggish = False

    # --- operators ---

    def _maintenance(self) -> None:
        if (node := self._any()) is not None and self._cluster.leader() is not None:
            self._count("maintenances")
            for_ns = self._soon(5_000, 90_000)
            if self._wish(node, "maintenance", for_ns):
                self._cluster.maintained.add(node.name)
                self._down(node, for_ns)
                self._world.after(for_ns + 60_000 * MS, self._cluster.maintained.discard, node.name)

    def _decommission(self) -> None:
        if (node := self._any()) is not None and self._cluster.leader() is not None:
            self._count("decommissionings")
            self._wish(node, "decommissioning")
            self._world.after(self._soon(20_000, 120_000), self._back, node)

    def _back(self, node: SimDataNode) -> None:
        self._wish(node, "in-service")

    def _wish(self, node: SimDataNode, state: str, for_ns: int = 0) -> bool:
        number = self._cluster.truth.numbers.get(node.name)
        if number is None:
            return False
        until_us = (self._world.now_ns + for_ns) // 1_000 if for_ns else 0
        wish = ev.DataNodeStateSet(number, node.name, state, until_us, "")

        def change(namespace: Namespace) -> None:
            namespace.wishes[number] = wish

        self._cluster.commit(Commit(change, [wish]))
        return True

    # --- disks ---

    def may_destroy(self, node: SimDataNode, block_id: int) -> bool:
        """See the head of this module."""
        if block_id in self._cluster.futures:
            return False
        others = self._cluster.holders[block_id] - {node.name}
        ordered = any(disk.is_losing(block_id) for disk in map(self._disk, self._cluster.holders[block_id]))
        if ordered and all(self._disk(name).is_losing(block_id) for name in others):
            return False
        return not any(self._believes_wrongly(namenode, block_id) for namenode in self._cluster.namenodes)

    def _disk(self, name: str) -> SimDataNode:
        return self._cluster.datanodes[name]

    def _believes_wrongly(self, namenode: SimNameNode, block_id: int) -> bool:
        if not namenode.up:
            return True  # what it will believe is not known
        if block_id not in namenode.view.records:
            return False
        for replica in namenode.store.replicas(block_id):
            name = self._cluster.truth.names[replica.number]
            known = namenode.manager._nodes.get(replica.number)
            gone = known is None or (self._disk(name).destroyed and not known.counts)
            if not replica.corrupt and not gone and name not in self._cluster.holders[block_id]:
                return True
        return False

    def _lost_disk(self) -> None:
        if (node := self._any()) is not None:
            self._lose_disk(node)

    def _lose_disk(self, node: SimDataNode) -> None:
        disk = self._chance.randrange(DISKS)
        lost = [b for b, on in node.good.items() if on == disk and self.may_destroy(node, b)]
        for block_id in lost:
            node.lose(block_id)
        self._count("disks lost")
        self._cluster.stats["copies lost"] += len(lost)

    def _disk_lost_while_down(self) -> None:
        if (node := self._any()) is not None:
            node.crash()
            self._count("crashes")
            self._lose_disk(node)
            self._world.after(self._soon(1_000, 60_000), self._up, node)

    def _lost_node(self) -> None:
        """It dies; when nobody counts on it any more, its disks are thrown away."""
        node = self._any()
        if node is None or len(self._cluster.disks()) < 20 or node.name in self._cluster.futures.values():
            return
        self._count("crashes")
        node.crash()
        self._world.after(self._soon(60_000, 90_000), self._throw_away, node)

    def _throw_away(self, node: SimDataNode) -> None:
        if node.up or node.destroyed:
            return
        if self._over or not all(self.may_destroy(node, block_id) for block_id in list(node.good)):
            node.start()
            return
        node.destroy()
        self._count("nodes lost")
        fresh = self._cluster.add_datanode(node.host, node.rack)
        fresh.start()

    def _rot(self) -> None:
        for _ in range(5):
            node = self._any(up=False)
            if node is None or not node.good:
                return
            block_id = self._chance.choice(sorted(node.good))
            if self.may_destroy(node, block_id):
                node.rot(block_id)
                self._count("rotted")
                self._world.after(self._soon(1_000, 120_000), self._scrub, node, block_id)
                return

    def _scrub(self, node: SimDataNode, block_id: int) -> None:
        if node.destroyed or block_id not in node.rotten:
            return
        if node.up:
            node.notice(block_id)
        else:
            self._world.after(10_000 * MS, self._scrub, node, block_id)

    # --- NameNodes ---

    def _awake(self) -> SimNameNode | None:
        found = [namenode for namenode in self._cluster.namenodes if namenode.up and not namenode.paused]
        return self._chance.choice(found) if found else None

    def _pause(self) -> None:
        if (namenode := self._awake()) is not None:
            self._count("pauses")
            namenode.pause()
            self._world.after(self._soon(500, 45_000), self._resume, namenode, namenode.life)
            if namenode.leading and self._chance.random() < 0.5:
                self._world.after(self._soon(300, 3_000), self._elect_another, namenode)

    def _resume(self, namenode: SimNameNode, life: int) -> None:
        if namenode.life == life and namenode.paused:
            namenode.resume()

    def _restart(self) -> None:
        self._stop(fresh=False)

    def _reboot(self) -> None:
        self._stop(fresh=True)

    def _stop(self, *, fresh: bool) -> None:
        if (namenode := self._awake()) is None:
            return
        self._count("NameNode reboots" if fresh else "NameNode restarts")
        led = namenode.leading
        namenode.crash()
        self._world.after(self._soon(200, 8_000), self._start, namenode, fresh)
        if led:
            self._world.after(self._soon(300, 3_000), self._elect_another, namenode)

    def _start(self, namenode: SimNameNode, fresh: bool) -> None:
        if not namenode.up:
            namenode.boot(fresh=fresh)
            self._elect_if_needed()

    def _failover(self) -> None:
        """Leadership is handed over."""
        leader = self._cluster.leader()
        if leader is not None:
            self._elect_another(leader)

    def _elect_another(self, not_this: SimNameNode) -> None:
        for namenode in self._cluster.namenodes:
            if namenode is not not_this and namenode.up and not namenode.paused:
                self._cluster.elect(namenode)
                return
        self._elect_if_needed()

    def _elect_if_needed(self) -> None:
        if self._cluster.leader() is None:
            for namenode in self._cluster.namenodes:
                if namenode.up and not namenode.paused:
                    self._cluster.elect(namenode)
                    return

    # --- the network ---

    def _flaky_network(self) -> None:
        network = self._cluster.network
        network.lost, network.unanswered = self._chance.uniform(0, 0.2), self._chance.uniform(0, 0.1)
        network.delayed, network.repeats = self._chance.uniform(0, 0.15), self._chance.uniform(0, 0.2)
        network.failing = self._chance.uniform(0, 0.3)

    # --- peace ---

    def heal(self) -> None:
        """Everything that can come back is back."""
        self._over = True
        self._cluster.network.calm()
        for namenode in self._cluster.namenodes:
            if namenode.paused:
                namenode.resume()
            if not namenode.up:
                namenode.boot()
        self._elect_if_needed()
        for node in self._cluster.disks():
            if self._cluster.truth.numbers.get(node.name) in self._cluster.truth.wishes:
                self._wish(node, "in-service")
            node.sluggish = False
            for link in node.links:
                link.reachable = True
            self._up(node)
            for block_id in sorted(node.rotten):
                node.notice(block_id)
