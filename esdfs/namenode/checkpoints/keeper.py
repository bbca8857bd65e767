"""When checkpoints are taken, whether they agree, which are kept, and what is compacted then.

The leader journals a mark; every full NameNode takes an image of its state at exactly that record, in the
helper process. The leader, once its own file is durable, journals what its image's digest is. A node with
another digest stops. Only an image that agreed is put into the catalogue: offered to others, gone on from.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from esdfs.env import Clock
from esdfs.errors import EsdfsError
from esdfs.ids import Epoch, Micros, Txid
from esdfs.journal.checkpoint import Checkpoint
from esdfs.journal.entry import Base, Entry
from esdfs.journal.log import Journal
from esdfs.journal.statements import Statement
from esdfs.namenode.checkpoints.compaction import Compaction
from esdfs.namenode.checkpoints.files import CheckpointFiles, forget_old, offer_of, voters_in
from esdfs.namenode.checkpoints.helper import (
    ArchiveRecords,
    Done,
    Helper,
    LoadImage,
    Opened,
    Progressed,
    TakeImage,
)
from esdfs.namenode.checkpoints.journal_side import JournalSide
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.engine import Internal
from esdfs.namenode.events import CheckpointMarked, CheckpointTaken, Kind
from esdfs.namenode.metadata_manager import MetadataManager
from esdfs.namenode.namespace.inodes import Cursor
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import Meta
from esdfs.namenode.projection.writer import Writer
from esdfs.namenode.signing import Statements, load_key
from esdfs.namenode.upcasters import version_at

_LOOK_EVERY_S: Final = 0.25
_HOLD_S_MAX: Final = 0.2
_PAUSE_FACTOR: Final = 10
_REMEMBERED: Final = 8
_OPENING, _LOADING = "opening", "loading"

_log = structlog.get_logger(__name__)


class _Image(msgspec.Struct, frozen=True):
    """An image taken here, and what its place in the journal is."""

    meta: Meta
    done: Done

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(self.done.state_digest)


class CheckpointKeeper:
    """One per full NameNode, in its event loop.

    Args:
        newest: From ``recovery``: the newest checkpoint this node has.

    Attributes:
        on_failed: Called when this node's state is not what the leader's is; it must not go on.
        on_released: Called when records may be applied again.
        on_loaded: Called when the projection jumped to a checkpoint.
    """

    def __init__(
        self,
        config: NameNodeConfig,
        journal: Journal,
        metadata: MetadataManager,
        quorum: JournalSide,
        clock: Clock,
        *,
        newest: Checkpoint | None,
    ) -> None:
        self._config, self._journal, self._metadata = config, journal, metadata
        self._quorum, self._clock = quorum, clock
        self._files = CheckpointFiles(config.path)
        self._helper = Helper(config.path, bytes_max=config.projection_bytes_max)
        self._compaction = Compaction(
            config,
            journal,
            metadata.identity.cluster_id,
            quorum,
            self._seal,
            self._moved,
            self._cursors,
            clock,
        )
        self._compacting = asyncio.Lock()
        self._newest = newest
        self._base_txid = journal.base().last_txid
        self._marked_txid = newest.txid if newest is not None else Txid(0)
        self._not_before_ns = 0
        self._images: dict[int, _Image] = {}
        self._taken: dict[int, CheckpointTaken] = {}
        self._holds: set[str] = set()
        self._free = asyncio.Event()
        self._free.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_failed: Callable[[str], None] = lambda _: None
        self.on_released: Callable[[], None] = lambda: None
        self.on_loaded: Callable[[], None] = lambda: None

    @property
    def newest_txid(self) -> int:
        """Of the newest checkpoint that agreed; 0 when there is none."""
        return 0 if self._newest is None else self._newest.txid

    @property
    def base_txid(self) -> int:
        """The last record that was compacted away; 0 when none was."""
        return self._base_txid

    @property
    def holds(self) -> bool:
        """Whether nothing may be applied now: an image is being opened or loaded."""
        return bool(self._holds)

    async def released(self) -> None:
        """Return once records may be applied."""
        while self._holds:
            await self._free.wait()

    async def start(self) -> None:
        """Start the helper process."""
        await self._helper.start()

    async def keep(self, propose: Callable[[Internal], Awaitable[Any]]) -> None:
        """On a leader, journal marks when they are due. For ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self._announce(propose)
                if self._is_due():
                    await propose(Internal(self._mark, ends_batch=True))
            except EsdfsError as error:  # another one leads by now, and does it
                _log.info("checkpoint not journaled", why=error.message)

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._helper.stop()

    def _is_due(self) -> bool:
        every = self._config.checkpoint_every_records
        replication = self._metadata.replication
        return (
            every > 0
            and replication.is_leader
            and replication.commit_txid - self._marked_txid >= every
            and self._clock.monotonic_ns() >= self._not_before_ns
            and not self._helper.is_busy
            and not self._images
            and version_at(Kind.CHECKPOINT_MARKED, self._metadata.feature_level()) > 0
        )

    def _mark(self, writer: Writer) -> CheckpointMarked | None:
        known = version_at(Kind.CHECKPOINT_MARKED, writer.feature_level())
        return CheckpointMarked() if known else None

    # --- what happened --------------------------------------------------------------------------

    def marked(self) -> None:
        """The projection stands exactly at a mark. Nothing more is applied before the image is opened."""
        meta = self._metadata.meta()
        self._marked_txid = Txid(meta.applied_txid)
        if self._helper.is_busy or self._holds:
            _log.info("checkpoint skipped", txid=meta.applied_txid, why="the one before is being made")
            return
        self._hold(_OPENING)
        self._spawn(self._take(meta))

    def taken(self, event: CheckpointTaken) -> None:
        """The leader says what its image is."""
        self._taken[event.of_txid] = event
        while len(self._taken) > _REMEMBERED:
            del self._taken[next(iter(self._taken))]
        self._compare(event.of_txid)

    async def _take(self, meta: Meta) -> None:
        txid = Txid(meta.applied_txid)
        began_ns = self._clock.monotonic_ns()
        voters_txid, voters = self._quorum.voters_at(txid)
        job = TakeImage(txid, self._metadata.identity.cluster_id, voters_txid, voters_in(voters))
        loop = asyncio.get_running_loop()
        too_late = loop.call_later(_HOLD_S_MAX, self._release, _OPENING)

        def told(what: Opened | Progressed) -> None:
            if isinstance(what, Opened):
                held_ms = (self._clock.monotonic_ns() - began_ns) / 1e6
                _log.info("checkpoint begun", txid=txid, held_ms=round(held_ms, 1))
                self._release(_OPENING)

        try:
            done = await self._helper.run(job, told)
        except EsdfsError as error:
            _log.warning("checkpoint not made", txid=txid, why=error.message)
            return
        finally:
            too_late.cancel()
            self._release(_OPENING)
            pause_ns = _PAUSE_FACTOR * (self._clock.monotonic_ns() - began_ns)
            self._not_before_ns = self._clock.monotonic_ns() + pause_ns
        _log.info("checkpoint made", txid=txid, size_bytes=done.size_bytes, duration_ms=done.duration_ms)
        await self._forget_images()
        self._images[txid] = _Image(meta, done)
        self._compare(txid)

    async def _announce(self, propose: Callable[[Internal], Awaitable[Any]]) -> None:
        """On a leader, journal what its image is, once: also at a mark of the leader before it."""
        for txid, image in list(self._images.items()):
            if txid not in self._taken and self._metadata.replication.is_leader:
                await propose(Internal(partial(_told_by, image)))

    def _compare(self, txid: int) -> None:
        event, image = self._taken.get(txid), self._images.get(txid)
        if event is None or image is None or event.layout_format != layout.FORMAT:
            return
        if event.state_digest != image.digest:
            kept = self._files.set_aside(txid)
            self.on_failed(
                f"this node's state differs from the leader's at txid {txid}: its digest is"
                f" {image.digest.hex()}, the leader's {event.state_digest.hex()}. Nothing was removed; the"
                f" image of this state is {kept}. Verify both journals (`esdfs journal verify`). If this one"
                f" is sound, remove {self._metadata.projection_path} and start it again: its state is rebuilt"
                " from the last checkpoint that agreed and the journal. If it differs again, replay the"
                " leader's (`esdfs journal replay`): then the leader's state is the wrong one"
            )
            return
        self._spawn(self._remember(image))

    # --- keeping --------------------------------------------------------------------------------

    async def _remember(self, image: _Image) -> None:
        meta, done = image.meta, image.done
        txid = Txid(meta.applied_txid)
        self._images.pop(txid, None)
        if txid <= self.newest_txid:  # a newer one was installed meanwhile
            self._files.forget(txid)
            return
        checkpoint = Checkpoint(
            txid,
            Epoch(meta.epoch),
            meta.chain,
            Micros(self._clock.wall_us()),
            done.size_bytes,
            bytes.fromhex(done.sha256),
            image.digest,
            self._files.relative(txid),
        )
        offer = offer_of(self._files.header(checkpoint), checkpoint)

        def remember() -> None:
            self._journal.remember_checkpoint(checkpoint)
            self._vouch(checkpoint)
            forget_old(self._journal, self._files)

        await self._quorum.in_journal(remember)
        self._newest = checkpoint
        self._quorum.checkpointed(offer)
        self._spawn(self._compact(txid))
        _log.info("checkpoint kept", txid=txid, state_digest=done.state_digest)

    def _vouch(self, checkpoint: Checkpoint) -> None:
        """Sign what this node and the leader agree on; see ``journal.statements``."""
        key = load_key(self._config.path)
        statement = Statement(
            cluster_id=self._metadata.identity.cluster_id,
            txid=checkpoint.txid,
            epoch=checkpoint.epoch,
            chain=checkpoint.chain.hex(),
            ts_us=checkpoint.created_us,
            key_id=key.public.key_id,
            state_digest=checkpoint.state_digest.hex(),
            layout_format=layout.FORMAT,
        )
        try:
            Statements(self._config.path).append(key.vouch(statement))
        except OSError as error:
            _log.error("checkpoint not signed", txid=checkpoint.txid, why=error.strerror)

    async def _forget_images(self) -> None:
        """Of images that no leader ever confirmed, the newest is enough."""
        known = {each.txid for each in await self._quorum.in_journal(self._journal.checkpoints)}
        for txid in list(self._images):
            del self._images[txid]
            if txid not in known:
                self._files.forget(txid)

    async def _compact(self, txid: Txid) -> None:
        async with self._compacting:
            try:
                await self._compaction.run(txid)
            except EsdfsError as error:
                _log.error("journal not compacted", why=error.message)

    async def _seal(self, job: ArchiveRecords) -> Done:
        return await self._helper.run(job, lambda _: None)

    def _cursors(self) -> list[Cursor]:
        with self._metadata.present() as view:
            return view.cursors()

    def _moved(self, base: Base) -> None:
        self._base_txid = base.last_txid

    # --- being given one ------------------------------------------------------------------------

    def installed(self, txid: Txid) -> None:
        """The journal begins after the checkpoint at ``txid``, durably: load it."""
        self._hold(_LOADING)
        self._spawn(self._load(txid))

    async def _load(self, txid: Txid) -> None:
        def told(what: Opened | Progressed) -> None:
            if isinstance(what, Progressed):
                _log.info("loading a checkpoint", txid=txid, done_bytes=what.done, total_bytes=what.total)

        try:
            done = await self._helper.run(LoadImage(txid), told)
        except EsdfsError as error:
            self.on_failed(f"the checkpoint at txid {txid} cannot be loaded: {error.message}")
            return
        _log.info("checkpoint loaded", txid=txid, duration_ms=done.duration_ms)
        self._marked_txid = self._base_txid = txid
        self._newest = next(iter(await self._quorum.in_journal(self._journal.checkpoints)))
        self._release(_LOADING)
        self.on_loaded()

    # --- inside ---------------------------------------------------------------------------------

    def _hold(self, why: str) -> None:
        self._holds.add(why)
        self._free.clear()

    def _release(self, why: str) -> None:
        if why not in self._holds:
            return
        self._holds.discard(why)
        if not self._holds:
            self._free.set()
            self.on_released()

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_failed(f"{type(error).__name__}: {error}")


def _told_by(image: _Image, _: Writer) -> CheckpointTaken:
    return CheckpointTaken(
        image.meta.applied_txid,
        layout.FORMAT,
        image.digest,
        bytes.fromhex(image.done.sha256),
        image.done.size_bytes,
    )


def up_to_mark(entries: list[Entry]) -> list[Entry]:
    """``entries`` up to the first mark: an image is of the state right after that record."""
    for index, entry in enumerate(entries):
        if entry.kind == Kind.CHECKPOINT_MARKED:
            return entries[: index + 1]
    return entries
