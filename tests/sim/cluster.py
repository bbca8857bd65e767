"""Simulated nodes, the network between them, and the checkers that watch them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from esdfs.ids import ORIGIN, NodeId, Txid
from esdfs.journal.entry import NO_CHAIN, Entry, Identity
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.messages import CheckpointOffer, Message, SyncResponse
from esdfs.journal.quorum.voters import Voter, VoterKind, VoterSet
from tests.sim.checkers import Checkers
from tests.sim.disk import Disk, Image
from tests.sim.machine import Machine
from tests.sim.mutants import Mutant
from tests.sim.node import SimNode
from tests.sim.world import MS, World


@dataclass
class Physics:
    """How fast and how reliable the simulated hardware is."""

    latency_ns: tuple[int, int] = (300_000, 1_500_000)
    fsync_ns: tuple[int, int] = (200_000, 600_000)
    hiccup: float = 0.01  # of fsyncs take some milliseconds more
    loss: float = 0.0
    duplicated: float = 0.0
    delayed: float = 0.0
    damaged: float = 0.0
    cut: set[tuple[NodeId, NodeId]] = field(default_factory=set)
    slow_disk_ns: dict[NodeId, int] = field(default_factory=dict)


class Cluster:
    """Nodes, their network, and the checkers that watch them."""

    def __init__(
        self,
        world: World,
        *,
        voters: list[tuple[NodeId, VoterKind]],
        observers: list[NodeId],
        config: QuorumConfig,
        mutant: Mutant,
    ) -> None:
        self.world, self.config, self.mutant = world, config, mutant
        self.physics = Physics()
        self.network_rng = world.rng("network")
        self.stats: dict[str, int] = dict.fromkeys(STATS, 0)
        self.kinds = dict(voters)
        self.voter_ids = [node_id for node_id, _ in voters]
        self.ids = [*self.voter_ids, *observers]
        self.checkpoint_every, self.records_kept = 10**9, 10**9
        self.taps: list[Callable[[NodeId, NodeId, Message], None]] = []
        self.checkers = Checkers(self)
        first = VoterSet(Voter(node_id, f"{node_id}.0", kind) for node_id, kind in voters)
        self.first_voters = first
        self.nodes = {node_id: SimNode(self, node_id, self.empty_disk(node_id, 0)) for node_id in self.ids}

    def empty_disk(self, node_id: NodeId, number: int) -> Disk:
        """A newly formatted disk: another storage id than all before it."""
        offer = CheckpointOffer(ORIGIN, NO_CHAIN, 0, Txid(0), self.first_voters)
        identity = Identity("sim", 1, node_id, f"{node_id}.{number}")
        return Disk(identity, Image(offer, Machine(dedup=self.mutant.dedup)))

    def boot_all(self) -> None:
        for node in self.nodes.values():
            node.boot()

    def leader(self) -> SimNode | None:
        """The running leader of the newest epoch."""
        leaders = [node for node in self.nodes.values() if node.is_up and not node.is_paused]
        leaders = [node for node in leaders if node.core.is_leader]
        return max(leaders, key=lambda node: node.core.epoch, default=None)

    def transmit(self, sender: SimNode, to: NodeId, message: Message) -> None:
        """Put a message on the wire: it may be lost, late, doubled or damaged."""
        self.checkers.sent(sender, message)
        for tap in self.taps:
            tap(sender.node_id, to, message)
        physics, rng = self.physics, self.network_rng
        if (sender.node_id, to) in physics.cut or (physics.loss and rng.random() < physics.loss):
            return
        copies = 2 if physics.duplicated and rng.random() < physics.duplicated else 1
        for _ in range(copies):
            delay = rng.randrange(*physics.latency_ns)
            if physics.delayed and rng.random() < physics.delayed:
                delay += int(rng.expovariate(1 / (40 * MS)))
            carried = message
            if physics.damaged and rng.random() < physics.damaged:
                carried = _damaged(message)
            self.world.after(delay, self._deliver, self.nodes[to], carried)

    def _deliver(self, node: SimNode, message: Message) -> None:
        node.handle(node.receive, message)


STATS = (
    "crashes",
    "wiped disks",
    "lost tails",
    "unreadable floors",
    "cuts",
    "freezes",
    "transfers",
    "voter changes",
    "elections",
    "commits",
    "acknowledged writes",
    "reads",
    "truncations",
    "compactions",
    "checkpoints installed",
)


def _damaged(message: Message) -> Message:
    """A bit of a record flipped on the way."""
    if not isinstance(message, SyncResponse) or not message.records:
        return message
    entry = message.records[-1]
    flipped = bytes([entry.payload[0] ^ 1]) + entry.payload[1:]
    records: tuple[Entry, ...] = (*message.records[:-1], msgspec.structs.replace(entry, payload=flipped))
    return msgspec.structs.replace(message, records=records)
