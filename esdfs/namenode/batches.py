"""Requests become records, a batch at a time, and committed records become state.

One batch is in flight. What arrives while its records become durable is the next batch: group commit
without a timer. What others committed is folded in between, in slices.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import astuple

from esdfs.env import Clock
from esdfs.errors import (
    Compacted,
    EsdfsError,
    JournalError,
    NewerRelease,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    Unavailable,
)
from esdfs.ids import Txid
from esdfs.namenode.checkpoints.keeper import CheckpointKeeper, up_to_mark
from esdfs.namenode.engine import NIL, Engine, Internal, Request, Settled
from esdfs.namenode.events import Event
from esdfs.namenode.frames import Execute
from esdfs.namenode.gathering import Gathering
from esdfs.namenode.leading import Quorum
from esdfs.namenode.metadata_manager import MetadataManager

BATCH_COMMANDS_MAX: Final = 4_000
PENDING_REQUESTS_MAX: Final = 20_000
APPLY_RECORDS_MAX: Final = 500
APPLY_SLICE_NS: Final = 20_000_000
"""A record of a restore, or of forgetting, is work for milliseconds: many at once would delay heartbeats."""
_LOOK_AGAIN_S: Final = 0.001


class Batches:
    """All that waits to be decided, and all that is to be applied.

    Args:
        on_committed: Told the events that readers can see now, the blocks that nothing names any more, and
            those of which another number of copies is wanted.
        fail: Told why this node cannot go on.
        not_leader: Why a request is refused by a node that does not lead.

    Attributes:
        counters: Of what became of requests, since the start.
    """

    def __init__(
        self,
        metadata: MetadataManager,
        quorum: Quorum,
        checkpoints: CheckpointKeeper,
        engine: Engine,
        clock: Clock,
        *,
        on_committed: Callable[[list[Event], list[int], list[int]], None],
        fail: Callable[[str], None],
        not_leader: Callable[[], NotLeader],
    ) -> None:
        self._metadata = metadata
        self._quorum = quorum
        self._checkpoints = checkpoints
        self._engine = engine
        self._clock = clock
        self._on_committed = on_committed
        self._fail = fail
        self._not_leader = not_leader
        self._pending: list[_Pending] = []
        self._arrived = asyncio.Event()
        self._moved = asyncio.Event()
        self._gathering = Gathering()
        self._enough = asyncio.Event()
        self._speculating = False
        self.counters = dict.fromkeys(("requests", "records", "events", "batches"), 0)

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._pending)

    def put(self, request: Request, settle: Callable[[Settled], None]) -> None:
        """Have a request decided; ``settle`` is told what it is answered, or why it is refused.

        Raises:
            Overloaded: Too many wait; ``settle`` will not be called.
        """
        if len(self._pending) >= PENDING_REQUESTS_MAX:
            raise Overloaded(f"{PENDING_REQUESTS_MAX} requests are waiting: try again later")
        self.counters["requests"] += 1
        self._pending.append(_Pending(request, settle))
        self._arrived.set()
        if len(self._pending) >= self._gathering.expected:
            self._enough.set()

    async def propose(self, internal: Internal) -> Settled:
        """Make a change of the NameNode's own; returns when it is committed.

        Raises:
            EsdfsError: It was refused or could not be made durable.
        """
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self.put(internal, lambda settled: None if future.done() else future.set_result(settled))
        settled = await future
        if settled.error is not None:
            raise settled.error
        return settled

    def wake(self) -> None:
        """This node's role, or its state, changed: who waits for that looks again."""
        self._moved.set()

    async def moved(self) -> None:
        """Return when more is applied, or this node's role changed."""
        self._moved.clear()
        await self._moved.wait()

    # --- deciding -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Decide for ever."""
        replication = self._metadata.replication
        while True:
            await self._arrived.wait()
            await self._until_up_to_date()
            if not self._quorum.is_alone():
                await self._gather()
            await self._checkpoints.released()
            began_ns = self._clock.monotonic_ns()
            taken = self._take()
            if not replication.is_leader:
                self._refuse(taken, self._not_leader())
                continue
            self._speculating = True
            try:
                await self._decide(taken)
            finally:
                self._speculating = False
            self._gathering.settled(
                len(taken), len(self._pending), began_ns=began_ns, now_ns=self._clock.monotonic_ns()
            )
            self.apply_committed()

    async def _gather(self) -> None:
        loop = asyncio.get_running_loop()
        while self._gathering.is_worth_it(len(self._pending), self._clock.monotonic_ns()):
            self._enough.clear()
            timer = loop.call_later(_LOOK_AGAIN_S, self._enough.set)
            await self._enough.wait()
            timer.cancel()

    async def _decide(self, taken: "list[_Pending]") -> None:
        batch = self._engine.prepare([pending.request for pending in taken])
        if not batch.drafts:
            batch.abort()
            _settle(taken, batch.settled)
            return
        try:
            entries = self._metadata.replication.propose(batch.drafts)
            # Shielded: a stop lets the batch in flight finish, so that its callers get an answer.
            await asyncio.shield(self._quorum.committed(entries))
        except (OutcomeUnknown, NotLeader, Unavailable) as error:
            # The speculation is gone; whether its records survive, the next leader's journal says.
            batch.abort()
            self._refuse(taken, error)
            return
        except JournalError as error:
            batch.abort()
            self._journal_failed(taken, error)
            return
        batch.commit(entries)
        self._on_committed(batch.events, batch.released, batch.rewanted)
        self.counters["batches"] += 1
        self.counters["records"] += len(batch.drafts)
        self.counters["events"] += len(batch.events)
        self._moved.set()
        _settle(taken, batch.settled)

    async def _until_up_to_date(self) -> None:
        """A leader decides upon everything before its own next record: wait until that is applied."""
        replication = self._metadata.replication
        while replication.is_leader or self._quorum.is_opening():
            self.apply_committed()
            if replication.is_leader and self._metadata.meta().applied_txid == replication.head.last_txid:
                return
            await self.moved()

    def _take(self) -> "list[_Pending]":
        """The next batch: all that waits, up to a bound on commands."""
        count = 0
        for index, pending in enumerate(self._pending):
            count += len(pending.request.commands) if isinstance(pending.request, Execute) else 1
            if count > BATCH_COMMANDS_MAX and index:
                return self._split(index)
            if isinstance(pending.request, Internal) and pending.request.ends_batch:
                return self._split(index + 1)
        return self._split(len(self._pending))

    def _split(self, count: int) -> "list[_Pending]":
        taken, self._pending = self._pending[:count], self._pending[count:]
        if not self._pending:
            self._arrived.clear()
        return taken

    def _journal_failed(self, taken: "list[_Pending]", error: JournalError) -> None:
        unknown = OutcomeUnknown(
            f"the journal failed while this was being written ({error.message}); repeat it under the same "
            "idempotency key"
        )
        waiting, self._pending = self._pending, []
        self._refuse(taken + waiting, unknown)
        self._fail(f"journal: {error.message}")

    def _refuse(self, pendings: "Sequence[_Pending]", error: EsdfsError) -> None:
        refused = Settled(self._metadata.replication.commit_txid, NIL, error)
        for pending in pendings:
            pending.settle(refused)

    # --- applying -------------------------------------------------------------------------------

    def apply_committed(self) -> None:
        """Fold committed records into the projection.

        On a follower these are all of them, on a leader the quorum's own. A slice at a time, so that a long
        backlog does not keep others waiting.
        """
        if self._speculating or self._checkpoints.holds:
            return  # what is being committed is the batch's own; either's end comes back here
        replication = self._metadata.replication
        applied = self._metadata.meta().applied_txid
        if applied >= replication.commit_txid:
            return
        try:
            entries = replication.tail(Txid(applied), limit=APPLY_RECORDS_MAX)
        except Compacted:
            return  # a checkpoint is being installed: `checkpoint_installed` comes next
        until_ns = self._clock.monotonic_ns() + APPLY_SLICE_NS
        writer = self._metadata.speculate()
        events: list[Event] = []
        try:
            for entry in up_to_mark(entries):
                events += writer.apply_row(astuple(entry))
                applied = entry.txid
                if self._clock.monotonic_ns() >= until_ns:
                    break
        except NewerRelease as error:
            writer.abort()
            self._fail(error.message)  # what it was told is stored: an upgraded program goes on from there
            return
        except BaseException:
            writer.abort()
            raise
        writer.commit()
        self._on_committed(events, writer.released, writer.rewanted)
        self._moved.set()
        if applied < replication.commit_txid:
            asyncio.get_running_loop().call_soon(self.apply_committed)


class _Pending(msgspec.Struct, frozen=True):
    request: Request
    settle: Callable[[Settled], None]


def _settle(taken: "Sequence[_Pending]", settled: Sequence[Settled]) -> None:
    for pending, each in zip(taken, settled, strict=True):
        pending.settle(each)
