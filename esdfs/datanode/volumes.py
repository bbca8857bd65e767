"""The directories, one per disk, that a DataNode keeps replicas in."""

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from esdfs.datanode import layout
from esdfs.datanode.replica import ReplicaState
from esdfs.datanode.slowness import SLOW_FSYNC_MS, Slowness
from esdfs.env import Rng
from esdfs.errors import (
    DiskFailed,
    EsdfsError,
    IdentityConflict,
    NewerRelease,
    Overloaded,
    Unavailable,
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


def open_volumes(
    roots: list[Path],
    node_id: str,
    reserve_bytes: int,
    rng: Rng,
    *,
    capacity_bytes: int = 0,
    slow_fsync_ms: int = SLOW_FSYNC_MS,
) -> list[Volume]:
    """Lock and check all volumes of one DataNode; format those that are empty directories or missing.

    The limits are those of each `Volume`. One that cannot be read or formatted is among them, out of service
    without a ``FAILED`` file: the next start looks again.

    Raises:
        IdentityConflict: A volume of another node or cluster, or volumes that do not belong together.
        NewerRelease: Formatted by a later release.
        Unavailable: In use by another process; or none says who we are and one that may cannot be read.
    """
    looked: list[_Looked] = []
    try:
        for root in roots:
            looked.append(_Looked(root))  # before its lock is taken, which must be known when one fails
            _look(looked[-1])
        node_uuid, cluster_id = _identity(looked, rng)
        opened: list[Volume] = []
        for each in looked:
            version = each.version or VersionFile(
                format_version=layout.FORMAT_VERSION,
                cluster_id=cluster_id,
                node_id=node_id,
                node_uuid=node_uuid,
                volume_id="" if each.failed else rng.uuid(),
            )
            if each.version is None and not each.failed:
                with _noting_failure(each, "formatting it"):
                    _format(each.root, version)
            _check_version(each.root, version, node_id, node_uuid, cluster_id)
            volume = Volume(
                each.root,
                version,
                each.lock_fd,
                reserve_bytes,
                capacity_bytes=capacity_bytes,
                slow_fsync_ms=slow_fsync_ms,
            )
            volume.failed = each.failed
            opened.append(volume)
    except BaseException as error:
        for each in looked:
            if each.lock_fd >= 0:
                os.close(each.lock_fd)
        if isinstance(error, OSError):
            raise Unavailable(f"cannot open the volumes: {error}") from error
        raise
    return opened


class _Looked(msgspec.Struct):
    """What a root turned out to be.

    Attributes:
        version: None = there is none yet, or (``failed``) it could not be read.
        failed: Why it is out of service.
    """

    root: Path
    lock_fd: int = -1
    version: VersionFile | None = None
    failed: str = ""


def _identity(looked: list[_Looked], rng: Rng) -> tuple[str, str]:
    """The DataNode's UUID, made up if all its volumes are new, and its cluster."""
    known = [each.version for each in looked if each.version]
    failed = [f"{each.root}: {each.failed}" for each in looked if each.failed]
    if failed and not known:
        raise Unavailable(f"cannot open the volumes: {'; '.join(failed)}")
    node_uuid = known[0].node_uuid if known else rng.uuid()
    return node_uuid, next((version.cluster_id for version in known if version.cluster_id), "")


def _look(looked: _Looked) -> None:
    root = looked.root
    with _noting_failure(looked, "opening it"):
        looked.lock_fd = _lock_volume(root)
        looked.version = _read_version(root)
        failed = root / layout.FAILED_FILE
        if failed.exists():
            looked.failed = failed.read_text(encoding="utf-8", errors="replace").strip() or "marked FAILED"


@contextmanager
def _noting_failure(looked: _Looked, what: str) -> Iterator[None]:
    """A volume's trouble at the start is its own, unless this process is to blame."""
    try:
        yield
    except OSError as error:
        if error.errno in OURS:
            raise
        looked.failed = f"{what}: {error.strerror or error}"
        _log.error("volume out of service", root=str(looked.root), reason=looked.failed)


def _lock_volume(root: Path) -> int:
    root.mkdir(parents=True, exist_ok=True)
    fd = os.open(root / layout.LOCK_FILE, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Unavailable(f"{root} is in use by another process") from error
    except OSError:
        os.close(fd)
        raise
    return fd


def _read_version(root: Path) -> VersionFile | None:
    path = root / layout.VERSION_FILE
    if not path.exists():
        strangers = sorted(entry.name for entry in root.iterdir() if not _is_of_formatting(entry))
        if strangers:
            raise IdentityConflict(
                f"{root} has no VERSION file but holds {strangers[0]!r}: not a volume of ours"
            )
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=VersionFile)
    except msgspec.DecodeError as error:
        raise IdentityConflict(f"{path} is not readable as one of ours: {error}") from error


def _is_of_formatting(entry: Path) -> bool:
    """Whether it may lie in a directory that was to become a volume and did not: then it holds nothing."""
    if entry.name in {state.value for state in ReplicaState}:
        return entry.is_dir() and not any(entry.iterdir())
    return entry.name in {layout.LOCK_FILE, "lost+found", f"{layout.VERSION_FILE}.new"}


def _check_version(root: Path, version: VersionFile, node_id: str, node_uuid: str, cluster_id: str) -> None:
    if version.format_version > layout.FORMAT_VERSION:
        raise NewerRelease(f"{root} has format {version.format_version}: upgrade esdfs")
    if version.node_id != node_id:
        raise IdentityConflict(f"{root} belongs to DataNode {version.node_id!r}, not {node_id!r}")
    if version.node_uuid != node_uuid:
        raise IdentityConflict(f"{root} was formatted for another {node_id!r} than the other volumes")
    if version.cluster_id not in ("", cluster_id):
        raise IdentityConflict(f"{root} belongs to cluster {version.cluster_id}, the others to {cluster_id}")


def _format(root: Path, version: VersionFile) -> None:
    for state in ReplicaState:
        (root / state.value).mkdir(exist_ok=True)
    write_durably(root / layout.VERSION_FILE, msgspec.json.encode(version) + b"\n")


def cluster_of(volumes: list[Volume]) -> str:
    """The cluster that the volumes of a DataNode belong to; empty while unknown."""
    return next((volume.version.cluster_id for volume in volumes if volume.version.cluster_id), "")


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


def write_durably(path: Path, content: bytes) -> None:
    """Replace a small file as a whole: after a crash it is the old one or the new one."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
