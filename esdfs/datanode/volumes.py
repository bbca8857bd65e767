"""The directories, one per disk, that a DataNode keeps replicas in."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from esdfs.datanode import layout
from esdfs.datanode.durable import sync_directory, write_durably
from esdfs.datanode.replica import ReplicaState
from esdfs.datanode.slowness import SLOW_FSYNC_MS, Slowness
from esdfs.errors import (
    DiskFailed,
    EsdfsError,
    Overloaded,
    VolumeFull,
)

_log = structlog.get_logger()


OURS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of a process or machine that say nothing about a disk."""

DAMAGED: Final = (errno.EIO, errno.EUCLEAN, errno.EBADMSG)
"""Errors of reading that are about the bytes asked for, not about the whole disk."""


class VersionFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose volume this is; JSON, written once and once more when the cluster becomes known.

    Attributes:
        cluster_id: Empty until the first registration.
        node_uuid: One per DataNode, made with its first volume: a copied disk is noticed by it.
    """

    format_version: int
    cluster_id: str
    node_id: str
    node_uuid: str
    volume_id: str


class Volume:
    """One volume, locked for this process.

    A failed write, fsync or rename puts it out of service until an operator removes its ``FAILED`` file:
    after a failed fsync the kernel calls the pages clean, so a second one would lie. So does any other error
    that is about more than one replica.

    Args:
        reserve_bytes: Of the file system, never used.
        capacity_bytes: Use no more than this; 0 = the whole file system.
        slow_fsync_ms: See `slowness`; 0 = never slow.

    Attributes:
        failed: Why it is out of service; empty = it is not.
        used_bytes: Stored by the finalized replicas here; kept by the store.
        fsyncs: How long they took of late.
    """

    def __init__(
        self,
        root: Path,
        version: VersionFile,
        lock_fd: int,
        reserve_bytes: int,
        *,
        capacity_bytes: int = 0,
        slow_fsync_ms: int = SLOW_FSYNC_MS,
    ) -> None:
        self.root = root
        self.version = version
        self.failed = ""
        self.used_bytes = 0
        self.fsyncs = Slowness(slow_fsync_ms)
        self.on_failed: Callable[[Volume], None] | None = None
        self._lock_fd = lock_fd
        self._reserve_bytes = reserve_bytes
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._failing = threading.Lock()  # the other may be held by one who asks a disk that hangs
        self._promised_bytes = 0
        self._durable_directories: set[str] = set()

    @property
    def volume_id(self) -> str:
        """Its UUID."""
        return self.version.volume_id

    def path(self, state: ReplicaState, name: str) -> Path:
        """A file of a replica that is not finalized."""
        assert state is not ReplicaState.FINALIZED
        directory: str = state.value
        return self.root / directory / name

    def final_path(self, block_id: int, generation: int, suffix: str) -> Path:
        """A file of a finalized replica."""
        return self.root / layout.directory(block_id) / f"{layout.stem(block_id, generation)}.{suffix}"

    # --- room ---

    def capacity_bytes(self) -> int:
        """Size of the file system, or of what we may use of it; 0 = out of service, or it cannot be told."""
        return self._told(self._size_bytes)

    def available_bytes(self) -> int:
        """Free for new replicas: without the reserve and what running writes were promised."""
        return self._told(self._free_bytes)

    def _told(self, measure: Callable[[], int]) -> int:
        """What ``measure`` says; 0 when it cannot, which fails the volume unless this process is to blame."""
        try:
            with self.changing("looking how full it is"):
                return measure()
        except EsdfsError:
            return 0

    def _size_bytes(self) -> int:
        stat = os.statvfs(self.root)
        size_bytes = stat.f_blocks * stat.f_frsize
        return min(size_bytes, self._capacity_bytes) if self._capacity_bytes else size_bytes

    def _free_bytes(self) -> int:
        stat = os.statvfs(self.root)
        free_bytes = stat.f_bavail * stat.f_frsize - self._reserve_bytes
        if self._capacity_bytes:
            free_bytes = min(free_bytes, self._capacity_bytes - self.used_bytes)
        return max(0, free_bytes - self._promised_bytes)

    def promise(self, size_bytes: int) -> None:
        """Set room aside; give it back with `release` as it is used or not.

        Raises:
            VolumeFull: There is not so much.
            DiskFailed: It is out of service.
        """
        with self.changing("looking how full it is"), self._lock:
            if self._free_bytes() < size_bytes:
                raise VolumeFull(
                    f"volume {self.root.name}: less than {size_bytes} bytes left beyond the reserve"
                )
            self._promised_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Give back promised room."""
        with self._lock:
            self._promised_bytes -= size_bytes
            assert self._promised_bytes >= 0, self._promised_bytes

    # --- failing ---

    @contextmanager
    def changing(self, what: str, *, full_is_failure: bool = False) -> Iterator[None]:
        """Everything that changes the volume, or asks about the whole of it, runs inside.

        Raises:
            VolumeFull: No space; the volume stays in service (except when an fsync says so).
            Overloaded: This process, not the disk, ran out of something.
            DiskFailed: Anything else the disk refused; the volume is out of service now.
        """
        if self.failed:
            raise DiskFailed(f"volume {self.root.name} is out of service: {self.failed}")
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and not full_is_failure:
                raise VolumeFull(f"volume {self.root.name}: {what}: no space left") from error
            if error.errno in OURS:
                raise Overloaded(f"{what}: {error.strerror}: try another DataNode") from error
            self.fail(f"{what}: {error.strerror or error}")
            raise DiskFailed(f"volume {self.root.name} is out of service: {self.failed}") from error

    def fail(self, reason: str, *, hangs: bool = False) -> None:
        """Out of service, from now until an operator clears it; if it ``hangs``, until the next start."""
        with self._failing:
            if self.failed:
                return
            self.failed = reason
        _log.error("volume failed", volume=self.volume_id, root=str(self.root), reason=reason)
        try:
            if not hangs:  # writing to it would hang, too
                (self.root / layout.FAILED_FILE).write_text(reason + "\n", encoding="utf-8")
        except OSError as error:
            _log.warning("the failed volume takes no FAILED file either", error=str(error))
        if self.on_failed is not None:
            self.on_failed(self)

    # --- directories ---

    def make_directory(self, block_id: int) -> str:
        """The directory of a finalized block, made durably if need be; relative to the root.

        One that is there is made durable, too: whoever made it may have ended before that.
        """
        relative = layout.directory(block_id)
        for name in (relative.rpartition("/")[0], relative):
            if name not in self._durable_directories:
                directory = self.root / name
                directory.mkdir(exist_ok=True)
                with self.changing("fsync of a directory", full_is_failure=True):
                    sync_directory(directory.parent)
                self._durable_directories.add(name)
        return relative

    def adopt(self, cluster_id: str) -> None:
        """Write the cluster's id down, durably. Only for a volume that had none."""
        assert self.version.cluster_id in ("", cluster_id), self.version
        if self.version.cluster_id == cluster_id:
            return
        self.version = msgspec.structs.replace(self.version, cluster_id=cluster_id)
        with self.changing("writing VERSION"):
            write_durably(self.root / layout.VERSION_FILE, msgspec.json.encode(self.version) + b"\n")

    def close(self) -> None:
        """Let another process have it."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)


def choose(volumes: list[Volume], size_bytes: int) -> Volume:
    """The volume in service with most room; of equal ones, as on one disk, that which holds least.

    Room for ``size_bytes`` is promised on return.

    Raises:
        VolumeFull: None that takes new blocks has so much.
        DiskFailed: None is in service.
    """
    usable = [volume for volume in volumes if not volume.failed]
    if not usable:
        raise DiskFailed("every volume of this DataNode is out of service")
    fast = [volume for volume in usable if not volume.fsyncs.slow]
    if not fast:
        raise VolumeFull("every volume of this DataNode is slow: try another DataNode")
    best = max(fast, key=lambda volume: (volume.available_bytes(), -volume.used_bytes))
    best.promise(size_bytes)
    return best
