"""How directories become the volumes of a DataNode: locked, held against each other, formatted when new."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog

from esdfs.datanode import layout
from esdfs.datanode.durable import write_durably
from esdfs.datanode.replica import ReplicaState
from esdfs.datanode.slowness import SLOW_FSYNC_MS
from esdfs.datanode.volumes import OURS, VersionFile, Volume
from esdfs.env import Rng
from esdfs.errors import IdentityConflict, NewerRelease, Unavailable

_log = structlog.get_logger()


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
