"""A simulated process and its machine: the driver of one ``QuorumNode``."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from esdfs.errors import EsdfsError
from esdfs.ids import Micros, Nanos, NodeId, Txid
from esdfs.journal.entry import Draft
from esdfs.journal.quorum.effects import (
    AppendRecords,
    Commit,
    Effect,
    FetchCheckpoint,
    Halt,
    InstallCheckpoint,
    Persist,
    ReadAt,
    Reply,
    RoleChanged,
    Send,
    SendFromJournal,
    TruncateJournal,
    Write,
)
from esdfs.journal.quorum.inputs import Instant
from esdfs.journal.quorum.messages import CheckpointOffer, Message
from esdfs.journal.quorum.node import QuorumNode
from tests.sim.disk import Disk, Image
from tests.sim.machine import COMMAND, CONTROL
from tests.sim.world import MS, SeededRng

if TYPE_CHECKING:  # a cluster has nodes, and nodes look at their cluster
    from tests.sim.cluster import Cluster

WALL_EPOCH_US = 1_700_000_000_000_000


class Outcome(NamedTuple):
    """What a client is told."""

    ok: bool
    value: int = 0
    leader_id: NodeId | None = None


Answer = Callable[[Outcome], None]


class _Job(NamedTuple):
    token: int
    write: Write
    then: tuple[Send, ...]


class SimNode:
    """A process and its machine: the driver of one ``QuorumNode``."""

    def __init__(self, cluster: "Cluster", node_id: NodeId, disk: Disk) -> None:
        self.cluster, self.world = cluster, cluster.world
        self.node_id, self.disk = node_id, disk
        self.is_up = False
        self.is_paused = False
        self.takes_checkpoints = True
        self.life = 0  # raised by each start and each crash: what was under way is void
        self.clock_rng = self.world.rng(f"clock/{node_id}")
        self.disk_rng = self.world.rng(f"disk/{node_id}")
        self._clock_ns, self._clock_since_ns = self.clock_rng.randrange(10**11), 0
        self._clock_ppm = 1_000_000 + self.clock_rng.randrange(-20_000, 20_001)
        self._wake_ns: int | None = None
        self._inbox: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self._queue: deque[_Job] = deque()
        self._is_writing = False

    # --- its clock ---

    def now(self) -> Instant:
        local = self._clock_ns + (self.world.now_ns - self._clock_since_ns) * self._clock_ppm // 1_000_000
        return Instant(Nanos(local), Micros(WALL_EPOCH_US + local // 1000))

    def use_exact_clock(self) -> None:
        """No drift: for stories."""
        self._clock_ns, self._clock_since_ns, self._clock_ppm = 0, self.world.now_ns, 1_000_000

    def change_clock_rate(self) -> None:
        """The rate drifts; the reading never goes back."""
        self._clock_ns, self._clock_since_ns = self.now().monotonic_ns, self.world.now_ns
        self._clock_ppm = 1_000_000 + self.clock_rng.randrange(-20_000, 20_001)
        self._wake_ns = None
        if self.is_up:
            self._set_alarm()

    # --- life and death ---

    def boot(self) -> None:
        if self.is_up:
            return
        self.life += 1
        self.is_up, self.is_paused, self._is_writing, self._wake_ns = True, False, False, None
        self._inbox.clear()
        self._queue.clear()
        self.disk.check()
        self.disk.incarnation += 1
        stored = self.cluster.mutant.stored(self.disk.stored())
        self.core = QuorumNode(
            stored,
            config=self.cluster.config,
            control=CONTROL,
            rng=SeededRng(self.world.rng(f"core/{self.node_id}/{self.disk.incarnation}")),
            seeds=self.cluster.ids,
        )
        self.cluster.mutant.break_core(self.core)
        self.machine = self.disk.applied or self.disk.image.machine.copy()
        self.disk.applied = None
        self.machine.dedup = self.cluster.mutant.dedup
        self.base_txid = self.disk.base.last_txid
        self.records = list(self.disk.entries)  # the journal as it will be
        self.proposals: deque[tuple[Txid, bytes, int, Answer]] = deque()
        self.reads: dict[int, Answer] = {}
        self._read_ids = 0
        self.cluster.checkers.booted(self)
        self.carry_out(self.core.start(self.now()))

    def crash(self, *, keeps_projection: bool, tears: bool | None = None) -> None:
        """The process dies; a write under way may or may not have happened, wholly or up to the floor.

        ``tears`` decides it: False for not at all, True for up to the floor, None for chance.
        """
        if not self.is_up:
            return
        self.life += 1
        self.is_up = False
        if self._queue and (tears or (tears is None and self.disk_rng.random() < 0.5)):
            self._write_to_disk(self._queue[0].write, torn=tears or self.disk_rng.random() < 0.5)
        self._queue.clear()
        self.disk.applied = self.machine if keeps_projection else None
        self._abandon_proposals()
        for answer in self.reads.values():
            answer(Outcome(ok=False))
        self.reads.clear()

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        if not self.is_up or not self.is_paused:
            return
        self.is_paused = False
        inbox, self._inbox = self._inbox, []
        for action, args in inbox:
            self.handle(action, *args)
        self.handle(self._tick)

    def handle(self, action: Callable[..., None], *args: object) -> None:
        """Something happens to this process; a frozen one finds out later."""
        if not self.is_up:
            return
        if self.is_paused:
            self._inbox.append((action, args))
            return
        action(*args)

    # --- inputs ---

    def receive(self, message: Message) -> None:
        self.carry_out(self.core.step(message, self.now()))

    def write(self, client_id: bytes, seq: int, answer: Answer) -> None:
        """A client asks for an item; the same (client, seq) at most once."""
        known = self.machine.result_of(client_id, seq)
        if self.core.is_active and self.machine.knows(client_id, seq):
            assert known is not None, "the client asked again for what it was answered long ago"
            answer(Outcome(ok=True, value=known))
            return
        if self.machine.dedup:
            for txid, client, number, _ in self.proposals:
                if (client, number) == (client_id, seq):
                    self.proposals.append((txid, client_id, seq, answer))
                    return
        now = self.now()
        draft = Draft(now.wall_us, COMMAND, 1, b"%d" % seq, client_id, seq)
        try:
            entries, effects = self.core.propose([draft], now)
        except EsdfsError:
            answer(Outcome(ok=False, leader_id=self.core.leader_id))
            return
        self.proposals.append((entries[-1].txid, client_id, seq, answer))
        self.carry_out(effects)

    def read(self, answer: Answer) -> None:
        """A client asks how long the list is."""
        self._read_ids += 1
        self.reads[self._read_ids] = answer
        self.carry_out(self.core.read(self._read_ids, self.now()))

    def administer(self, action: Callable[[QuorumNode, Instant], list[Effect]]) -> str:
        """An operator's request; "" or why it was refused."""
        try:
            effects = action(self.core, self.now())
        except EsdfsError as error:
            return error.message
        self.carry_out(effects)
        return ""

    # --- effects ---

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    self.cluster.transmit(self, to, message)
                case Persist(token, write, then):
                    self._change_records(write)
                    self._queue.append(_Job(token, write, then))
                case Commit(txid):
                    self.cluster.checkers.commits(self, txid)
                    self._apply(txid)
                case Reply(read_id, answer):
                    reply = self.reads.pop(read_id)
                    if isinstance(answer, ReadAt):
                        assert self.machine.txid >= answer.txid
                        reply(Outcome(ok=True, value=len(self.machine.items)))
                    else:
                        reply(Outcome(ok=False, leader_id=answer.leader_id))
                case RoleChanged(role):
                    if role != "leader":
                        self._abandon_proposals()
                    self.cluster.checkers.role_changed(self)
                case SendFromJournal(to, response, after, limit):
                    start = after - self.base_txid
                    records = tuple(self.records[start : start + limit])
                    self.cluster.transmit(self, to, msgspec.structs.replace(response, records=records))
                case FetchCheckpoint(source, offer):
                    delay = self.cluster.network_rng.randrange(1 * MS, 200 * MS)
                    self.world.after(delay, self._download, self.life, source, offer)
                case Halt(reason):
                    self.cluster.checkers.halted(self, reason)
        if self._queue and not self._is_writing:
            self._start_write()
        self.cluster.checkers.after_input(self)
        self._set_alarm()

    def _tick(self) -> None:
        self.carry_out(self.core.tick(self.now()))

    def _set_alarm(self) -> None:
        due_ns = int(self.core.deadline_ns) - self._clock_ns
        at_ns = self._clock_since_ns + due_ns * 1_000_000 // self._clock_ppm + 1
        at_ns = max(at_ns, self.world.now_ns + MS // 2)
        if self._wake_ns is None or at_ns < self._wake_ns:
            self._wake_ns = at_ns
            self.world.after(at_ns - self.world.now_ns, self._alarm, self.life, at_ns)

    def _alarm(self, life: int, at_ns: int) -> None:
        if life != self.life or at_ns != self._wake_ns or not self.is_up:
            return
        self._wake_ns = None
        if self.is_paused:
            return
        if self.core.deadline_ns <= self.now().monotonic_ns:
            self._tick()
        else:
            self._set_alarm()

    # --- the journal ---

    def _change_records(self, write: Write) -> None:
        """The journal as it will be, ahead of the disk."""
        match write:
            case AppendRecords(entries):
                self.records.extend(entries)
            case TruncateJournal(keep):
                self.cluster.checkers.cut(self, keep.txid)
                del self.records[max(0, keep.txid - self.base_txid) :]
            case InstallCheckpoint(offer, keep_tail):
                after = max(0, offer.last.txid - self.base_txid)
                self.records = self.records[after:] if keep_tail else []
                self.base_txid = offer.last.txid
                if self.machine.txid < offer.last.txid:
                    self.machine = self.disk.incoming[offer.last].machine.copy()
            case _:
                pass

    def _start_write(self) -> None:
        """One fsync covers all appends that wait (group commit)."""
        self._is_writing = True
        count = 1
        if isinstance(self._queue[0].write, AppendRecords):
            while count < len(self._queue) and isinstance(self._queue[count].write, AppendRecords):
                count += 1
        physics, rng = self.cluster.physics, self.disk_rng
        duration = rng.randrange(*physics.fsync_ns) + physics.slow_disk_ns.get(self.node_id, 0)
        if rng.random() < physics.hiccup:
            duration += rng.randrange(8 * MS)
        self.world.after(duration, self._written, self.life, count)

    def _written(self, life: int, count: int) -> None:
        if life != self.life:
            return
        self._is_writing = False
        done = [self._queue.popleft() for _ in range(count)]
        for job in done:
            self._write_to_disk(job.write)
        self.handle(self._report, done)
        if self._queue and not self._is_writing:
            self._start_write()

    def _report(self, done: list[_Job]) -> None:
        effects: list[Effect] = []
        now = self.now()
        for job in done:
            effects.extend(job.then)
            effects.extend(self.core.persisted(job.token, now))
        self.carry_out(effects)

    def _write_to_disk(self, write: Write, *, torn: bool = False) -> None:
        self.cluster.checkers.before_write(self, write)
        self.cluster.mutant.write(self.disk, write, torn)
        self.cluster.checkers.after_write(self, write)

    # --- the state machine ---

    def _apply(self, commit_txid: Txid) -> None:
        upto = self.core.last.txid if self.cluster.mutant.applies_uncommitted else commit_txid
        while self.machine.txid < upto:
            entry = self.records[self.machine.txid - self.base_txid]
            self.machine.apply(entry)
            self.cluster.checkers.applied(self, entry)
        while self.proposals and self.proposals[0][0] <= commit_txid:
            _, client_id, seq, answer = self.proposals.popleft()
            position = self.machine.result_of(client_id, seq)
            assert position is not None, "committed and not applied"
            answer(Outcome(ok=True, value=position))
        self._maybe_checkpoint()

    def _abandon_proposals(self) -> None:
        while self.proposals:
            self.proposals.popleft()[3](Outcome(ok=False))

    def _maybe_checkpoint(self) -> None:
        cluster, txid = self.cluster, self.machine.txid
        if not self.takes_checkpoints:
            return
        # What is on disk may be an older tail that is about to be cut: only what the core vouches for counts.
        is_due = txid - self.disk.image.offer.last.txid >= cluster.checkpoint_every
        if not is_due or self.core.durable_txid < txid:
            return
        entry = self.disk.entries[txid - self.disk.base.last_txid - 1]
        if entry.txid > self.core.commit_txid:
            return
        voters_txid, voters = self.core.voters_at(txid)
        offer = CheckpointOffer(entry.position, entry.chain, entry.ts_us, voters_txid, voters)
        self.disk.image = Image(offer, self.machine.copy())
        self.core.checkpointed(offer)
        upto = Txid(txid - cluster.records_kept)
        if upto > self.disk.base.last_txid:
            self.disk.compact(upto)
            del self.records[: upto - self.base_txid]
            self.base_txid = upto
            self.core.compacted(self.disk.base, self.disk.base_ts_us)
            cluster.stats["compactions"] += 1

    def _download(self, life: int, source: NodeId, offer: CheckpointOffer) -> None:
        if life != self.life:
            return
        peer, cut = self.cluster.nodes[source], self.cluster.physics.cut
        reachable = peer.is_up and not {(source, self.node_id), (self.node_id, source)} & cut
        if reachable and peer.disk.image.offer == offer:
            self.disk.incoming[offer.last] = peer.disk.image
            self.cluster.stats["checkpoints installed"] += 1
            self.handle(lambda: self.carry_out(self.core.checkpoint_fetched(offer, self.now())))
        else:
            self.handle(lambda: self.carry_out(self.core.checkpoint_failed(self.now())))
