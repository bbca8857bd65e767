"""The replicas of one DataNode: the map in memory, and every way to read, add and drop one."""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import structlog
from msgspec.structs import replace

from esdfs.datanode import inventory, scan
from esdfs.datanode.reading import ReplicaReader
from esdfs.datanode.replica import BlockKey, Replica, ReplicaState, supersedes
from esdfs.datanode.replica_map import ReplicaMap
from esdfs.datanode.volumes import Volume, choose
from esdfs.datanode.writer import BlockWriter, SyncTimes, sync_parents
from esdfs.env import Clock
from esdfs.errors import (
    DiskFailed,
    EsdfsError,
    Overloaded,
    ReplicaCorrupt,
    ReplicaExists,
    ReplicaNotFound,
)
from esdfs.rpc.messages import Frame, Receipt

_log = structlog.get_logger()

_CORRUPT_KEPT_US: Final = 7 * 86_400 * 1_000_000
"""Bytes that did not verify are kept so long for people to look at."""


class Listener(Protocol):
    """Told of every change of the replica map, under its lock: be quick."""

    def stored(self, key: BlockKey, length_bytes: int) -> None:
        """Finalized."""
        ...

    def removed(self, key: BlockKey) -> None:
        """Deleted, replaced, or lost with its volume."""
        ...

    def corrupt(self, key: BlockKey) -> None:
        """Did not verify."""
        ...


class BlockStore:
    """All finalized replicas. Thread-safe.

    Args:
        volumes: Opened; their replicas are found by reading them now.
        node_id: For receipts.
        durable: False skips every fsync: for tests.
    """

    def __init__(
        self,
        volumes: list[Volume],
        node_id: str,
        clock: Clock,
        *,
        listener: Listener,
        sync_times: SyncTimes,
        durable: bool = True,
    ) -> None:
        self.volumes = volumes
        self._node_id = node_id
        self._clock = clock
        self._listener = listener
        self._sync_times = sync_times
        self._durable = durable
        self._lock = threading.RLock()
        self._replicas = ReplicaMap(volumes)
        self._writing: set[BlockKey] = set()
        self._leaving: set[BlockKey] = set()
        for volume in volumes:
            volume.on_failed = self._forget_volume
        self._corrupt = dict.fromkeys(inventory.take(volumes, self._replicas, clock))

    # --- looking ---

    def replicas(self) -> list[Replica]:
        """All finalized ones, at one moment."""
        with self._lock:
            return list(self._replicas)

    def corrupt(self) -> list[BlockKey]:
        """Those set aside and not replaced since."""
        with self._lock:
            return list(self._corrupt)

    def highest_block_id(self) -> int:
        """Of the finalized replicas; 0 = there is none."""
        with self._lock:
            return max((replica.block_id for replica in self._replicas), default=0)

    def count(self) -> int:
        """How many finalized replicas."""
        return len(self._replicas)

    def find(self, block_id: int, generation: int = 0) -> Replica:
        """The replica of a block; ``generation`` 0 = any.

        Raises:
            ReplicaCorrupt: It was here and did not verify.
            ReplicaNotFound: Not here, or another generation.
        """
        with self._lock:
            replica = self._replicas.get(block_id)
            if replica is not None and generation in (0, replica.generation):
                return replica
            if any(key.block_id == block_id and generation in (0, key.generation) for key in self._corrupt):
                raise ReplicaCorrupt(f"block {block_id}: this replica was set aside as damaged")
        have = f"generation {replica.generation} only" if replica else "no replica"
        raise ReplicaNotFound(f"block {block_id}: {self._node_id} has {have}", block_id=str(block_id))

    def receipt(self, replica: Replica) -> Receipt:
        """Our promise for it."""
        return Receipt(
            node_id=self._node_id,
            volume_id=self.volumes[replica.volume].volume_id,
            block_id=replica.block_id,
            generation=replica.generation,
            length_bytes=replica.length_bytes,
            stored_bytes=replica.stored_bytes,
            crc32c=replica.crc32c,
        )

    # --- reading ---

    def read(self, block_id: int, generation: int = 0, offset: int = 0, length: int = 0) -> Iterator[Frame]:
        """The frames that cover a logical range (``length`` 0 = to the end), verified before yielded.

        A frame's data is valid until the next is asked for. A replica that does not verify is set aside at
        once.

        Raises:
            ReplicaNotFound: Not here.
            ReplicaCorrupt: A byte, a length or the meta file does not verify.
            OutOfRange: The range starts past the end.
        """
        with self.open(block_id, generation) as reader:
            yield from self.checked(reader, reader.frames(offset, length))

    def checked(self, reader: ReplicaReader, frames: Iterator[Frame]) -> Iterator[Frame]:
        """``frames`` of ``reader``; when they end with `ReplicaCorrupt`, the replica was set aside."""
        try:
            yield from frames
        except ReplicaCorrupt as error:
            self.doubt(reader.replica, error.message)
            raise

    def open(self, block_id: int, generation: int = 0) -> ReplicaReader:
        """Open a replica and read its meta file. The caller closes it; it stays readable when deleted.

        Raises:
            ReplicaNotFound: Not here.
            ReplicaCorrupt: Its meta file does not verify; it was set aside.
        """
        while True:
            replica = self.find(block_id, generation)
            try:
                return ReplicaReader(self.volumes[replica.volume], replica)
            except ReplicaCorrupt as error:
                self.doubt(replica, error.message)
                raise
            except ReplicaNotFound:
                with self._lock:
                    if self._replicas.get(block_id) is replica:  # not deleted: somebody took its files away
                        _log.error("replica's files are gone", block_id=block_id)
                        self._forget([replica])
                        raise
                # It was moved, replaced or deleted under our hands: what is there now?

    @contextmanager
    def from_disk(self, replica: Replica) -> Iterator[ReplicaReader]:
        """`open`, to learn what the disk has and not the page cache; leaves none of it there."""
        with self.open(replica.block_id, replica.generation) as reader:
            reader.forget_cached()
            try:
                yield reader
            finally:
                reader.forget_cached()

    def verify(self, replica: Replica) -> None:
        """Read and verify every byte, from the disk, in a thread that has time.

        Raises:
            ReplicaCorrupt: It was set aside.
            ReplicaNotFound: Deleted or replaced meanwhile.
        """
        with self.from_disk(replica) as reader:
            for _ in self.checked(reader, reader.frames()):
                continue

    def doubt(self, replica: Replica, reason: str) -> None:
        """A replica did not verify: keep its bytes, never serve it again, report it."""
        key = replica.key
        with self._lock:
            here = self._replicas.get(replica.block_id)
            # A scrub that ended meanwhile left only its time: these are the same files.
            if here is None or replace(here, verified_us=replica.verified_us) != replica:
                return  # deleted, replaced, or doubted by another reader
            self._replicas.drop(replica.block_id)
            self._corrupt[key] = None
            self._leaving.add(key)
            self._listener.corrupt(key)
        _log.error("replica corrupt", block_id=key.block_id, generation=key.generation, reason=reason)
        self._move_away(replica, ReplicaState.CORRUPT)

    def verified(self, replica: Replica) -> None:
        """A replica was read whole from the disk and is good: remember when, also over a restart."""
        now_us = self._clock.wall_us()
        with self._lock:
            if self._replicas.get(replica.block_id) is not replica:
                return
            self._replicas.put(replace(replica, verified_us=now_us))
        volume = self.volumes[replica.volume]
        path = volume.final_path(replica.block_id, replica.generation, "meta")
        with volume.changing("noting a scrub"), suppress(FileNotFoundError):  # deleted or moved since
            os.utime(path, ns=(now_us * 1000, now_us * 1000))

    # --- writing ---

    def start(self, first: Frame) -> BlockWriter:
        """Begin a block with its first frame, which is not yet accepted.

        Raises:
            ReplicaExists: Finished here already (this generation or a later one).
            Overloaded: Another stream writes it, or it is being moved: it may yet come to nothing. Or a
                dropped one of this generation is still being cleared away.
            VolumeFull: No volume has room for ``first.total_size``.
            DiskFailed: No volume is in service.
        """
        key = BlockKey(first.block_id, first.generation)
        with self._lock:
            present = self._replicas.get(key.block_id)
            if present is not None and present.generation >= key.generation:
                raise ReplicaExists(f"block {key.block_id}: generation {present.generation} is here already")
            self._claim(key)
        promise = max(first.total_size, len(first.data))
        volume: Volume | None = None
        try:
            volume = choose(self.volumes, promise)
            return BlockWriter(first, volume, promise, self.unclaim)
        except BaseException:
            if volume is not None:
                volume.release(promise)
            self.unclaim(key)
            raise

    def finalize(self, writers: list[BlockWriter]) -> list[Receipt]:
        """Make finished blocks durable and visible: data, meta and names are fsynced on return.

        All or none are visible to this process; on an error the caller drops them.

        Raises:
            DiskFailed: A volume went out of service.
            VolumeFull: No room for the meta files.
        """
        self.harden(writers)
        replaced: list[Replica] = []
        with self._lock:
            for writer in writers:
                if writer.volume.failed:
                    raise DiskFailed(f"volume {writer.volume.root.name} went out of service")
            replicas = [self._add(writer, replaced) for writer in writers]
        for replica in replaced:
            try:
                self._move_away(replica, ReplicaState.TRASH)
            except EsdfsError as error:  # what replaces it is durable, under another name
                _log.warning("replaced replica left", block_id=replica.block_id, reason=error.message)
        for writer in writers:
            writer.end()
        return [self.receipt(replica) for replica in replicas]

    def harden(self, writers: list[BlockWriter]) -> None:
        """Make finished blocks durable under their final names; the map does not know them yet.

        Raises:
            DiskFailed: A volume went out of service.
            VolumeFull: No room for the meta files.
        """
        # All files are begun before the first fsync: it commits them together, the others find little to do.
        for writer in writers:
            writer.write_meta()
        if self._durable:
            for writer in writers:
                writer.sync(self._sync_times, self._clock)
        parents = [(writer.volume, writer.rename()) for writer in writers]
        if self._durable:
            sync_parents(parents)

    def _add(self, writer: BlockWriter, replaced: list[Replica]) -> Replica:
        """Under the lock; what has to be moved away after it goes to ``replaced``."""
        meta = writer.arrival.meta
        replica = Replica(
            block_id=meta.block_id,
            generation=meta.generation,
            volume=self.volumes.index(writer.volume),
            length_bytes=meta.length_bytes,
            stored_bytes=meta.stored_bytes,
            crc32c=meta.crc32c,
            finalized_us=self._clock.wall_us(),
        )
        old = self._replicas.get(meta.block_id)
        if old is not None and supersedes(old.key, writer.key):
            replaced.append(replica)  # a later generation was finished while this one was written
            self._leaves(replica)
            return replica
        if old is not None:
            replaced.append(old)
            self._leaves(old)
        self._replicas.put(replica)
        for key in [key for key in self._corrupt if key.block_id == meta.block_id]:
            del self._corrupt[key]
        self._listener.stored(writer.key, meta.length_bytes)
        return replica

    # --- between volumes ---

    def claim(self, replica: Replica) -> None:
        """Let nobody write this replica's generation until it is `unclaim`ed: it is being moved.

        Raises:
            ReplicaNotFound: It was deleted, replaced or set aside meanwhile.
            Overloaded: Another stream writes it.
        """
        with self._lock:
            if self._replicas.get(replica.block_id) is not replica:
                raise ReplicaNotFound(f"block {replica.block_id}: it changed before it was moved")
            self._claim(replica.key)

    def _claim(self, key: BlockKey) -> None:
        if key in self._writing:
            raise Overloaded(f"block {key.block_id}: it is being written by another stream")
        if key in self._leaving:
            raise Overloaded(f"block {key.block_id}: the replica that was here is still being cleared away")
        self._writing.add(key)

    def unclaim(self, key: BlockKey) -> None:
        """It may be written again."""
        with self._lock:
            self._writing.discard(key)

    def exchange(self, replica: Replica, copy: Replica) -> bool:
        """Name ``copy``, which is durable, instead of ``replica``; False when that is not here any more."""
        with self._lock:
            stays = self._replicas.get(replica.block_id) is replica and not self.volumes[copy.volume].failed
            if stays:
                self._replicas.put(copy)
            return stays

    # --- dropping ---

    def delete(self, block_id: int, generation: int) -> bool:
        """Move the replica to the trash if its generation is at most ``generation``; whether it was here."""
        with self._lock:
            for key in [key for key in self._corrupt if key.block_id == block_id]:
                if key.generation <= generation:
                    del self._corrupt[key]  # its bytes stay in `corrupt` for a week
                    self._listener.removed(key)
            replica = self._replicas.get(block_id)
            if replica is None or replica.generation > generation:
                return False
            self._replicas.drop(block_id)
            self._leaves(replica)
        self._move_away(replica, ReplicaState.TRASH)
        return True

    def _leaves(self, replica: Replica) -> None:
        """Under the lock: it is no longer here, and `_move_away` comes next."""
        self._leaving.add(replica.key)
        self._listener.removed(replica.key)

    def _move_away(self, replica: Replica, state: ReplicaState) -> None:
        """The files of one that is no longer in the map. Without the lock: a disk may hang."""
        volume = self.volumes[replica.volume]
        try:
            if not volume.failed:
                scan.set_aside(volume, replica.key, state, self._clock)
        finally:
            with self._lock:
                self._leaving.discard(replica.key)

    def empty_trash(self, delay_s: float) -> int:
        """Unlink what was deleted longer ago; answers how many files. A volume's trouble is its own.

        What was set aside goes a week later, once a leader ordered it away or a new copy took its place.
        """
        now_us = self._clock.wall_us()
        before_us = now_us - int(delay_s * 1e6)
        still_corrupt = frozenset(self.corrupt())
        gone = 0
        for volume in self.volumes:
            if not volume.failed:
                try:
                    gone += scan.clear(volume, ReplicaState.TRASH, now_us, before_us)
                    gone += scan.clear(
                        volume, ReplicaState.CORRUPT, now_us, before_us - _CORRUPT_KEPT_US, still_corrupt
                    )
                except EsdfsError as error:
                    _log.warning("trash not emptied", volume=volume.volume_id, reason=error.message)
        return gone

    def _forget_volume(self, volume: Volume) -> None:
        index = self.volumes.index(volume)
        with self._lock:
            lost = [replica for replica in self._replicas if replica.volume == index]
            self._forget(lost)

    def _forget(self, lost: Iterable[Replica]) -> None:
        for replica in lost:
            self._replicas.drop(replica.block_id)
            self._listener.removed(replica.key)

    def close(self) -> None:
        """Let other processes have the volumes."""
        for volume in self.volumes:
            volume.close()
