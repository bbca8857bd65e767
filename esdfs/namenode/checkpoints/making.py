"""Making a checkpoint file from the projection, and the projection from a file. Reads or writes all of it.

Blocking and CPU-bound: called in the helper process, or before a node serves.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from esdfs.errors import CheckpointDamaged, JournalUnavailable
from esdfs.namenode.checkpoints.files import CheckpointFiles, removed_on_error
from esdfs.namenode.checkpoints.image import (
    FORMAT,
    ImageHeader,
    Reader,
    VoterOf,
    encode,
    read_header,
    state_digest_of,
)
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.lmdb import Image, ProjectionLoader, ProjectionStore

# A large flush at the end would keep the journal's own waiting.
_FLUSH_EVERY_BYTES: Final = 8 << 20

Progress = Callable[[int, int], None]
"""Called with (bytes read, bytes in all), now and then."""


class Made(NamedTuple):
    """A file, durable under its name."""

    size_bytes: int
    sha256: bytes
    state_digest: bytes


def make(
    files: CheckpointFiles, image: Image, cluster_id: str, voters_txid: int, voters: tuple[VoterOf, ...]
) -> Made:
    """Write the checkpoint of ``image``.

    Raises:
        JournalUnavailable: The disk failed or is full; nothing is left of it.
    """
    meta = image.meta
    header = ImageHeader(
        FORMAT,
        layout.FORMAT,
        image.feature_level,
        cluster_id,
        meta.applied_txid,
        meta.epoch,
        meta.chain,
        meta.ts_us,
        voters_txid,
        voters,
    )
    begun = files.begun(meta.applied_txid)
    total, size_bytes, flushed_bytes, piece = hashlib.sha256(), 0, 0, b""
    with removed_on_error(begun):
        try:
            with begun.open("wb") as file:
                for piece in encode(header, image.tables):
                    file.write(piece)
                    total.update(piece)
                    size_bytes += len(piece)
                    if size_bytes - flushed_bytes > _FLUSH_EVERY_BYTES:
                        flushed_bytes = size_bytes
                        file.flush()
                        os.fdatasync(file.fileno())
        except OSError as error:
            raise JournalUnavailable(f"the checkpoint {begun} cannot be written: {error.strerror}") from error
        files.publish(begun, meta.applied_txid)
    return Made(size_bytes, total.digest(), state_digest_of(piece))


def load(target: ProjectionStore | ProjectionLoader, path: Path, progress: Progress | None = None) -> int:
    """Put the state in the file ``path`` in the place of ``target``'s; returns its txid.

    All or nothing, also at a crash.

    Raises:
        CheckpointDamaged: The file; ``target`` is as before.
        NewerRelease: The file is of another release's tables; ``target`` is as before.
        InsufficientStorage: ``target`` has no room.
    """
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            header = read_header(file)
            reader = Reader(header, file)
            loaded_bytes = told_bytes = 0

            def tables() -> Iterator[tuple[bytes, Iterator[tuple[bytes, bytes]]]]:
                for name, pairs in reader.tables():
                    yield name, _told(pairs) if progress is not None else pairs

            def _told(pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
                assert progress is not None
                nonlocal loaded_bytes, told_bytes
                for pair in pairs:
                    loaded_bytes += len(pair[0]) + len(pair[1])
                    if loaded_bytes - told_bytes > _FLUSH_EVERY_BYTES:
                        told_bytes = loaded_bytes
                        progress(min(file.tell(), size_bytes), size_bytes)
                    yield pair

            target.replace(tables())
    except OSError as error:
        raise CheckpointDamaged(f"the checkpoint {path} cannot be read: {error.strerror}") from error
    return header.txid
