"""One block being received: a checked `Arrival` with its file, and the step that makes blocks durable."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from esdfs import writeback
from esdfs.datanode import layout
from esdfs.datanode.arrival import Arrival
from esdfs.datanode.durable import sync_directory
from esdfs.datanode.replica import BlockKey, ReplicaState
from esdfs.datanode.volumes import Volume
from esdfs.env import Clock
from esdfs.rpc.messages import Frame


class SyncTimes(Protocol):
    """Told how long each fsync took."""

    def add(self, duration_ns: int) -> None:
        """One more."""
        ...


class BlockWriter:
    """Writes one block into its volume's ``tmp``.

    End it with `finalize` or `drop`, from the thread that wrote. Any error from a method means `drop`.
    """

    def __init__(
        self, first: Frame, volume: Volume, promised_bytes: int, on_end: Callable[[BlockKey], None]
    ) -> None:
        self.volume = volume
        self.arrival = Arrival(first)
        self.key = self.arrival.key
        self._on_end = on_end
        self._promised_bytes = promised_bytes
        self._written_back_bytes = 0
        stem = layout.stem(self.key.block_id, self.key.generation)
        self._data_path = volume.path(ReplicaState.TEMP, f"{stem}.data")
        self._meta_path = volume.path(ReplicaState.TEMP, f"{stem}.meta")
        self._fd = -1
        self._meta_fd = -1
        with volume.changing("creating a data file"):
            # A file of this name can only be the leftover of a writer that ended badly: one writer per key.
            self._fd = os.open(self._data_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def accept(self, frame: Frame) -> None:
        """Verify ``frame``; nothing is written yet, so a bad one has not been stored or passed on."""
        self.arrival.accept(frame)

    def write(self, frame: Frame) -> None:
        """Write an accepted frame.

        Raises:
            VolumeFull: It would use the reserve, or the disk is full.
            DiskFailed: The volume is out of service.
        """
        size = len(frame.data)
        self._use_promise(size)
        at = frame.offset
        with self.volume.changing("writing data"):
            view = memoryview(frame.data)
            while view:
                done = os.pwrite(self._fd, view, at)
                at += done
                view = view[done:]
            if at - self._written_back_bytes >= writeback.STEP_BYTES:
                writeback.start(self._fd, self._written_back_bytes, at - self._written_back_bytes)
                self._written_back_bytes = at

    def _use_promise(self, size: int) -> None:
        if self._promised_bytes < size:
            missing = size - self._promised_bytes
            self.volume.promise(missing)
            self._promised_bytes += missing
        self._promised_bytes -= size
        self.volume.release(size)

    def sync(self, times: SyncTimes, clock: Clock) -> None:
        """Make data and meta durable under their temporary names; after `write_meta`."""
        with self.volume.changing("fsync of a block", full_is_failure=True):
            before = clock.monotonic_ns()
            os.fdatasync(self._fd)
            os.fdatasync(self._meta_fd)
            now = clock.monotonic_ns()
            times.add(now - before)
            self.volume.fsyncs.add(now, now - before)

    def write_meta(self) -> None:
        """Write the meta file of a finished block, and let the kernel begin with what is left to write."""
        raw = layout.encode_meta(self.arrival.meta)
        with self.volume.changing("writing meta"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._meta_fd = os.open(self._meta_path, flags, 0o644)
            written = os.write(self._meta_fd, raw)
            if written != len(raw):
                raise OSError(errno.ENOSPC, "the meta file was cut short")
            os.utime(self._meta_fd, (0, 0))  # never scrubbed
            writeback.start(self._fd, 0, 0)
            writeback.start(self._meta_fd, 0, 0)

    def rename(self) -> Path:
        """Give the block its final names; answers the directory that must be fsynced."""
        key = self.key
        meta_path = self.volume.final_path(key.block_id, key.generation, "meta")
        data_path = meta_path.with_suffix(".data")
        with self.volume.changing("renaming a block"):
            self.volume.make_directory(key.block_id)
            # The data file last: a replica is there when its data file is.
            self._meta_path.rename(meta_path)
            self._meta_path = meta_path
            self._data_path.rename(data_path)
            self._data_path = data_path
        return data_path.parent

    def end(self) -> None:
        """Close and give back what was promised; after `rename`."""
        if self._fd >= 0:
            fds = [fd for fd in (self._fd, self._meta_fd) if fd >= 0]
            self._fd = -1
            for fd in fds:
                with suppress(OSError):  # what was to be durable is: a disk that fails now says so again
                    os.close(fd)
            self.volume.release(self._promised_bytes)
            self._promised_bytes = 0
            self._on_end(self.key)

    def drop(self) -> None:
        """Leave nothing behind. On a failed volume the files stay for whoever looks at it."""
        if self._fd < 0:
            return
        try:
            if not self.volume.failed:
                with self.volume.changing("dropping a temporary file"):
                    for path in (self._data_path, self._meta_path):
                        path.unlink(missing_ok=True)
        finally:
            self.end()


def sync_parents(finals: list[tuple[Volume, Path]]) -> None:
    """Make final names durable: one flush per directory, however many blocks went into it."""
    for volume, directory in dict.fromkeys(finals):
        with volume.changing("fsync of a directory", full_is_failure=True):
            sync_directory(directory)
