"""The NameNode's one thread: takes calls, runs batches, keeps time.

One batch is in flight. What arrives while its records become durable is the next batch: group commit
without a timer. The only other thread is the journal's, so that an fsync delays no heartbeat.
"""

import asyncio
import os
from functools import partial
from typing import Any, Final, assert_never

import msgspec
import structlog
from msgspec.structs import astuple

from esdfs.env import Clock
from esdfs.errors import (
    Compacted,
    EsdfsError,
    InsufficientStorage,
    JournalError,
    NewerRelease,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    Unavailable,
)
from esdfs.ids import Txid
from esdfs.namenode import events as ev
from esdfs.namenode.blocks.manager import BlockManager, NeedsJournal
from esdfs.namenode.blocks.monitor import DataNodeMonitor
from esdfs.namenode.checkpoints.keeper import CheckpointKeeper, up_to_mark
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.engine import Batch, Engine, Internal, Request, Settled
from esdfs.namenode.events import Event
from esdfs.namenode.frames import (
    AddVoter,
    Answer,
    BlockReport,
    Call,
    Execute,
    Failure,
    NodeHeartbeat,
    QuorumChange,
    QuorumStatus,
    ReadIndex,
    Register,
    RemoveVoter,
    RenewLeases,
    Status,
    TransferLeadership,
    Upgrade,
)
from esdfs.namenode.gathering import Gathering
from esdfs.namenode.housekeeping import FinishRestores, Housekeeping
from esdfs.namenode.leading import Quorum
from esdfs.namenode.leases import LeaseTable
from esdfs.namenode.metadata_manager import MetadataManager
from esdfs.namenode.namespace.writing import held
from esdfs.namenode.projection.writer import Writer
from esdfs.namenode.retaining import MoveHorizon, PurgeHistory
from esdfs.namenode.socket_server import Connection
from esdfs.namenode.upgrading import Upgrading

BATCH_COMMANDS_MAX: Final = 4_000
PENDING_REQUESTS_MAX: Final = 20_000
APPLY_RECORDS_MAX: Final = 500
TICK_S: Final = 0.5
_LOOK_AGAIN_S: Final = 0.001

_encode = msgspec.msgpack.Encoder().encode
_log = structlog.get_logger(__name__)


class Service:
    """Calls in, answers out.

    Attributes:
        failed: Set, with the reason, when this node may no longer be trusted to go on: the process exits.
    """

    def __init__(
        self,
        config: NameNodeConfig,
        metadata: MetadataManager,
        blocks: BlockManager,
        leases: LeaseTable,
        clock: Clock,
        *,
        quorum: Quorum,
        checkpoints: CheckpointKeeper,
    ) -> None:
        self._config = config
        self._quorum = quorum
        self._checkpoints = checkpoints
        checkpoints.on_failed = self.fail
        checkpoints.on_released = self.apply_committed
        checkpoints.on_loaded = self._reloaded
        self._metadata = metadata
        self._blocks = blocks
        self._leases = leases
        self._clock = clock
        self._engine = Engine(metadata, blocks, leases, clock)
        self._upgrading = Upgrading(metadata, quorum)
        self._housekeeping = Housekeeping(
            metadata, [FinishRestores(), MoveHorizon(config, clock), PurgeHistory()]
        )
        self._pending: list[_Pending] = []
        self._arrived = asyncio.Event()
        self._monitor = DataNodeMonitor(blocks, structlog.get_logger("blocks"))
        self._moved = asyncio.Event()
        self._gathering = Gathering()
        self._enough = asyncio.Event()
        self._speculating = False
        self._led = metadata.replication.is_leader
        self._tasks: set[asyncio.Task[None]] = set()
        self._read_only = ""
        self._counters = dict.fromkeys(("requests", "refused", "records", "events", "batches"), 0)
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Begin to run batches and to keep time."""
        self._check_disk()
        for file in self._metadata.open_files():
            self._leases.renew(file.inode)
        loop = asyncio.get_running_loop()
        self._watch(loop.create_task(self._run_batches(), name="batches"))
        self._watch(loop.create_task(self._keep_time(), name="time"))
        self._watch(loop.create_task(self._checkpoints.keep(self.propose), name="checkpoints"))
        self._watch(loop.create_task(self._housekeeping.keep(self.propose), name="housekeeping"))
        for task in self._monitor.start():
            self._watch(task)

    async def stop(self) -> None:
        """Finish the batch in flight and end."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- calls ----------------------------------------------------------------------------------

    def receive(self, connection: Connection, call: Call) -> None:
        """Take a worker's call; it will be answered on ``connection``."""
        reply = _Reply(connection, call.id)
        try:
            match call.body:
                case Execute():
                    self._require_leader()
                    self._enqueue(call.body, reply)
                    return
                case ReadIndex():
                    self._watch(asyncio.get_running_loop().create_task(self._read_index(reply)))
                    return
                case Register(body):
                    self._watch(asyncio.get_running_loop().create_task(self._register(bytes(body), reply)))
                    return
                case TransferLeadership() | AddVoter() | RemoveVoter():
                    changing = self._change_quorum(call.body, reply)
                    self._watch(asyncio.get_running_loop().create_task(changing))
                    return
                case QuorumStatus(local):
                    leads_elsewhere = self._quorum.role() != "leader" and bool(self._quorum.leader()[1])
                    if leads_elsewhere and not local:
                        raise self._not_leader()
                    result: Any = self._quorum.status()
                case NodeHeartbeat(node_id, body):
                    result = self._blocks.heartbeat(node_id, bytes(body))
                    result |= {"namenodes": self._quorum.rests()}
                case BlockReport(node_id, body):
                    result = self._blocks.report(node_id, bytes(body))
                case RenewLeases(files):
                    result = self._renew(files)
                case Status():
                    result = self.status()
                case Upgrade(finalize):
                    self._require_leader()
                    if finalize:
                        self._watch(asyncio.get_running_loop().create_task(self._finalize(reply)))
                        return
                    result = self._upgrading.status()
                case _:
                    assert_never(call.body)
        except EsdfsError as error:
            self._refuse(reply, error)
            return
        self._answer(reply, msgspec.Raw(_encode(result)))

    def _enqueue(self, request: Request, reply: "_Reply | asyncio.Future[Settled]") -> None:
        if len(self._pending) >= PENDING_REQUESTS_MAX:
            raise Overloaded(f"{PENDING_REQUESTS_MAX} requests are waiting: try again later")
        if self._read_only and isinstance(request, Execute):
            raise InsufficientStorage(self._read_only)
        self._counters["requests"] += 1
        self._pending.append(_Pending(request, reply))
        self._arrived.set()
        if len(self._pending) >= self._gathering.expected:
            self._enough.set()

    async def propose(self, internal: Internal) -> Settled:
        """Make a change of the NameNode's own; returns when it is committed.

        Raises:
            EsdfsError: It was refused or could not be made durable.
        """
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._enqueue(internal, future)
        settled = await future
        if settled.error is not None:
            raise settled.error
        return settled

    async def _register(self, body: bytes, reply: "_Reply") -> None:
        try:
            try:
                result = self._blocks.register(body)
            except NeedsJournal as needed:
                await self.propose(Internal(partial(_datanode_added, needed.node_id, needed.uuid)))
                result = self._blocks.register(body)
        except NotLeader:
            # The leader hears of it too; its record comes to us through the journal.
            self._refuse(reply, Unavailable("the leader has not journaled this DataNode yet: register again"))
            return
        except EsdfsError as error:
            self._refuse(reply, error)
            return
        self._answer(reply, msgspec.Raw(_encode(result)))

    def _require_leader(self) -> None:
        if not self._metadata.replication.is_leader and not self._quorum.is_opening():
            raise self._not_leader()

    def _not_leader(self) -> NotLeader:
        leader_id, rest = self._quorum.leader()
        if not leader_id:
            return NotLeader("no NameNode leads at the moment: try again")
        if not rest:
            return NotLeader(f"{leader_id}, a witness, leads until it has handed over: try again")
        return NotLeader(
            f"{leader_id} leads, not {self._config.node_id}: ask it", leader=rest, leader_id=leader_id
        )

    async def _read_index(self, reply: "_Reply") -> None:
        try:
            while self._quorum.is_opening():
                await self._move()
            txid = await self._quorum.read_index()
            while self._metadata.meta().applied_txid < txid:
                await self._move()
        except NotLeader:
            self._refuse(reply, self._not_leader())
        except EsdfsError as error:
            self._refuse(reply, error)
        else:
            self._answer(reply, msgspec.Raw(_encode({"txid": txid})))

    async def _change_quorum(self, wanted: QuorumChange, reply: "_Reply") -> None:
        try:
            result = await self._quorum.change(wanted)
        except NotLeader:
            self._refuse(reply, self._not_leader())
        except EsdfsError as error:
            self._refuse(reply, error)
        else:
            self._answer(reply, msgspec.Raw(_encode(result)))

    async def _finalize(self, reply: "_Reply") -> None:
        try:
            result = await self._upgrading.finalize(self.propose)
        except EsdfsError as error:
            self._refuse(reply, error)
        else:
            self._answer(reply, msgspec.Raw(_encode(result)))

    def _renew(self, files: list[tuple[int, str]]) -> dict[str, int]:
        with self._metadata.present() as view:
            for inode, lease in files:
                held(view, inode, lease)
        for inode, _ in files:
            self._leases.renew(inode)
        return {"expires_in_ms": self._leases.soft_ms}

    def _answer(self, reply: "_Reply", result: msgspec.Raw) -> None:
        meta_txid = self._metadata.replication.commit_txid
        answer = Answer(reply.call_id, meta_txid, self._metadata.replication.epoch, None, result)
        reply.connection.answer(answer)

    def _refuse(self, reply: "_Reply", error: EsdfsError) -> None:
        self._counters["refused"] += 1
        failure = Failure(error.code, error.message, error.details)
        txid, epoch = self._metadata.replication.commit_txid, self._metadata.replication.epoch
        reply.connection.answer(Answer(reply.call_id, txid, epoch, failure))

    # --- batches --------------------------------------------------------------------------------

    async def _run_batches(self) -> None:
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
                self._refuse_all(taken, self._not_leader())
                continue
            self._speculating = True
            try:
                await self._run_batch(taken)
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

    async def _run_batch(self, taken: "list[_Pending]") -> None:
        batch = self._engine.prepare([pending.request for pending in taken])
        if not batch.drafts:
            batch.abort()
            self._settle(taken, batch)
            return
        try:
            entries = self._metadata.replication.propose(batch.drafts)
            # Shielded: a stop lets the batch in flight finish, so that its callers get an answer.
            await asyncio.shield(self._quorum.committed(entries))
        except (OutcomeUnknown, NotLeader, Unavailable) as error:
            # The speculation is gone; whether its records survive, the next leader's journal says.
            batch.abort()
            self._refuse_all(taken, error)
            return
        except JournalError as error:
            batch.abort()
            self._fail(taken, error)
            return
        batch.commit(entries)
        self._committed(batch.events, batch.released)
        self._counters["batches"] += 1
        self._counters["records"] += len(batch.drafts)
        self._counters["events"] += len(batch.events)
        self._moved.set()
        self._settle(taken, batch)

    async def _until_up_to_date(self) -> None:
        """A leader decides upon everything before its own next record: wait until that is applied."""
        replication = self._metadata.replication
        while replication.is_leader or self._quorum.is_opening():
            self.apply_committed()
            if replication.is_leader and self._metadata.meta().applied_txid == replication.head.last_txid:
                return
            await self._move()

    async def _move(self) -> None:
        """Return when more is applied, or this node's role changed."""
        self._moved.clear()
        await self._moved.wait()

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
        entries = up_to_mark(entries)
        writer = self._metadata.speculate()
        try:
            events = [event for entry in entries for event in writer.apply_row(astuple(entry))]
        except NewerRelease as error:
            writer.abort()
            self.fail(error.message)  # what it was told is stored: an upgraded program goes on from there
            return
        except BaseException:
            writer.abort()
            raise
        writer.commit()
        self._committed(events, writer.released)
        self._moved.set()
        if entries[-1].txid < replication.commit_txid:
            asyncio.get_running_loop().call_soon(self.apply_committed)

    def checkpoint_installed(self, txid: Txid) -> None:
        """The journal begins after the checkpoint at ``txid`` now."""
        self._checkpoints.installed(txid)

    def _reloaded(self) -> None:
        """The projection jumped: nobody heard of the events in between."""
        for file in self._metadata.open_files():
            self._leases.renew(file.inode)
        self._blocks.reloaded()
        self._moved.set()

    def role_changed(self) -> None:
        """This node leads, or no longer does."""
        self._led = self._metadata.replication.is_leader
        self._blocks.leads(self._led)
        for file in self._metadata.open_files():
            self._leases.renew(file.inode)
        self._moved.set()

    def role_changed_if_new(self) -> None:
        """A leader may take proposals only once its first record is committed: a commit may be that one."""
        if self._led != self._metadata.replication.is_leader:
            self.role_changed()

    def fail(self, why: str) -> None:
        """This node cannot go on."""
        if not self.failed.done():
            self.failed.set_result(why)

    def _take(self) -> "list[_Pending]":
        """The next batch: all that waits, up to a bound on commands."""
        count = 0
        for index, pending in enumerate(self._pending):
            count += len(pending.request.commands) if isinstance(pending.request, Execute) else 1
            if count > BATCH_COMMANDS_MAX and index:
                return self._split(index)
            if isinstance(pending.request, Internal) and pending.request.ends_batch:
                return self._split(index + 1)
        taken, self._pending = self._pending, []
        self._arrived.clear()
        return taken

    def _split(self, count: int) -> "list[_Pending]":
        taken, self._pending = self._pending[:count], self._pending[count:]
        if not self._pending:
            self._arrived.clear()
        return taken

    def _committed(self, events: list[Event], released: list[int]) -> None:
        for event in events:
            match event:
                case ev.FileOpened(inode=inode):
                    self._leases.renew(inode)
                case ev.FileCompleted(inode=inode) | ev.FileAborted(inode=inode):
                    self._leases.forget(inode)
                case ev.CheckpointMarked():  # the last one: see `up_to_mark`, and `Internal.ends_batch`
                    self._checkpoints.marked()
                case ev.CheckpointTaken():
                    self._checkpoints.taken(event)
                case _:
                    pass
        self._blocks.on_committed(events)
        self._blocks.on_released(released)
        self._housekeeping.on_committed(events)

    def _settle(self, taken: "list[_Pending]", batch: Batch) -> None:
        epoch = self._metadata.replication.epoch
        for pending, settled in zip(taken, batch.settled, strict=True):
            reply = pending.reply
            if isinstance(reply, asyncio.Future):
                if not reply.done():
                    reply.set_result(settled)
            elif settled.error is not None:
                self._refuse(reply, settled.error)
            else:
                reply.connection.answer(
                    Answer(reply.call_id, settled.txid, epoch, None, settled.result, settled.replayed)
                )

    def _fail(self, taken: "list[_Pending]", error: JournalError) -> None:
        unknown = OutcomeUnknown(
            f"the journal failed while this was being written ({error.message}); repeat it under the same "
            "idempotency key"
        )
        self._refuse_all(taken + self._pending, unknown)
        self._pending = []
        if not self.failed.done():
            self.failed.set_result(f"journal: {error.message}")

    def _refuse_all(self, pendings: "list[_Pending]", error: EsdfsError) -> None:
        for pending in pendings:
            if not isinstance(pending.reply, asyncio.Future):
                self._refuse(pending.reply, error)
            elif not pending.reply.done():
                pending.reply.set_exception(error)

    # --- time -----------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._check_disk()
            if not self._metadata.replication.is_leader:
                continue
            for file in self._metadata.open_files():
                if self._leases.lapsed([file.inode]):
                    await self._end_lease(file.inode)

    async def _end_lease(self, inode: int) -> None:
        try:
            await self.propose(Internal(partial(_lapsed, inode)))
        except (NotLeader, OutcomeUnknown, Unavailable) as error:
            _log.info("lease not ended", inode=inode, why=error.message)
        else:
            _log.warning("lease ended", inode=inode, why="not renewed within the hard limit")

    def _check_disk(self) -> None:
        stat = os.statvfs(self._config.path)
        free_bytes = stat.f_bavail * stat.f_frsize
        was, self._read_only = self._read_only, ""
        if free_bytes < self._config.free_bytes_min:
            self._read_only = (
                f"the NameNode's disk has {free_bytes >> 20} MiB left, less than the "
                f"{self._config.free_bytes_min >> 20} MiB it keeps: read-only until there is room"
            )
        if bool(was) != bool(self._read_only):
            _log.warning("read-only" if self._read_only else "writable again", why=self._read_only or was)

    def status(self) -> dict[str, Any]:
        """What this node knows of itself and of the DataNodes."""
        meta = self._metadata.meta()
        replication = self._metadata.replication
        return {
            "node_id": self._config.node_id,
            "cluster_id": self._metadata.identity.cluster_id,
            "role": self._quorum.role(),
            "leader": self._quorum.leader()[0],
            "namenodes": self._namenodes(),
            "epoch": replication.epoch,
            "last_txid": replication.head.last_txid,
            "commit_txid": replication.commit_txid,
            "applied_txid": meta.applied_txid,
            "checkpoint_txid": self._checkpoints.newest_txid,
            "base_txid": self._checkpoints.base_txid,
            "oldest_txid": self._checkpoints.base_txid + 1,
            "feature_level": self._metadata.feature_level(),
            **self._metadata.standing(self._clock.wall_us())._asdict(),
            "chain": meta.chain.hex(),
            "read_only": self._read_only,
            "pending_requests": len(self._pending),
            "counters": dict(self._counters),
            **self._blocks.status(),
        }

    def _namenodes(self) -> list[dict[str, Any]]:
        """Who votes, and as what; of the others only who leads is known here."""
        leader_id, mine = self._quorum.leader()[0], self._config.node_id
        with self._metadata.present() as view:
            voters = view.voters()
        if not voters and leader_id == mine:  # a cluster of one, of before these were journaled
            return [{**self._observer(), "kind": "voter"}]
        observing = [] if any(voter.node_id == mine for voter in voters) else [self._observer()]
        return observing + [
            {
                "node_id": voter.node_id,
                "role": self._quorum.role()
                if voter.node_id == mine
                else "leader"
                if voter.node_id == leader_id
                else "follower",
                "kind": voter.kind,
                "rest": voter.rest,
                "grpc": voter.grpc,
            }
            for voter in voters
        ]

    def _observer(self) -> dict[str, Any]:
        grpc, rest = self._config.grpc_address, self._config.rest_url
        return {
            "node_id": self._config.node_id,
            "role": self._quorum.role(),
            "kind": "observer",
            "rest": rest,
            "grpc": grpc,
        }

    def _watch(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        # A broken invariant stops the process: what it knows can no longer be trusted.
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            _log.error("stopping", exc_info=error)
            self.failed.set_result(f"{type(error).__name__}: {error}")


class _Reply(msgspec.Struct, frozen=True):
    connection: Connection
    call_id: int


class _Pending(msgspec.Struct, frozen=True):
    request: Request
    reply: "_Reply | asyncio.Future[Settled]"


def _datanode_added(node_id: str, uuid: str, writer: Writer) -> Event | None:
    if writer.number_of(node_id) is not None:
        return None
    return ev.DataNodeAdded(node_id, uuid, writer.next_datanode_number())


def _lapsed(inode: int, writer: Writer) -> Event | None:
    file = writer.open_file(inode)
    if file is None:
        return None
    blocks = tuple(block.block_id for block in file.blocks)
    return ev.FileAborted(inode, "its lease was not renewed within the hard limit", blocks)
