"""Whole files between the local file system and the cluster."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import IO, Final

from esdfs.blocks import MIB
from esdfs.checksum import Buffer
from esdfs.client.errors import AlreadyExists, IsADirectory, NotFound
from esdfs.client.pipeline import Progress
from esdfs.client.reader import RemoteFile
from esdfs.client.sources import Bytes, FileRange, Spool
from esdfs.client.values import FileStatus
from esdfs.client.writer import PARALLEL, Upload, WriteOptions, WriterMeans, ranges
from esdfs.env import Rng

_PIECE_BYTES: Final = MIB
_FEW_BLOCKS: Final = 2


def put_local(
    means: WriterMeans, source: Path, path: str, options: WriteOptions, progress: Progress | None = None
) -> FileStatus:
    """Copy a local file. Anything that is no regular file is read as a stream."""
    with source.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not S_ISREG(status.st_mode):
            return put_stream(means, file, path, options, progress)
        size_bytes = status.st_size
        guess = min(-(-size_bytes // (options.block_size_bytes or (1 << 62))), _FEW_BLOCKS)
        options = options._replace(mode=options.mode or mode_of(status))
        with _uploading(Upload(means, path, options, blocks=guess, progress=progress)) as upload:
            parts = [FileRange(file.fileno(), *part) for part in ranges(size_bytes, upload.block_size_bytes)]
            if len(parts) == 1:
                upload.write(parts[0])
            elif parts:
                for part in parts:
                    upload.start(part)
            return upload.complete()


def mode_of(status: os.stat_result) -> str:
    """The permission bits, in octal, as a new file gets them."""
    return f"{status.st_mode & 0o777:04o}"


def put_stream(
    means: WriterMeans, stream: IO[bytes], path: str, options: WriteOptions, progress: Progress | None = None
) -> FileStatus:
    """Copy what can be read from ``stream`` until its end."""
    with _uploading(Upload(means, path, options, blocks=0, progress=progress)) as upload:
        feed = StreamFeed(upload)
        try:
            while data := stream.read(_PIECE_BYTES):
                feed.write(data)
            return feed.complete()
        finally:
            feed.close()


def put_bytes(means: WriterMeans, data: bytes, path: str, options: WriteOptions) -> FileStatus:
    """Make a file of ``data``."""
    blocks = min(1, len(data))
    with _uploading(Upload(means, path, options, blocks=blocks)) as upload:
        for offset, length in ranges(len(data), upload.block_size_bytes):
            upload.write(Bytes(memoryview(data)[offset : offset + length]))
        return upload.complete()


class StreamFeed:
    """Cuts a stream into blocks: each is kept until its pipeline acknowledged it."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._spool = Spool()
        self._spools: list[Spool] = []

    def write(self, data: Buffer) -> None:
        """Append; starts a block's way whenever one is full."""
        view = memoryview(data).cast("B")
        while view:
            room = self._upload.block_size_bytes - self._spool.length_bytes
            if not room:
                self._start()
                continue
            self._spool.write(view[:room])
            view = view[room:]

    def complete(self) -> FileStatus:
        """Send the rest and publish the file."""
        if self._spool.length_bytes:
            if self._spools:
                self._start()
            else:
                self._upload.write(self._spool)
        return self._upload.complete()

    def _start(self) -> None:
        spool = self._spool
        self._spools.append(spool)
        self._upload.start(spool, done=spool.close)
        self._spool = Spool()

    def close(self) -> None:
        """Forget what was kept. Only after complete or abort."""
        for spool in (*self._spools, self._spool):  # of a block that was cancelled nobody else closes it
            spool.close()


@contextmanager
def _uploading(upload: Upload) -> Iterator[Upload]:
    """Abort the upload if the body does not end well, KeyboardInterrupt included."""
    try:
        yield upload
    except BaseException:
        upload.abort()
        raise


def get_local(
    remote: RemoteFile, target: Path, *, overwrite: bool, rng: Rng, progress: Progress | None = None
) -> None:
    """Copy a file here: under another name until it is complete and verified, then renamed.

    Raises:
        NotFound: ``target`` is to be in a local directory that does not exist.
        AlreadyExists: ``target`` exists and ``overwrite`` is not set.
        IsADirectory: ``target`` is one.
        OSError: The local file system refused.
    """
    if target.is_dir():
        raise IsADirectory(f"{target} is a local directory", path=str(target))
    if not overwrite and target.exists():
        raise _exists(target)
    if not target.parent.is_dir():
        raise NotFound(f"{target.parent} is no local directory", path=str(target.parent))
    part = target.with_name(f".{target.name[:200]}.{rng.token_bytes(4).hex()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, int(remote.info.mode, 8))
    try:
        try:
            os.truncate(descriptor, remote.size_bytes)

            def write_at(offset: int, data: Buffer) -> None:
                _pwrite_all(descriptor, data, offset)
                if progress is not None:
                    progress(len(data))

            remote.copy(write_at)
        finally:
            os.close(descriptor)
        _publish(part, target, overwrite=overwrite)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _pwrite_all(descriptor: int, data: Buffer, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view = view[done:]
        offset += done


def _publish(part: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        part.replace(target)
        return
    try:
        target.hardlink_to(part)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
            raise
        part.replace(target)  # a file system without links: what appeared meanwhile is replaced
        return
    part.unlink()


def _exists(target: Path) -> AlreadyExists:
    return AlreadyExists(
        f"{target} exists here already: overwrite it with -f (overwrite=True)", path=str(target)
    )


assert _FEW_BLOCKS == PARALLEL, "the first blocks are allocated together with the file"
