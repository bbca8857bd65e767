"""The NameNode's one thread: takes calls, has them decided (``batches``), keeps time.

The only other thread is the journal's, so that an fsync delays no heartbeat.
"""

import asyncio
import os
from functools import partial
from typing import Any, Final, assert_never

import msgspec
import structlog

from esdfs.env import Clock
from esdfs.errors import (
    EsdfsError,
    InsufficientStorage,
    NotLeader,
    OutcomeUnknown,
    Unavailable,
)
from esdfs.ids import Txid
from esdfs.namenode import events as ev
from esdfs.namenode.batches import Batches
from esdfs.namenode.blocks.manager import BlockManager, NeedsJournal
from esdfs.namenode.blocks.monitor import DataNodeMonitor
from esdfs.namenode.checkpoints.keeper import CheckpointKeeper
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.engine import Engine, Internal, Settled
from esdfs.namenode.events import Event
from esdfs.namenode.fleet import namenodes
from esdfs.namenode.frames import (
    AddVoter,
    Answer,
    Balance,
    BlockReport,
    Call,
    Execute,
    Failure,
    NodeHeartbeat,
    QuorumChange,
    QuorumStatus,
    ReadIndex,
    Recheck,
    Register,
    RemoveVoter,
    RenewLeases,
    ResumeCopies,
    Status,
    TransferLeadership,
    UnplacedReplicas,
    Upgrade,
)
from esdfs.namenode.housekeeping import FinishRestores, Housekeeping
from esdfs.namenode.leading import Quorum
from esdfs.namenode.leases import LeaseTable
from esdfs.namenode.metadata_manager import MetadataManager
from esdfs.namenode.namespace.writing import held
from esdfs.namenode.projection.writer import Writer
from esdfs.namenode.retaining import MoveHorizon, PurgeHistory
from esdfs.namenode.socket_server import Connection
from esdfs.namenode.upgrading import Upgrading

TICK_S: Final = 0.5

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
        self._batches = Batches(
            metadata,
            quorum,
            checkpoints,
            Engine(metadata, blocks, leases, clock),
            clock,
            on_committed=self._committed,
            fail=self.fail,
            not_leader=self._not_leader,
        )
        self._upgrading = Upgrading(metadata, quorum)
        self._housekeeping = Housekeeping(
            metadata, [FinishRestores(), MoveHorizon(config, clock), PurgeHistory()]
        )
        self._monitor = DataNodeMonitor(blocks, structlog.get_logger("blocks"))
        self._led = metadata.replication.is_leader
        self._tasks: set[asyncio.Task[None]] = set()
        self._read_only = ""
        self._refused = 0
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Begin to run batches and to keep time."""
        self._check_disk()
        for file in self._metadata.open_files():
            self._leases.renew(file.inode)
        loop = asyncio.get_running_loop()
        self._watch(loop.create_task(self._batches.run(), name="batches"))
        self._watch(loop.create_task(self._keep_time(), name="time"))
        self._watch(loop.create_task(self._checkpoints.keep(self._batches.propose), name="checkpoints"))
        self._watch(loop.create_task(self._housekeeping.keep(self._batches.propose), name="housekeeping"))
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
                    self._execute(call.body, reply)
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
                case Balance():
                    self._require_leader()
                    result = self._blocks.balancer.ask(call.body, self._clock.monotonic_ns())
                case Recheck(begin):
                    self._require_leader()
                    result = self._blocks.recheck(begin=begin)
                case ResumeCopies():
                    self._require_leader()
                    result = self._blocks.resume_copies()
                case UnplacedReplicas(after, limit):
                    result = self._blocks.unplaced.page(after, limit)
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

    def _execute(self, request: Execute, reply: "_Reply") -> None:
        self._require_leader()
        if self._read_only:
            raise InsufficientStorage(self._read_only)
        self._batches.put(request, partial(self._settled, reply))

    def _settled(self, reply: "_Reply", settled: Settled) -> None:
        if settled.error is not None:
            self._refuse(reply, settled.error)
            return
        epoch = self._metadata.replication.epoch
        reply.connection.answer(
            Answer(reply.call_id, settled.txid, epoch, None, settled.result, settled.replayed)
        )

    async def _register(self, body: bytes, reply: "_Reply") -> None:
        try:
            try:
                await self._blocks.racks.learn(body)
                result = self._blocks.register(body)
            except NeedsJournal as needed:
                await self._batches.propose(Internal(partial(_datanode_added, needed.node_id, needed.uuid)))
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
                await self._batches.moved()
            txid = await self._quorum.read_index()
            while self._metadata.meta().applied_txid < txid:
                await self._batches.moved()
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
            result = await self._upgrading.finalize(self._batches.propose)
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
        self._refused += 1
        failure = Failure(error.code, error.message, error.details)
        txid, epoch = self._metadata.replication.commit_txid, self._metadata.replication.epoch
        reply.connection.answer(Answer(reply.call_id, txid, epoch, failure))

    # --- what the quorum tells ------------------------------------------------------------------

    def apply_committed(self) -> None:
        """More is committed; see ``Batches.apply_committed``."""
        self._batches.apply_committed()

    def checkpoint_installed(self, txid: Txid) -> None:
        """The journal begins after the checkpoint at ``txid`` now."""
        self._checkpoints.installed(txid)

    def _reloaded(self) -> None:
        """The projection jumped: nobody heard of the events in between."""
        for file in self._metadata.open_files():
            self._leases.renew(file.inode)
        self._blocks.reloaded()
        self._batches.wake()

    def role_changed(self) -> None:
        """This node leads, or no longer does."""
        self._led = self._metadata.replication.is_leader
        self._blocks.leads(self._led)
        for file in self._metadata.open_files():
            self._leases.renew(file.inode)
        self._batches.wake()

    def role_changed_if_new(self) -> None:
        """A leader may take proposals only once its first record is committed: a commit may be that one."""
        if self._led != self._metadata.replication.is_leader:
            self.role_changed()

    def fail(self, why: str) -> None:
        """This node cannot go on."""
        if not self.failed.done():
            self.failed.set_result(why)

    def _committed(self, events: list[Event], released: list[int], rewanted: list[int]) -> None:
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
        self._blocks.replicator.settled(rewanted)
        self._housekeeping.on_committed(events)

    # --- time -----------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._check_disk()
            self._leases.tick()
            if not self._metadata.replication.is_leader:
                continue
            for file in self._metadata.open_files():
                if self._leases.lapsed([file.inode]):
                    await self._end_lease(file.inode)

    async def _end_lease(self, inode: int) -> None:
        try:
            await self._batches.propose(Internal(partial(_lapsed, inode)))
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
            "namenodes": namenodes(self._config, self._quorum, self._metadata.voters()),
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
            "pending_requests": len(self._batches),
            "counters": {**self._batches.counters, "refused": self._refused},
            **self._blocks.status(),
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
