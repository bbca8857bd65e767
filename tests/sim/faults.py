"""What goes wrong, and when it stops: a swarm of fault classes, each seed with its own mix.

Faults stay within what the design survives: at most one disk loses data at a time, in clusters of at
least three voters, and never while a change of voters is under way.
"""

import msgspec

from esdfs.ids import NodeId
from tests.sim.cluster import Cluster
from tests.sim.node import SimNode
from tests.sim.world import MS

KINDS = (
    "crash",
    "mass crash",
    "leader crash",
    "cut",
    "lone leader",
    "freeze",
    "network",
    "slow disk",
    "clock",
    "wiped disk",
    "lost tail",
    "unreadable floor",
)
_STORAGE = ("wiped disk", "lost tail", "unreadable floor")


class Faults:
    """The nemesis of one run.

    Args:
        kinds: Which faults happen.
        pause_ns: Mean time between two.
        until_ns: When everything is repaired.
        election_crash: How likely a new leader is killed within five round trips.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        kinds: list[str],
        pause_ns: int,
        until_ns: int,
        election_crash: float,
        boot_ns: int = 1500 * MS,
    ) -> None:
        self._cluster, self._world = cluster, cluster.world
        self._rng = cluster.world.rng("faults")
        self._kinds, self._pause_ns, self._until_ns = kinds, pause_ns, until_ns
        self._election_crash, self._boot_ns = election_crash, boot_ns
        self.are_on = True
        self.storage_fault: NodeId | None = None
        self._is_wiped = False
        self._disks = dict.fromkeys(cluster.ids, 0)
        self._seen_epoch = 0
        self._world.after(300 * MS, self._strike)
        if election_crash:
            self._world.after(MS, self._watch_elections)

    # --- when ---

    def _soon(self, mean_ns: int) -> int:
        return int(self._rng.expovariate(1 / mean_ns))

    def _strike(self) -> None:
        if self._world.now_ns >= self._until_ns:
            self._heal()
            return
        self._world.after(self._soon(self._pause_ns), self._strike)
        self._check_recovery()
        kind = self._rng.choice(self._kinds)
        if kind in _STORAGE:
            self._storage(kind)
        else:
            getattr(self, "_" + kind.replace(" ", "_"))()

    def _watch_elections(self) -> None:
        """Aim at new leaders: the famous bugs live between an election and its first commit."""
        if self._world.now_ns >= self._until_ns:
            return
        self._world.after(3 * MS, self._watch_elections)
        leader = self._cluster.leader()
        if leader is not None and leader.core.epoch > self._seen_epoch:
            self._seen_epoch = leader.core.epoch
            if self._rng.random() < self._election_crash:
                delay = self._rng.randrange(5 * self._cluster.physics.latency_ns[1])
                self._world.after(delay, self._kill, leader, leader.life, 400 * MS)

    def _kill(self, node: SimNode, life: int, down_ns: int) -> None:
        if node.is_up and node.life == life:
            self._cluster.stats["crashes"] += 1
            node.crash(keeps_projection=self._rng.random() < 0.5)
            self._world.after(self._soon(down_ns), self._boot, node)

    def _boot(self, node: SimNode) -> None:
        if not node.is_up:
            node.boot()

    def _heal(self) -> None:
        self.are_on = False
        physics = self._cluster.physics
        physics.cut.clear()
        physics.loss = physics.duplicated = physics.delayed = physics.damaged = 0.0
        physics.slow_disk_ns.clear()
        for node in self._cluster.nodes.values():
            node.resume()
            self._boot(node)

    def _anybody(self) -> SimNode:
        return self._cluster.nodes[self._rng.choice(self._cluster.ids)]

    def _leader_or_anybody(self) -> SimNode:
        return self._cluster.leader() or self._anybody()

    # --- processes ---

    def _crash(self) -> None:
        node = self._anybody()
        self._kill(node, node.life, self._boot_ns)

    def _mass_crash(self) -> None:
        for node in self._cluster.nodes.values():
            if self._rng.random() < 0.7:
                self._kill(node, node.life, self._boot_ns)

    def _leader_crash(self) -> None:
        leader = self._cluster.leader()
        if leader is not None:
            self._kill(leader, leader.life, 1000 * MS)

    def _freeze(self) -> None:
        node = self._anybody() if self._rng.random() < 0.5 else self._leader_or_anybody()
        if node.is_up and not node.is_paused:
            self._cluster.stats["freezes"] += 1
            node.pause()
            self._world.after(self._soon(800 * MS), self._thaw, node, node.life)

    def _thaw(self, node: SimNode, life: int) -> None:
        if node.life == life:
            node.resume()

    def _clock(self) -> None:
        self._anybody().change_clock_rate()

    # --- network and disk speed ---

    def _cut(self) -> None:
        rng, ids = self._rng, self._cluster.ids
        self._cluster.stats["cuts"] += 1
        shape = rng.random()
        if shape < 0.3:  # two sides
            side = {node_id for node_id in ids if rng.random() < 0.5}
            pairs = {(a, b) for a in ids for b in ids if (a in side) != (b in side)}
        elif shape < 0.55:  # one node alone
            lone = self._leader_or_anybody().node_id
            pairs = {(lone, b) for b in ids} | {(b, lone) for b in ids}
        elif shape < 0.75:  # one node deaf or mute
            lone = self._leader_or_anybody().node_id
            is_mute = rng.random() < 0.5
            pairs = {(lone, b) if is_mute else (b, lone) for b in ids}
        else:  # some links, in one direction
            pairs = {(a, b) for a in ids for b in ids if a != b and rng.random() < 0.3}
        cut = self._cluster.physics.cut
        cut |= pairs
        self._world.after(self._soon(2000 * MS), cut.difference_update, pairs)

    def _lone_leader(self) -> None:
        """Aimed at reads and leases: the others elect a leader while the old one still thinks it leads."""
        leader = self._cluster.leader()
        if leader is None:
            return
        self._cluster.stats["cuts"] += 1
        lone, cut = leader.node_id, self._cluster.physics.cut
        cut.clear()
        pairs = {(lone, b) for b in self._cluster.ids} | {(b, lone) for b in self._cluster.ids}
        cut |= pairs
        self._world.after(self._soon(2000 * MS), cut.difference_update, pairs)

    def _network(self) -> None:
        rng, physics = self._rng, self._cluster.physics
        physics.loss = rng.choice((0.0, 0.0, 0.02, 0.1, 0.3))
        physics.duplicated = rng.choice((0.0, 0.0, 0.05, 0.3))
        physics.delayed = rng.choice((0.0, 0.0, 0.05, 0.3))
        physics.damaged = rng.choice((0.0, 0.0, 0.02, 0.1))

    def _slow_disk(self) -> None:
        slow = self._cluster.physics.slow_disk_ns
        slow.clear()
        slow[self._anybody().node_id] = self._rng.choice((0, 5, 30, 150, 7000)) * MS

    # --- disks that lose data ---

    def _may_lose_data(self) -> bool:
        cluster, leader = self._cluster, self._cluster.leader()
        if self.storage_fault or leader is None or len(leader.core.voters) < 3 or len(cluster.voter_ids) < 3:
            return False
        commit_txid = leader.core.commit_txid
        settled = all(node.is_up and node.core.voters_txid <= commit_txid for node in cluster.nodes.values())
        return settled and all(
            cluster.nodes[voter.node_id].disk.identity.storage_id == voter.storage_id
            for voter in leader.core.voters
        )

    def _storage(self, kind: str) -> None:
        cluster, rng = self._cluster, self._rng
        if not self._may_lose_data():
            return
        node = cluster.nodes[rng.choice(cluster.voter_ids)]
        disk = node.disk
        if kind == "lost tail" and not disk.entries:
            return
        self.storage_fault, self._is_wiped = node.node_id, kind == "wiped disk"
        node.crash(keeps_projection=kind != "wiped disk" and rng.random() < 0.5)
        if kind == "lost tail" and not disk.entries:
            kind = "unreadable floor"  # the crash itself installed a checkpoint
        self._world.after(self._soon(800 * MS), self._boot, node)
        if kind == "wiped disk":
            cluster.stats["wiped disks"] += 1
            self._wipe(node)
            return
        cluster.checkers.lost_records(disk.identity.storage_id)
        if kind == "unreadable floor":
            cluster.stats["unreadable floors"] += 1
            disk.floor = None
            return
        cluster.stats["lost tails"] += 1
        first = max(0, len(disk.entries) - 1 - rng.randrange(6))
        if rng.random() < 0.5:
            del disk.entries[first:]
        else:  # a flipped bit: found at the next start, and cut off there
            entry = disk.entries[first]
            disk.entries[first] = msgspec.structs.replace(entry, ts_us=entry.ts_us ^ 1)

    def _wipe(self, node: SimNode) -> None:
        former = node.disk.identity.storage_id
        self._disks[node.node_id] += 1
        incarnation = node.disk.incarnation
        node.disk = self._cluster.empty_disk(node.node_id, self._disks[node.node_id])
        node.disk.incarnation = incarnation
        self._cluster.checkers.lost_records(former)
        if self._cluster.mutant.wiped_disk_keeps_its_name:
            node.disk.identity = msgspec.structs.replace(node.disk.identity, storage_id=former)
            self.storage_fault = None

    def _check_recovery(self) -> None:
        """A disk that lost records counts as whole once it has them again."""
        if self.storage_fault is None or self._is_wiped:
            return
        node = self._cluster.nodes[self.storage_fault]
        floor = node.disk.floor
        if node.is_up and not node.core.is_recovering and floor is not None and floor <= node.disk.last:
            self._cluster.checkers.recovered(node)
            self.storage_fault = None

    def replaced(self, leader: SimNode, *, is_complete: bool) -> None:
        """The operator sees no voter missing: a wiped disk was replaced."""
        if self._is_wiped and is_complete and leader.core.voters_txid <= leader.core.commit_txid:
            self.storage_fault, self._is_wiped = None, False
