"""One open replica: verified ranges of it."""

import errno
import os
from collections.abc import Iterator
from typing import Self

from esdfs.blocks import CHUNK_BYTES
from esdfs.checksum import chunk_crcs
from esdfs.datanode.layout import Extent, Meta, chunks_in, decode_meta
from esdfs.datanode.replica import Replica
from esdfs.datanode.volumes import DAMAGED, OURS, Volume
from esdfs.errors import DiskFailed, EsdfsError, OutOfRange, Overloaded, ReplicaCorrupt, ReplicaNotFound
from esdfs.rpc.messages import Frame


class ReplicaReader:
    """Reads a finalized replica through its own file handle; a delete or a move does not disturb it.

    Raises:
        ReplicaNotFound: Its files are gone.
        ReplicaCorrupt: Its meta file does not verify or says something else than the map.
        DiskFailed: Not readable for a reason that is not its own; the volume is out of service now.
    """

    def __init__(self, volume: Volume, replica: Replica) -> None:
        self.replica = replica
        self._volume = volume
        path = volume.final_path(replica.block_id, replica.generation, "data")
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(volume, f"block {replica.block_id}: its data file", error) from error
        try:
            raw = path.with_suffix(".meta").read_bytes()
            self.meta = decode_meta(raw, replica.block_id, replica.generation)
            _hold_against(replica, self.meta)
        except OSError as error:
            self.close()
            raise _unreadable(volume, f"block {replica.block_id}: its meta file", error) from error
        except BaseException:
            self.close()
            raise

    def frames(self, offset: int = 0, length: int = 0) -> Iterator[Frame]:
        """The verified frames that cover ``[offset, offset + length)``; ``length`` 0 = to the end.

        At least one, which may be empty. A frame's data is valid until the next is asked for.

        Raises:
            OutOfRange: ``offset`` is past the end.
            ReplicaCorrupt: Not what was written. Frames yielded before are good.
        """
        extents = covering(self.meta, offset, length)
        largest = max((extent.stored_bytes for extent in extents), default=0)
        buffer = memoryview(bytearray(largest))
        for number, extent in enumerate(extents):
            data = buffer[: extent.stored_bytes]
            crcs = self.load(extent, data)
            first = number == 0
            last = number == len(extents) - 1
            yield Frame(
                block_id=self.replica.block_id,
                data=data,
                offset=extent.logical_at,
                chunk_crcs=crcs,
                total_size=self.meta.length_bytes,
                compressed=bool(self.meta.codec),
                compression=self.meta.compression if first else None,
                generation=self.replica.generation if first else 0,
                last=last,
                crc32c=self.meta.crc32c if last else 0,
            )
        if not extents:
            yield Frame(
                block_id=self.replica.block_id,
                generation=self.replica.generation,
                compressed=bool(self.meta.codec),
                compression=self.meta.compression,
                last=True,
                crc32c=self.meta.crc32c,
            )

    def load(self, extent: Extent, into: memoryview) -> list[int]:
        """Read an extent into a buffer of its size and verify it there; answers its chunks' checksums.

        Raises:
            ReplicaCorrupt: Short, unreadable, or not what was written.
        """
        where = f"block {self.replica.block_id} at stored byte {extent.stored_at}"
        done = 0
        while done < extent.stored_bytes:
            try:
                count = os.preadv(self._fd, [into[done:]], extent.stored_at + done)
            except OSError as error:
                raise _unreadable(self._volume, where, error) from error
            if count == 0:
                raise ReplicaCorrupt(f"{where}: the data file is too short")
            done += count
        crcs = chunk_crcs(into)
        if crcs != list(self.meta.chunk_crcs[extent.chunk_at : extent.chunk_at + extent.chunks]):
            raise ReplicaCorrupt(f"{where}: a chunk does not match its checksum")
        return crcs

    def covering(self, offset: int, length: int) -> list[Extent]:
        """See the function."""
        return covering(self.meta, offset, length)

    def fileno(self) -> int:
        """The data file's descriptor, for reading only."""
        return self._fd

    def forget_cached(self) -> None:
        """Drop the file from the page cache, so that the next read asks the disk."""
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _unreadable(volume: Volume, what: str, error: OSError) -> EsdfsError:
    """What a failed read says: about the replica, the process, or the disk, which is out of service then."""
    if error.errno == errno.ENOENT:
        return ReplicaNotFound(f"{what} is gone")
    if error.errno in OURS:
        return Overloaded(f"{what}: {error.strerror}: try another replica")
    if error.errno in DAMAGED:
        return ReplicaCorrupt(f"{what}: the disk cannot read it")
    volume.fail(f"{what}: {error.strerror}")
    return DiskFailed(f"{what}: {error.strerror}")


def _hold_against(replica: Replica, meta: Meta) -> None:
    said = (meta.length_bytes, meta.stored_bytes, meta.crc32c)
    if said != (replica.length_bytes, replica.stored_bytes, replica.crc32c):
        raise ReplicaCorrupt(f"block {replica.block_id}: its meta file changed")


def covering(meta: Meta, offset: int, length: int) -> list[Extent]:
    """The extents that must be read for a logical range, trimmed to whole chunks where not compressed. Pure.

    Raises:
        OutOfRange: ``offset`` is past the end.
    """
    if offset > meta.length_bytes:
        raise OutOfRange(f"block {meta.block_id}: offset {offset} of {meta.length_bytes} bytes")
    end = min(offset + length, meta.length_bytes) if length else meta.length_bytes
    if offset == end and meta.length_bytes:
        return []
    if meta.codec:
        size = meta.group_bytes
        return [e for e in meta.extents() if e.logical_at + size > offset and e.logical_at < end]
    found = []
    for whole in meta.extents():
        start = max(whole.stored_at, offset // CHUNK_BYTES * CHUNK_BYTES)
        stop = min(whole.stored_at + whole.stored_bytes, chunks_in(end) * CHUNK_BYTES)
        if start < stop:
            size = stop - start
            found.append(Extent(start, start, size, start // CHUNK_BYTES, chunks_in(size)))
    return found
