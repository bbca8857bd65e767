"""The quorum in the world: carries out what ``QuorumNode`` asks for, on a real disk, network and clock.

All of it happens in one event loop, but for the journal: its writes have a thread of their own, so that a
slow disk delays no heartbeat.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar, assert_never

import msgspec

from esdfs.env import Clock, Rng
from esdfs.errors import Compacted, EsdfsError, GenerationFenced, OutcomeUnknown
from esdfs.ids import Epoch, NodeId, Txid
from esdfs.journal.alarm import Alarm
from esdfs.journal.answers import Answers, Request, Response
from esdfs.journal.entry import Base, Draft, Entry, Head
from esdfs.journal.floor import AckFloor
from esdfs.journal.log import Journal
from esdfs.journal.pending import Pending, not_leader, unknown
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import (
    AppendRecords,
    Commit,
    Effect,
    FetchCheckpoint,
    Halt,
    Persist,
    Reply,
    RoleChanged,
    Send,
    SendFromJournal,
)
from esdfs.journal.quorum.inputs import ControlRecords, Instant, Stored
from esdfs.journal.quorum.messages import (
    CheckpointOffer,
    Envelope,
    HeartbeatRequest,
    HeartbeatResponse,
    Message,
    SyncKind,
    SyncRequest,
    SyncResponse,
    VoteRequest,
    VoteResponse,
)
from esdfs.journal.quorum.node import QuorumNode
from esdfs.journal.quorum.voters import VoterSet
from esdfs.journal.quorum_disk import CheckpointPort, QuorumDisk, together
from esdfs.journal.recent import RecentRecords

T = TypeVar("T")

_RECORD_OVERHEAD_BYTES: Final = 160


class Transport(Protocol):
    """How requests reach other nodes. Neither method that is called in the loop blocks it or raises."""

    def start(self, receive: Callable[[Response], None]) -> None:
        """Begin. Responses are handed to ``receive``, in the loop."""
        ...

    def send(self, to: NodeId, message: Request) -> None:
        """Fire and forget: it may be lost, late or repeated, and so may its response."""
        ...

    async def stop(self) -> None:
        """Let go of everything, after a moment for what is under way."""
        ...


class QuorumDriver:
    """One node of the quorum. Made, started and used in one event loop; see each method for exceptions.

    The caller owns ``journal`` and ``floor`` and closes them after ``stop``; nobody else writes them.

    Args:
        stored: From ``quorum_disk.load``.
        on_commit: Called with each new commit point. Records up to it can be had from ``records``.
        on_stored: Called with records once they are durable here, committed or not, and before anybody is
            told; an `EsdfsError` it raises ends this node, which then cannot be elected with them.
        on_role: Called with each change of role. May be followed by ``on_commit`` before ``is_active``.
        checkpoints: None when no node of the cluster compacts its journal.
        endpoint: How this node could be reached as a voter; told to the leader while it is none.

    Attributes:
        introduced: What observers said of themselves: (storage id, endpoint) by node.
        failed: Done, with the reason, when this node can never go on: a write failed, a rule of the
            quorum was broken, or it halted. Nothing leaves it any more; the process must exit.
    """

    def __init__(
        self,
        stored: Stored,
        *,
        config: QuorumConfig,
        control: ControlRecords,
        seeds: Sequence[NodeId] = (),
        journal: Journal,
        floor: AckFloor,
        transport: Transport,
        clock: Clock,
        rng: Rng,
        on_commit: Callable[[Txid], None],
        on_role: Callable[[RoleChanged], None],
        on_stored: Callable[[Sequence[Entry]], None] = lambda _: None,
        checkpoints: CheckpointPort | None = None,
        endpoint: str = "",
    ) -> None:
        self.identity = stored.identity
        self.introduced: dict[NodeId, tuple[str, str]] = {}
        self._endpoint = endpoint
        self._node = QuorumNode(stored, config=config, control=control, rng=rng, seeds=seeds)
        self._config, self._clock, self._transport = config, clock, transport
        self._journal, self._checkpoints = journal, checkpoints
        self._disk = QuorumDisk(journal, floor, checkpoints)
        self._on_commit, self._on_role, self._on_stored = on_commit, on_role, on_stored
        self._recent = RecentRecords(stored.base, stored.recent)
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[str] = self._loop.create_future()
        self._is_over = False
        self._effects: deque[Effect] = deque()
        self._is_carrying_out = False
        self._queue: deque[Persist] = deque()
        self._writing: asyncio.Future[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="journal-reader")
        self._alarm = Alarm(clock, lambda: self._node.deadline_ns, lambda: self._feed(self._node.tick))
        self._pending, self._answers = Pending(), Answers()
        self._tasks: set[asyncio.Task[None]] = set()
        self._out_of_office, self._following = asyncio.Event(), asyncio.Event()

    # --- life ---

    async def start(self) -> None:
        """Join the cluster. Returns at once; a lone voter leads soon after."""
        self._out_of_office.set()
        self._transport.start(self.receive)
        self._feed(self._node.start)

    async def stop(self) -> None:
        """Leave: hand leadership over, finish the write under way, let go of threads and connections."""
        await self.leave_office()
        self._end(OutcomeUnknown("this NameNode stopped: repeat the request under the same key"))
        if self._writing is not None:
            await asyncio.wait([self._writing])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.stop()
        self._writer.shutdown()
        self._readers.shutdown()

    async def leave_office(self) -> None:
        """Stop leading, in favour of the best successor; returns when it leads, or there is none."""
        if self._is_over or not self._node.is_leader:
            return
        successor = self._node.successor
        if (successor is None or not await self.hand_over(successor)) and not self._is_over:
            self._feed(self._node.resign)

    async def hand_over(self, target: NodeId) -> bool:
        """Transfer leadership and wait for it. False when ``target`` did not take it in time.

        Leaving office is not the end: the successor may need this node's vote, so it stays until it hears
        from a new leader.

        Raises:
            NotLeader: As ``transfer``.
            InvalidRequest: As ``transfer``.
        """
        self.transfer(target)
        patience_s = self._config.election_max_ms / 1000
        try:
            async with asyncio.timeout(patience_s):
                await self._out_of_office.wait()
        except TimeoutError:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._following.wait()
        return True

    # --- what is so ---

    @property
    def epoch(self) -> Epoch:
        """The newest epoch this node knows; its own when it leads."""
        return self._node.epoch

    @property
    def head(self) -> Head:
        """The end of the journal, records still being written included."""
        return self._recent.head

    @property
    def commit_txid(self) -> Txid:
        """The last record known committed, inclusive. Never goes back."""
        return self._node.commit_txid

    @property
    def is_active(self) -> bool:
        """Whether ``propose`` and ``read_index`` work here: it leads, and knows all that is committed."""
        return not self._is_over and self._node.is_active

    @property
    def is_opening(self) -> bool:
        """Whether it was elected and waits for its first record to be committed."""
        return not self._is_over and self._node.is_leader and not self._node.is_active

    @property
    def role(self) -> str:
        """See ``QuorumNode.role``."""
        return self._node.role

    @property
    def leader_id(self) -> NodeId | None:
        """Who leads, as far as this node knows."""
        return self._node.leader_id

    @property
    def node(self) -> QuorumNode:
        """For looking at; every input goes through the driver."""
        return self._node

    # --- the leader's service ---

    def propose(self, drafts: Sequence[Draft]) -> list[Entry]:
        """Append ``drafts``; await ``committed`` on the last one. Only in the loop.

        Raises:
            NotLeader: See ``QuorumNode.propose``, so for the others.
            Unavailable: See there.
            Overloaded: See there.
        """
        self._refuse_when_over()
        with self._ending_when_broken():
            entries, effects = self._node.propose(drafts, self._now())
        self._carry_out(effects)
        return entries

    async def committed(self, txid: Txid, epoch: Epoch) -> None:
        """Return once the record that ``propose`` placed at ``txid`` in ``epoch`` is committed.

        Raises:
            OutcomeUnknown: Leadership was lost before that was known.
        """
        if self._is_over or not self._node.is_leader or self._node.epoch != epoch:
            raise unknown()
        if txid > self._node.commit_txid:
            await self._pending.commit(txid)

    async def read_index(self) -> Txid:
        """State at the answer or newer shows everything acknowledged before this call.

        Raises:
            NotLeader: Ask the leader.
        """
        self._refuse_when_over()
        read_id, answer = self._pending.read()
        try:
            self._feed(partial(self._node.read, read_id))
            return await answer
        finally:
            self._pending.forget_read(read_id)

    def records(self, after: Txid, limit: int) -> list[Entry]:
        """At most ``limit`` committed records with a txid above ``after``, in order. From any thread.

        Reads the database only for records that left memory; those are durable and final here.

        Raises:
            Compacted: They left the journal too.
            JournalUnavailable: The database does not answer.
        """
        until = self._node.commit_txid
        if after >= until:
            return []
        if after < (base := self._node.base.txid):
            # Perhaps still on the disk, and perhaps not what was committed there.
            raise Compacted(f"records up to {base} are no longer here", oldest_txid=base + 1)
        found = self._recent.read(after, limit=limit, until=until)
        if found is not None:
            return found
        # What is in memory may stand for other records that are still on the disk.
        end = min(self._recent.first_txid, until + 1)
        older = [entry for entry in self._journal.read(after, limit=limit) if entry.txid < end]
        if not older or older[0].txid != after + 1:
            oldest = older[0].txid if older else end
            raise Compacted(f"records up to {oldest - 1} are no longer here", oldest_txid=oldest)
        return older

    def transfer(self, target: NodeId) -> None:
        """Hand leadership to ``target``. See ``QuorumNode.transfer``."""
        self._refuse_when_over()
        self._feed(partial(self._node.transfer, target))

    def change_voters(self, voters: VoterSet) -> None:
        """Put ``voters`` in force. See ``QuorumNode.change_voters``."""
        self._refuse_when_over()
        self._feed(partial(self._node.change_voters, voters))

    # --- checkpoints ---

    async def in_journal(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the journal's thread, after the write under way: it may write the journal, too."""
        return await self._loop.run_in_executor(self._writer, work)

    def checkpointed(self, offer: CheckpointOffer) -> None:
        """A newer checkpoint is durable here and may be offered. See ``QuorumNode.checkpointed``."""
        self._node.checkpointed(offer)

    def compacted(self, base: Base) -> None:
        """Records up to ``base`` are about to leave the journal. See ``QuorumNode.compacted``."""
        self._node.compacted(base.head, base.ts_us)

    def give_up(self, why: str) -> None:
        """This node can never go on, for a reason that the quorum does not know."""
        self._fail(why)

    # --- other nodes ---

    def receive(self, message: Message) -> None:
        """A message arrived. Only in the loop."""
        self._feed(partial(self._node.step, message))

    async def answer(self, request: Request) -> Response | None:
        """What this node answers to ``request``; None when it has nothing to say, now or in time.

        Raises:
            GenerationFenced: One of the two was left behind by an operator's forced restart.
        """
        self._refuse_other_generation(request.envelope)
        if isinstance(request, SyncRequest) and request.endpoint:
            self.introduced[request.envelope.from_id] = (request.envelope.from_storage_id, request.endpoint)
        return None if self._is_over else await self._answers.to(request, self.receive)

    def _refuse_other_generation(self, sender: Envelope) -> None:
        mine, theirs = self.identity.cluster_generation, sender.cluster_generation
        if sender.cluster_id != self.identity.cluster_id or mine == theirs:
            return
        if theirs > mine:
            self._fail(_left_behind(sender.from_id, theirs, mine))
        raise GenerationFenced(
            f"{self.identity.node_id} is of generation {mine} of this cluster, {sender.from_id} of {theirs}",
            generation=mine,
        )

    def refused(self, by: NodeId, error: EsdfsError) -> None:
        """Another node refused what this one sent. From one of a newer generation that is the end."""
        if not isinstance(error, GenerationFenced):
            return
        theirs, mine = error.details.get("generation"), self.identity.cluster_generation
        if isinstance(theirs, int) and theirs > mine:
            self._fail(_left_behind(by, theirs, mine))

    def _send(self, to: NodeId, message: Message) -> None:
        match message:
            case SyncRequest(kind=SyncKind.OBSERVER):
                self._transport.send(to, msgspec.structs.replace(message, endpoint=self._endpoint))
            case VoteRequest() | HeartbeatRequest() | SyncRequest():
                self._transport.send(to, message)
            case VoteResponse() | HeartbeatResponse() | SyncResponse():
                self._answers.give(to, message)
            case _:
                assert_never(message)

    async def _send_from_journal(self, effect: SendFromJournal) -> None:
        response = effect.response
        try:
            found = await self._loop.run_in_executor(
                self._readers, partial(self._journal.read, effect.after, limit=effect.limit)
            )
        except EsdfsError:
            # The follower asks again. A database that is gone for good fails our next write.
            found = []
        if (
            found and found[0].txid != effect.after + 1
        ):  # compacted meanwhile: it will be offered a checkpoint
            found = []
        records = _fitting(found, effect.max_bytes)
        # Whoever led since may have replaced what was read.
        still_leads = self._node.is_leader and self._node.epoch == response.envelope.epoch
        if self._is_over or not still_leads or not records:
            self._answers.drop(effect.to, response)
            return
        self._send(effect.to, msgspec.structs.replace(response, records=records))

    async def _fetch_checkpoint(self, effect: FetchCheckpoint) -> None:
        if self._checkpoints is None:
            self._fail(
                f"{effect.source} no longer has records this node lacks, and this node takes no checkpoint:"
                " copy a newer journal here"
            )
            return
        try:
            await self._checkpoints.fetch(effect.source, effect.checkpoint)
        except EsdfsError:
            self._feed(self._node.checkpoint_failed)
        else:
            self._feed(partial(self._node.checkpoint_fetched, effect.checkpoint))

    # --- inputs and effects ---

    def _now(self) -> Instant:
        return Instant(self._clock.monotonic_ns(), self._clock.wall_us())

    def _feed(self, step: Callable[[Instant], list[Effect]]) -> None:
        if self._is_over:
            return
        with self._ending_when_broken():
            effects = step(self._now())
        self._carry_out(effects)

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                self._recent.change(effect.write)
        self._effects.extend(effects)
        if self._is_carrying_out:  # a callback proposed: after what is being carried out
            return
        self._is_carrying_out = True
        try:
            while self._effects and not self._is_over:
                self._do(self._effects.popleft())
        except Exception as error:
            self._fail(f"an effect was not carried out: {type(error).__name__}: {error}")
            raise
        finally:
            self._is_carrying_out = False
        self._start_write()
        self._alarm.set()

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send(to, message):
                self._send(to, message)
            case Persist():
                self._queue.append(effect)
            case Commit(txid):
                self._start_write()  # applying may take a while
                self._committed(txid)
            case Reply(read_id, answer):
                self._pending.reply(read_id, answer)
            case RoleChanged(role):
                if role == "leader":
                    self._out_of_office.clear()
                else:
                    self._out_of_office.set()
                    self._pending.abandon(unknown())
                if role == "follower":
                    self._following.set()
                else:
                    self._following.clear()
                self._on_role(effect)
            case SendFromJournal():
                self._spawn(self._send_from_journal(effect))
            case FetchCheckpoint():
                self._spawn(self._fetch_checkpoint(effect))
            case Halt(reason):
                self._fail(reason)
            case _:
                assert_never(effect)

    def _committed(self, txid: Txid) -> None:
        self._on_commit(txid)
        self._pending.committed(txid)
        settled = Txid(min(txid, self._node.durable_txid))
        self._recent.forget(settled, keep_records=self._config.window_records)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(f"{type(error).__name__}: {error}")

    # --- the journal's thread ---

    def _start_write(self) -> None:
        if self._writing is not None or not self._queue or self._is_over:
            return
        count = together([job.write for job in self._queue])
        batch = [self._queue.popleft() for _ in range(count)]
        self._writing = self._loop.run_in_executor(
            self._writer, self._disk.write, [job.write for job in batch]
        )
        self._writing.add_done_callback(partial(self._written, batch))

    def _written(self, batch: list[Persist], done: "asyncio.Future[None]") -> None:
        self._writing = None
        error = done.exception()
        if error is not None:
            self._fail(str(error) or type(error).__name__)
            return
        if self._is_over:
            return
        try:
            for job in batch:
                if isinstance(job.write, AppendRecords):
                    self._on_stored(job.write.entries)
        except EsdfsError as unfit:
            self._fail(unfit.message)
            return
        effects: list[Effect] = []
        with self._ending_when_broken():
            now = self._now()
            for job in batch:
                effects.extend(job.then)
                effects.extend(self._node.persisted(job.token, now))
        self._carry_out(effects)

    # --- the end ---

    @contextmanager
    def _ending_when_broken(self) -> Iterator[None]:
        """A refusal passes. Anything else means that the node no longer knows what it does."""
        try:
            yield
        except EsdfsError:
            raise
        except Exception as error:
            self._fail(f"a rule of the quorum is broken: {type(error).__name__}: {error}")
            raise

    def _fail(self, reason: str) -> None:
        if not self.failed.done():
            self.failed.set_result(reason)
        self._end(OutcomeUnknown(f"this NameNode failed ({reason}): repeat the request under the same key"))

    def _end(self, error: OutcomeUnknown) -> None:
        self._is_over = True
        self._effects.clear()
        self._alarm.end()
        self._pending.end(error)
        self._answers.drop_all()

    def _refuse_when_over(self) -> None:
        if self._is_over:
            raise not_leader(None)


def _left_behind(by: NodeId, theirs: int, mine: int) -> str:
    return (
        f"{by} is of generation {theirs} of this cluster, this journal of generation {mine}: an operator had"
        " the cluster go on without this node, whose journal can never rejoin. Keep a copy of it if it may"
        " hold what the others lack, then make a new directory with `esdfs namenode format --join URL`"
    )


def _fitting(entries: Sequence[Entry], max_bytes: int) -> tuple[Entry, ...]:
    size_bytes = 0
    for count, entry in enumerate(entries):
        size_bytes += len(entry.payload) + _RECORD_OVERHEAD_BYTES
        if size_bytes > max_bytes and count:
            return tuple(entries[:count])
    return tuple(entries)
