"""A DataNode of the simulation: disks that keep what they have, and a process that speaks of it."""

from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import msgspec

from esdfs.datanode.replica import BlockKey, Replica
from esdfs.datanode.reports import Deltas, Report, full_report
from esdfs.errors import EsdfsError, IdentityConflict, UnknownDataNode, Unreachable
from tests.sim.blocks.namespace import BLOCK_BYTES
from tests.sim.world import MS

if TYPE_CHECKING:
    from tests.sim.blocks.cluster import Cluster
    from tests.sim.blocks.namenode import SimNameNode

DISKS = 2
TIMEOUT_NS = 10_000 * MS
ORDER_VALID_NS = 10_000 * MS
Process = Generator[int, None, None]


class Link:
    """What one NameNode is told, in the order of ``NameNodeLink.run``."""

    def __init__(self, node: "SimDataNode", namenode: "SimNameNode") -> None:
        self.namenode = namenode
        self.deltas = Deltas()
        self.dirty = False
        self.reachable = True
        self._node = node
        self._cluster = node.cluster
        self._registered = False
        self._full_due = True
        self._seq = 0

    def run(self) -> Process:
        node, network = self._node, self._cluster.network
        while True:
            try:
                yield from self._exchange()
                wait_ns = network.jittered(self._cluster.heartbeat_ns)
            except IdentityConflict:
                raise  # a simulated DataNode has one process at a time: nobody may be told otherwise
            except UnknownDataNode:
                self._registered = False
                wait_ns = network.jittered(500 * MS)
            except EsdfsError:
                wait_ns = network.jittered(2_000 * MS)
            until_ns = self._cluster.world.now_ns + wait_ns
            while self._cluster.world.now_ns < until_ns:
                yield min(network.jittered(1_000 * MS), until_ns - self._cluster.world.now_ns)
                if self.dirty and not node.sluggish and self._registered:
                    try:
                        yield from self._report()
                    except EsdfsError:
                        break

    def _exchange(self) -> Process:
        node = self._node
        if not self._registered:
            yield from self._call("register", node.registration())
            self._registered = self._full_due = True
        sent_ns = self._cluster.world.now_ns
        answer: dict[str, Any] = {}
        yield from self._call("heartbeat", node.state(), answer)
        self._full_due = self._full_due or answer["full_report"]
        node.hear(answer, sent_ns)
        if not (node.sluggish and self._cluster.network.chance.random() < 0.7):
            yield from self._report()

    def _report(self) -> Process:
        if self._full_due:
            self.deltas.clear()
            epoch = self._node.fence
            for page in full_report(self._node.replicas(), self._node.set_aside(), self._cluster.page):
                yield from self._deliver(page, epoch)
                yield self._cluster.network.jittered(20 * MS)
            self._full_due = False
        self.dirty = False
        while (news := self.deltas.take()) is not None:
            try:
                yield from self._deliver(news)
            except EsdfsError:
                self.deltas.back(news)
                self.dirty = True
                raise

    def _deliver(self, report: Report, epoch: int = 0) -> Process:
        yield from self._call("report", {"epoch": epoch, **msgspec.structs.asdict(report)})

    def _call(self, kind: str, body: dict[str, Any], answer: dict[str, Any] | None = None) -> Process:
        node, network, namenode = self._node, self._cluster.network, self.namenode
        self._seq += 1
        body = {"incarnation": node.incarnation, "seq": self._seq, **body}
        fate = network.fate(self)
        if fate == "late" or (fate != "lost" and namenode.paused):
            delay_ns = network.late()
            self._cluster.world.after(delay_ns, namenode.late, kind, node.name, body)
            yield min(TIMEOUT_NS, network.jittered(3_000 * MS))
            raise Unreachable("no answer in time")
        if fate == "lost":
            yield network.jittered(1_000 * MS)
            raise Unreachable("not reached")
        if (latency_ns := network.latency()) > 0:
            yield latency_ns
        told = namenode.call(kind, node.name, body)
        if fate == "no answer":
            yield network.jittered(3_000 * MS)
            raise Unreachable("no answer")
        if answer is not None:
            answer.update(told)


class SimDataNode:
    """Up or down.

    Attributes:
        good, rotten: Blocks by the disk they are on; nobody knows yet which are rotten.
        aside: Corrupt ones that were noticed.
        capacity_blocks: As many would fill it.
        destroyed: Gone for good, disks and all.
        sluggish: Late with reports, and slow at whatever it is ordered to do.
        deleting: Orders to delete that it has taken and not carried out: when it asked for them.
    """

    def __init__(self, cluster: "Cluster", name: str, host: str, rack: str) -> None:
        self.cluster = cluster
        self.name, self.host, self.rack = name, host, rack
        self.good: dict[int, int] = {}
        self.rotten: dict[int, int] = {}
        self.aside: set[int] = set()
        self.stored_ns: dict[int, int] = {}
        self.capacity_blocks = 100_000
        self.incarnation = 0
        self.up = self.destroyed = self.sluggish = False
        self.fence = 0
        self.deleting: dict[tuple[int, int], int] = {}
        self.gone_ns: dict[int, int] = {}
        self.links: list[Link] = []
        self._transfers: deque[tuple[dict[str, Any], int, int]] = deque()
        self._bytes_per_s = 0
        self._chance = cluster.world.rng(name)

    # --- life ---

    def start(self) -> None:
        assert not self.up, "one process at a time"
        assert not self.destroyed, "it is gone"
        self.up = True
        self.incarnation += 1
        self.links = [Link(self, namenode) for namenode in self.cluster.namenodes]
        for link in self.links:
            self.cluster.world.after(
                self.cluster.network.jittered(500 * MS), self._step, link.run(), self.incarnation
            )

    def crash(self) -> None:
        self.up = False
        self.deleting.clear()
        self._transfers.clear()

    def destroy(self) -> None:
        """Nothing of it will be seen again."""
        self.crash()
        self.destroyed = True
        for block_id in list(self.good):
            self._forget(block_id)
        self.rotten.clear()

    def _step(self, process: Process, incarnation: int) -> None:
        if not self.up or incarnation != self.incarnation:
            return
        self.cluster.world.after(next(process), self._step, process, incarnation)

    # --- disks ---

    def store(self, block_id: int) -> None:
        """A copy arrived whole."""
        self.plant(block_id)
        self._say("stored", BlockKey(block_id, 1), BLOCK_BYTES)

    def plant(self, block_id: int) -> None:
        """It has had a copy all along."""
        self.rotten.pop(block_id, None)
        self.aside.discard(block_id)
        self.good[block_id] = self._chance.randrange(DISKS)
        self.stored_ns[block_id] = self.cluster.world.now_ns
        self.cluster.holders.setdefault(block_id, set()).add(self.name)

    def _forget(self, block_id: int) -> None:
        del self.good[block_id]
        self.stored_ns.pop(block_id, None)
        self.gone_ns[block_id] = self.cluster.world.now_ns
        self.cluster.holders[block_id].discard(self.name)

    def rot(self, block_id: int) -> None:
        """A bit flips, and nobody notices."""
        self.rotten[block_id] = self.good[block_id]
        self._forget(block_id)

    def notice(self, block_id: int) -> None:
        """The scrubber, or a reader, finds a rotten block."""
        del self.rotten[block_id]
        self.aside.add(block_id)
        self._say("corrupt", BlockKey(block_id, 1))

    def lose(self, block_id: int) -> None:
        """It is on a disk that broke; with the process down nobody says so."""
        self._forget(block_id)
        if self.up:
            self._say("removed", BlockKey(block_id, 1))

    def replicas(self) -> list[Replica]:
        return [
            Replica(block_id, 1, disk, BLOCK_BYTES, BLOCK_BYTES, 0, 0)
            for block_id, disk in sorted((self.good | self.rotten).items())
        ]

    @property
    def used_bytes(self) -> int:
        """By replicas; what is set aside is none any more."""
        return (len(self.good) + len(self.rotten)) * BLOCK_BYTES

    @property
    def available_bytes(self) -> int:
        taken_bytes = self.used_bytes + len(self.aside) * BLOCK_BYTES
        return max(0, self.capacity_blocks * BLOCK_BYTES - taken_bytes)

    def set_aside(self) -> list[BlockKey]:
        return [BlockKey(block_id, 1) for block_id in sorted(self.aside)]

    def _say(self, what: str, *news: Any) -> None:
        for link in self.links:
            getattr(link.deltas, what)(*news)
            link.dirty = True

    # --- what it says ---

    def registration(self) -> dict[str, Any]:
        return {
            "node_id": self.name,
            "uuid": f"uuid of {self.name}",
            "cluster_id": self.cluster.settings.cluster_id,
            "hostname": self.host,
            "rack": self.rack,
            "port": 9000,
            **self.state(),
        }

    def state(self) -> dict[str, Any]:
        return {
            "storage_capacity": self.capacity_blocks * BLOCK_BYTES,
            "available_space": self.available_bytes,
            "used_bytes": self.used_bytes,
            "blocks_stored": len(self.good) + len(self.rotten),
        }

    # --- what it is told ---

    def hear(self, answer: dict[str, Any], sent_ns: int) -> None:
        epoch = answer["epoch"]
        self.fence = max(self.fence, epoch)
        if epoch < self.fence and not self.cluster.mutant.obeys_deposed:
            return
        for order in answer["commands"]:
            if order["kind"] == "delete":
                self.deleting[int(order["block_id"]), epoch] = sent_ns
                self.cluster.checkers.ordered_away(self, int(order["block_id"]))
            self._later(order, epoch, sent_ns)

    @property
    def transfers_left(self) -> int:
        """It was told to move so many blocks and will, whether or not anybody still waits for them."""
        return len(self._transfers)

    def is_losing(self, block_id: int) -> bool:
        """Whether it was told to delete a block, and will."""
        mutant, since_ns = self.cluster.mutant, self.cluster.world.now_ns - ORDER_VALID_NS
        return any(
            block_id == losing
            and (epoch == self.fence or mutant.obeys_deposed)
            and (sent_ns >= since_ns or mutant.obeys_late)
            for (losing, epoch), sent_ns in self.deleting.items()
        )

    def _later(self, order: dict[str, Any], epoch: int, sent_ns: int) -> None:
        if order["kind"] == "transfer":
            self._transfers.append((order, epoch, sent_ns))
            self._bytes_per_s = order["bytes_per_s"]
            if len(self._transfers) == 1:
                self._transfer_next()
            return
        most_ms = 30_000 if self.sluggish else 1_500 if order["kind"] == "delete" else 5_000
        delay_ns = self._chance.randrange(50, most_ms) * MS
        if self.cluster.network.chance.random() < self.cluster.network.repeats:
            again_ns = delay_ns + self._chance.randrange(2_000) * MS
            self.cluster.world.after(again_ns, self._obey, order, epoch, sent_ns, self.incarnation)
        self.cluster.world.after(delay_ns, self._obey, order, epoch, sent_ns, self.incarnation)

    def _transfer_next(self) -> None:
        """One at a time, at the rate it was told last."""
        delay_ns = self._chance.randrange(50, 10_000 if self.sluggish else 1_000) * MS
        pace_ns = max(delay_ns, BLOCK_BYTES * 10**9 // self._bytes_per_s)
        _, epoch, _ = self._transfers[0]
        self.cluster.world.after(0 if epoch < self.fence else pace_ns, self._transferred, self.incarnation)

    def _transferred(self, incarnation: int) -> None:
        if not self.up or incarnation != self.incarnation:
            return
        self._obey(*self._transfers.popleft(), incarnation)
        if self._transfers:
            self._transfer_next()

    def _obey(self, order: dict[str, Any], epoch: int, sent_ns: int, incarnation: int) -> None:
        if not self.up or incarnation != self.incarnation:
            return
        block_id = int(order["block_id"])
        deletes = order["kind"] == "delete"
        if deletes:
            self._taken_up(block_id, epoch, sent_ns)
        if epoch < self.fence and not self.cluster.mutant.obeys_deposed:
            self.cluster.stats["fenced"] += 1
        elif not deletes:
            self._copy(block_id, order["targets"], "moved" if order["kind"] == "transfer" else "copied")
        elif self.cluster.world.now_ns - sent_ns > ORDER_VALID_NS and not self.cluster.mutant.obeys_late:
            self.cluster.stats["expired"] += 1
        else:
            self._delete(block_id)

    def _taken_up(self, block_id: int, epoch: int, sent_ns: int) -> None:
        if self.deleting.get((block_id, epoch)) == sent_ns:
            del self.deleting[block_id, epoch]

    def _delete(self, block_id: int) -> None:
        self.gone_ns[block_id] = self.cluster.world.now_ns
        if block_id in self.aside:
            self.aside.discard(block_id)
            self._say("removed", BlockKey(block_id, 1))
        if block_id in self.rotten:
            del self.rotten[block_id]
            self._say("removed", BlockKey(block_id, 1))
        elif block_id in self.good:
            self._forget(block_id)
            self.cluster.stats["deleted"] += 1
            self.cluster.checkers.deleted(self, block_id)
            self._say("removed", BlockKey(block_id, 1))

    def _copy(self, block_id: int, targets: list[dict[str, str]], done: str) -> None:
        if block_id in self.rotten:
            self.notice(block_id)
        for target in targets:
            other = self.cluster.datanodes[target["node_id"]]
            reached = other.up and other.available_bytes >= BLOCK_BYTES and not self.cluster.network.fails()
            works = block_id in self.good and reached
            if works and block_id not in other.good and block_id not in other.rotten:
                other.store(block_id)
                self.cluster.stats[done] += 1
            elif not works:
                self._say("replication_failed", BlockKey(block_id, 1), other.name)
