"""Checkpoints between nodes: handing out pieces of a file, and getting one from the node that offered it.

Needs no projection: a witness keeps checkpoints as the files they are.
"""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from esdfs.env import Clock
from esdfs.errors import (
    CheckpointDamaged,
    CheckpointGone,
    EsdfsError,
    InsufficientStorage,
    JournalUnavailable,
)
from esdfs.ids import NodeId, Txid
from esdfs.journal.checkpoint import Checkpoint
from esdfs.journal.log import Journal
from esdfs.journal.quorum.effects import InstallCheckpoint
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.namenode.checkpoints.files import CheckpointFiles, base_of, forget_old, voters_of
from esdfs.namenode.checkpoints.image import ImageHeader, read_header, read_trailer
from esdfs.rpc.chunks import CHUNK_BYTES, ChunkAsked

_TRIES: Final = 5
_RETRY_S: Final = 0.5
_TELL_EVERY_S: Final = 2.0
_FLUSH_EVERY_BYTES: Final = 8 << 20

FetchChunk = Callable[[NodeId, ChunkAsked], Awaitable[bytes]]
"""Raises an `EsdfsError` when the piece did not come."""

_log = structlog.get_logger(__name__)


class CheckpointExchange:
    """``CheckpointPort`` of the quorum's driver, and ``ChunkSource`` of its server. In one event loop.

    Args:
        check: Raises `NewerRelease` for a checkpoint that this node could not go on from.
        on_unfit: Told why, then: this node must stop, for the cluster went on without it.
        on_installed: Told when the journal begins after a checkpoint, durably.
        free_bytes_min: A download that would leave less free disk is not begun.
    """

    def __init__(
        self,
        files: CheckpointFiles,
        journal: Journal,
        clock: Clock,
        *,
        cluster_id: str,
        fetch_chunk: FetchChunk,
        check: Callable[[ImageHeader], None],
        on_unfit: Callable[[str], None],
        on_installed: Callable[[Txid], None],
        free_bytes_min: int = 0,
    ) -> None:
        self.cluster_id = cluster_id
        self._files, self._journal, self._clock = files, journal, clock
        self._fetch_chunk, self._check = fetch_chunk, check
        self._on_unfit, self._on_installed = on_unfit, on_installed
        self._free_bytes_min = free_bytes_min
        self._loop = asyncio.get_running_loop()

    # --- handing out ----------------------------------------------------------------------------

    async def chunk(self, asked: ChunkAsked) -> bytes:
        """See ``ChunkSource.chunk``."""
        return await asyncio.to_thread(self._read, asked)

    def _read(self, asked: ChunkAsked) -> bytes:
        known = {(each.txid, each.sha256) for each in self._journal.checkpoints()}
        if (asked.last.txid, asked.sha256) not in known:
            raise CheckpointGone(f"the checkpoint at txid {asked.last.txid} is no longer here")
        try:
            with self._files.path(asked.last.txid).open("rb") as file:
                return os.pread(file.fileno(), asked.max_bytes, asked.offset)
        except OSError as error:
            raise CheckpointGone(
                f"the checkpoint at txid {asked.last.txid} cannot be read: {error.strerror}"
            ) from error

    # --- getting one ----------------------------------------------------------------------------

    async def fetch(self, source: NodeId, offer: CheckpointOffer) -> None:
        """See ``CheckpointPort.fetch``. What came before it failed is kept for the next try."""
        try:
            await self._download(source, offer)
        except EsdfsError as error:
            _log.warning("checkpoint not fetched", source=source, txid=offer.last.txid, why=error.message)
            await asyncio.sleep(_RETRY_S)  # the quorum asks again at once
            raise

    async def _download(self, source: NodeId, offer: CheckpointOffer) -> None:
        part = self._files.arriving(offer.last.txid, offer.sha256)
        self._files.forget_arriving(part)
        total, offset = await asyncio.to_thread(_hash_so_far, part)
        self._require_room(offer.size_bytes - offset)
        _log.info("fetching a checkpoint", source=source, txid=offer.last.txid, size_bytes=offer.size_bytes)
        told_s = self._loop.time()
        with part.open("ab") as file:
            unflushed_bytes = 0
            while offset < offer.size_bytes:
                asked = ChunkAsked(offer.last, offer.sha256, offset, CHUNK_BYTES)
                data = await self._chunk(source, asked)
                if not data:
                    break
                try:
                    file.write(data)
                    unflushed_bytes += len(data)
                    if unflushed_bytes >= _FLUSH_EVERY_BYTES:
                        unflushed_bytes = 0
                        file.flush()
                        await asyncio.to_thread(os.fdatasync, file.fileno())
                except OSError as error:
                    raise JournalUnavailable(f"{part} cannot be written: {error.strerror}") from error
                total.update(data)
                offset += len(data)
                if self._loop.time() - told_s > _TELL_EVERY_S:
                    told_s = self._loop.time()
                    _log.info("fetching a checkpoint", done_bytes=offset, total_bytes=offer.size_bytes)
        if offset != offer.size_bytes or total.digest() != offer.sha256:
            part.unlink()
            raise CheckpointDamaged(
                f"the checkpoint at txid {offer.last.txid} from {source} is not the one it offered: its"
                f" SHA-256 is {total.hexdigest()}, not {offer.sha256.hex()}"
            )
        self._vet(part, offer)
        await asyncio.to_thread(self._files.publish, part, offer.last.txid)
        _log.info("checkpoint fetched", source=source, txid=offer.last.txid, size_bytes=offset)

    async def _chunk(self, source: NodeId, asked: ChunkAsked) -> bytes:
        for _ in range(_TRIES - 1):
            with suppress(CheckpointDamaged):
                return await self._fetch_chunk(source, asked)
        return await self._fetch_chunk(source, asked)

    def _require_room(self, more_bytes: int) -> None:
        stat = os.statvfs(self._files.directory)
        if stat.f_bavail * stat.f_frsize - more_bytes < self._free_bytes_min:
            raise InsufficientStorage(
                f"a checkpoint of {more_bytes >> 20} MiB more does not fit in"
                f" {self._files.directory}: make room"
            )

    def _vet(self, path: Path, offer: CheckpointOffer) -> None:
        with path.open("rb") as file:
            header = read_header(file)
        if (
            header.cluster_id != self.cluster_id
            or (header.epoch, header.txid) != offer.last
            or header.chain != offer.chain
            or header.ts_us != offer.last_ts_us
            or voters_of(header) != offer.voters
        ):
            raise CheckpointDamaged(f"the checkpoint at txid {offer.last.txid} is not of what was offered")
        try:
            self._check(header)
        except EsdfsError as error:
            self._on_unfit(error.message)
            raise

    # --- beginning after it ---------------------------------------------------------------------

    def install(self, write: InstallCheckpoint) -> None:
        """See ``CheckpointPort.install``."""
        offer = write.checkpoint
        txid = offer.last.txid
        with self._files.path(txid).open("rb") as file:
            read_header(file)
            trailer = read_trailer(file)
        checkpoint = Checkpoint(
            txid,
            offer.last.epoch,
            offer.chain,
            self._clock.wall_us(),
            offer.size_bytes,
            offer.sha256,
            trailer.state_digest,
            self._files.relative(txid),
        )
        self._journal.install(base_of(offer), checkpoint, keep_tail=write.keep_tail)
        forget_old(self._journal, self._files)
        _log.info("checkpoint installed", txid=txid, keeps_tail=write.keep_tail)
        self._loop.call_soon_threadsafe(self._on_installed, txid)


def _hash_so_far(part: Path) -> "tuple[hashlib._Hash, int]":
    total, size_bytes = hashlib.sha256(), 0
    if part.exists():
        with part.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                total.update(piece)
                size_bytes += len(piece)
    return total, size_bytes
