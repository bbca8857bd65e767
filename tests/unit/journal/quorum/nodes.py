"""A node of a three-voter cluster in the hands of a test: no network, no disk, no clock but the test's."""

import random

from esdfs.ids import ORIGIN, Epoch, Micros, Nanos, NodeId, Position, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import NO_CHAIN, Draft, Entry, Head, Identity, Vote
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import Effect, Persist, Send
from esdfs.journal.quorum.inputs import Instant, Stored
from esdfs.journal.quorum.messages import Envelope, HeartbeatRequest, Message, Refusal, VoteResponse
from esdfs.journal.quorum.node import QuorumNode
from esdfs.journal.quorum.voters import Voter, VoterSet
from tests.sim.machine import COMMAND, CONTROL
from tests.sim.world import SeededRng

MS = 1_000_000
A, B, C = NodeId("a"), NodeId("b"), NodeId("c")


def voters(*ids: NodeId) -> VoterSet:
    return VoterSet(Voter(node_id, f"{node_id}.0") for node_id in ids)


def at(epoch: int, txid: int) -> Position:
    return Position(Epoch(epoch), Txid(txid))


def draft(payload: bytes = b"x") -> Draft:
    return Draft(1, COMMAND, 1, payload)


def journal(*epochs: int) -> tuple[Entry, ...]:
    """Records with these epochs, from txid 1."""
    head, entries = Head(Epoch(0), Txid(0), NO_CHAIN), []
    for epoch in epochs:
        (entry,) = seal(head, Epoch(epoch), [draft()])
        head = Head(entry.epoch, entry.txid, entry.chain)
        entries.append(entry)
    return tuple(entries)


class Bench:
    """Node ``a`` and the effects it asked for."""

    def __init__(
        self,
        entries: tuple[Entry, ...] = (),
        *,
        vote: Vote | None = None,
        floor: Position | None = ORIGIN,
        members: VoterSet | None = None,
        committed: int = 0,
        config: QuorumConfig | None = None,
    ) -> None:
        ends = {entry.epoch: entry.position for entry in entries}
        last = entries[-1].position if entries else ORIGIN
        stored = Stored(
            Identity("cluster", 1, A, "a.0"),
            1,
            vote or Vote(last.epoch, "", ""),
            last if floor == ORIGIN else floor,
            Head(Epoch(0), Txid(0), NO_CHAIN),
            0,
            Txid(committed),
            tuple(ends.values()),
            ((Txid(0), members or voters(A, B, C)),),
            entries,
        )
        self.config = config or QuorumConfig()
        self.node = QuorumNode(
            stored, config=self.config, control=CONTROL, rng=SeededRng(random.Random(1)), seeds=(B, C)
        )
        self.now_ms = 10_000
        self.effects: list[Effect] = self.node.start(self.now())

    def now(self) -> Instant:
        return Instant(Nanos(self.now_ms * MS), Micros(self.now_ms * 1000))

    def take(self) -> list[Effect]:
        """What it asked for since the last time."""
        effects, self.effects = self.effects, []
        return effects

    def taken(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.take() if isinstance(effect, kind)]

    def sent(self) -> list[Message]:
        return [effect.message for effect in self.take() if isinstance(effect, Send)]

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.effects += self.node.tick(self.now())

    def wait_until_due(self) -> None:
        """Until the next timer."""
        self.now_ms = max(self.now_ms, int(self.node.deadline_ns) // MS + 1)
        self.effects += self.node.tick(self.now())

    def receive(self, message: Message) -> None:
        self.effects += self.node.step(message, self.now())

    def write_all(self) -> None:
        """The disk finishes all it was asked for; what those writes promised leaves."""
        while True:
            writes = [effect for effect in self.effects if isinstance(effect, Persist)]
            self.effects = [effect for effect in self.effects if not isinstance(effect, Persist)]
            if not writes:
                return
            for write in writes:
                self.effects += write.then
                self.effects += self.node.persisted(write.token, self.now())

    def become_leader(self, *granting: NodeId) -> None:
        """Win an election with the votes of ``granting``."""
        self.wait_until_due()
        for pre_vote in (True, False):
            self.write_all()
            for node_id in granting:
                self.receive(self.vote(node_id, pre_vote=pre_vote))
        self.write_all()

    def envelope(self, sender: NodeId, epoch: int, **changes: object) -> Envelope:
        fields: dict[str, object] = {
            "cluster_id": "cluster",
            "cluster_generation": 1,
            "from_id": sender,
            "from_storage_id": f"{sender}.0",
            "from_incarnation": 1,
            "to_id": A,
            "to_storage_id": "a.0",
            "epoch": Epoch(epoch),
        }
        return Envelope(**{**fields, **changes})  # type: ignore[arg-type]  # tests break one field at a time

    def vote(self, sender: NodeId, *, pre_vote: bool, granted: bool = True) -> VoteResponse:
        epoch = Epoch(self.node.epoch + 1 if pre_vote else self.node.epoch)
        return VoteResponse(
            self.envelope(sender, self.node.epoch), granted, pre_vote, epoch, None, "", Refusal.NONE
        )

    def heartbeat(self, sender: NodeId, epoch: int, *, commit: int = 0, start: int = 1) -> HeartbeatRequest:
        return HeartbeatRequest(
            self.envelope(sender, epoch), Txid(commit), Txid(commit), Txid(start), heartbeat_seq=1
        )
