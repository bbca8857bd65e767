"""What a NameNode answers, as values. Fields that a newer NameNode adds are ignored."""

from datetime import datetime
from typing import Literal, NamedTuple, Self

import msgspec


class Location(msgspec.Struct, frozen=True):
    """A replica that may be read. ``address`` is ``host:port``; ``local_socket`` "" = none."""

    node_id: str
    address: str
    local_socket: str = ""
    status: str = "ACTIVE"
    is_leader: bool = False


class LocatedBlock(msgspec.Struct, frozen=True):
    """A finished block and where it can be read, best first.

    Attributes:
        offset: Of its first byte in the file.
        crc32c: Of its logical bytes, 8 hex digits.
    """

    block_id: str
    generation: int
    offset: int
    length_bytes: int
    stored_bytes: int
    crc32c: str
    compressed: bool
    locations: list[Location]


class ReplicaAt(NamedTuple):
    """One replica, readable or not.

    Attributes:
        address: ``host:port``.
        length_bytes, crc32c: What the block must be, as in `LocatedBlock`; None = not known.
    """

    block_id: str
    generation: int
    node_id: str
    address: str
    length_bytes: int | None = None
    crc32c: str | None = None

    @classmethod
    def of(cls, block: LocatedBlock, at: Location) -> Self:
        """One that a NameNode told of."""
        return cls(block.block_id, block.generation, at.node_id, at.address, block.length_bytes, block.crc32c)


class FileStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A file or directory.

    Attributes:
        file_id: Stays the same through renames.
        mtime: ISO 8601, UTC, microseconds; see ``modified``.
        mode: Octal.
        replication, block_size_bytes, blocks: 0 for directories.
        crc32c: Of the whole file, 8 hex digits; "" for directories.
        txid: The last change of this entry; its entity tag.
        located: Only when blocks were asked for.
    """

    path: str
    type: Literal["file", "directory"]
    file_id: str
    size_bytes: int
    mtime: str
    mode: str = ""
    owner: str = ""
    group: str = ""
    replication: int = 0
    block_size_bytes: int = 0
    blocks: int = 0
    txid: int = 0
    crc32c: str = ""
    located: list[LocatedBlock] | None = None

    @property
    def name(self) -> str:
        """The last component of the path; "" for the root."""
        return self.path.rpartition("/")[2]

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return self.type == "directory"

    @property
    def modified(self) -> datetime:
        """``mtime`` as an aware datetime."""
        return datetime.fromisoformat(self.mtime)


class Listing(msgspec.Struct, frozen=True):
    """One page of a directory; ``next`` is the name to go on after, None = it was the last page."""

    path: str
    entries: list[FileStatus]
    next: str | None
    txid: int


class Target(msgspec.Struct, frozen=True):
    """A DataNode to write to. ``address`` is ``host:port``."""

    node_id: str
    address: str


class NewBlock(msgspec.Struct, frozen=True):
    """A block to write, and its pipeline in order."""

    block_id: str
    generation: int
    targets: list[Target]


class Opened(msgspec.Struct, frozen=True):
    """A file that is being written."""

    file_id: str
    lease: str
    block_size_bytes: int
    replication: int
    blocks: list[NewBlock] = []


class Allocated(msgspec.Struct, frozen=True):
    """Further blocks of an open file."""

    blocks: list[NewBlock]


class WrittenBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block as its pipeline acknowledged it: what ``complete`` sends."""

    block_id: int
    generation: int
    length_bytes: int
    stored_bytes: int
    crc32c: int
    replicas: list[str]
    compressed: bool = False


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of what a path named.

    Attributes:
        txid: The transaction that made it.
        until_txid: The one that ended it; None = it is the present.
        event, principal, peer, ts: How, by whom, whence, when; None when that record is no longer kept.
    """

    txid: int
    until_txid: int | None
    path: str
    type: str
    size_bytes: int
    file_id: str
    event: str | None = None
    principal: str | None = None
    peer: str | None = None
    ts: str | None = None


class Versions(msgspec.Struct, frozen=True):
    """All kept versions, newest first."""

    versions: list[Version]


class SnapshotMade(msgspec.Struct, frozen=True):
    """What was kept: ``path`` and all below it, as it was after ``txid``."""

    name: str
    txid: int
    path: str


class Snapshot(SnapshotMade, frozen=True, kw_only=True):
    """A snapshot. ``ts`` is when ``txid`` was, ISO 8601; None when the journal no longer tells."""

    file_id: str
    ts: str | None = None


class Snapshots(msgspec.Struct, frozen=True):
    """All of them, by name."""

    snapshots: list[Snapshot]


class Retention(msgspec.Struct, frozen=True):
    """How much history is kept; 0 = without limit.

    Attributes:
        history_oldest_txid: The first txid that can be read without a snapshot.
        history_wanted_txid: What that will be once the past begins where the window does.
        history_purged_txid: Everything that ended up to here was forgotten, or is held by a snapshot.
        history_held_versions: Those held.
    """

    window_s: int
    records_max: int
    history_oldest_txid: int
    history_wanted_txid: int
    history_purged_txid: int
    history_held_versions: int
    history_snapshots: int


class NetChange(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what differs between two moments.

    Attributes:
        change: ``added``, ``modified``, ``deleted`` or ``renamed``.
        path: Where it is at the second moment; of what was deleted, where it was.
        from_path: Of what was renamed.
        fields: What else changed: ``content``, or names of attributes.
    """

    change: str
    type: str
    path: str
    file_id: str
    from_path: str = ""
    fields: list[str] = []
    size_bytes: int = 0
    size_before: int = 0


class Difference(msgspec.Struct, frozen=True):
    """All that differs, by path."""

    from_txid: int
    to_txid: int
    changes: list[NetChange]


class Usage(msgspec.Struct, frozen=True):
    """What is at and below a path.

    Attributes:
        size_bytes: Of the files once, whatever their replication.
        stored_bytes: Times their replication.
    """

    path: str
    size_bytes: int
    stored_bytes: int
    files: int
    directories: int
