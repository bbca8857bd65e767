"""What the REST edge needs of the rest of a NameNode.

The projection and the locations are opened read-only in each worker; tests bring their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from esdfs.blocks import DataNodeStatus
from esdfs.ids import Txid
from esdfs.journal.entry import Entry
from esdfs.namenode.blocks.admin import Admin
from esdfs.namenode.blocks.bodies import Load, PeerState, VolumeState
from esdfs.namenode.events import ClusterFormatted, DataNodeAdded, RetentionSet, SnapshotCreated
from esdfs.namenode.frames import Answer, Body
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord, Cursor, Inode, Version
from esdfs.namenode.projection.differing import Change
from esdfs.namenode.projection.horizon import Standing


class View(Protocol):
    """The namespace at one transaction, valid inside its ``with`` block."""

    @property
    def applied_txid(self) -> int:
        """The newest committed transaction in the projection, also when this is a view of the past."""
        ...

    @property
    def oldest_txid(self) -> int:
        """The first transaction that ``as_of`` may name."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch of that transaction."""
        ...

    def cluster(self) -> ClusterFormatted | None:
        """The cluster's settings; None before it was formatted."""
        ...

    def resolve(self, path: str) -> Inode:
        """What a normalised path names.

        Raises:
            NotFound, ParentNotFound, NotADirectory: Names the component.
        """
        ...

    def by_id(self, inode: int) -> tuple[str, Inode]:
        """(path, inode) of an inode that has a name.

        Raises:
            NotFound: It has none (any more, or yet).
        """
        ...

    def path_of(self, inode: int) -> str | None:
        """Its path; None when it has none."""
        ...

    def children(self, inode: int, after: str = "", limit: int = 1000) -> list[tuple[str, Inode]]:
        """At most ``limit`` entries with a name above ``after``, by name."""
        ...

    def retention(self) -> RetentionSet:
        """How much history is kept."""
        ...

    def standing(self, now_us: int) -> Standing:
        """How much history there is, and how far forgetting is behind."""
        ...

    def pin(self, name: str) -> SnapshotCreated | None:
        """The snapshot of this name."""
        ...

    def pins(self) -> list[SnapshotCreated]:
        """All snapshots, by name."""
        ...

    def difference(self, before: int, after: int, path: str = "/") -> list[Change]:
        """The net effect of going from one transaction's state to another's, at and below ``path``.

        Raises:
            Compacted, FutureTxid, Restoring: One of them cannot be read.
        """
        ...

    def touched(self, before: int, after: int, limit: int) -> int:
        """How many changes lie between two moments; ``limit`` when there are more."""
        ...

    def history(self, path: str, limit: int = 1000) -> Sequence[Version]:
        """The newest ``limit`` versions of what a path names or last named, newest first.

        Raises:
            NotFound, ParentNotFound: Nothing was ever there within the history kept.
        """
        ...

    def txid_at(self, ts_us: int) -> int:
        """The last transaction at or before a time; 0 when all are later."""
        ...

    @property
    def settled_txid(self) -> int:
        """The newest transaction whose outcome is all there."""
        ...

    def place_at(self, inode: int, txid: int) -> tuple[int, str] | None:
        """(parent, name) of an inode after ``txid``, as far as that is known."""
        ...

    def entry_at(self, parent: int, name: str, txid: int) -> Inode | None:
        """An entry after ``txid``, if that is still known."""
        ...

    def cursor(self, name: str) -> Cursor | None:
        """A named reader of the journal."""
        ...

    def cursors(self) -> list[Cursor]:
        """All of them, by name."""
        ...

    @property
    def allocated(self) -> Allocated:
        """Which block ids were given out, up to the newest state."""
        ...

    def block(self, block_id: int) -> BlockRecord | None:
        """What the newest state knows of a block."""
        ...

    def linked_blocks(self) -> Iterator[list[int]]:
        """Blocks that present files name and were not written for, in pieces; seconds per million files."""
        ...

    def datanode(self, number: int) -> DataNodeAdded | None:
        """The DataNode with this number."""
        ...


class ProjectionReader(Protocol):
    """Snapshots of the namespace."""

    def applied_txid(self) -> int:
        """The newest transaction readers can see."""
        ...

    def snapshot(self, as_of: int | None = None) -> AbstractContextManager[View]:
        """The newest committed state, or the one after ``as_of``.

        Raises:
            Compacted: Older than the history kept.
            FutureTxid: Not yet.
        """
        ...


class Replica(Protocol):
    """One reported copy of a block."""

    @property
    def number(self) -> int:
        """The DataNode's number."""
        ...

    @property
    def generation(self) -> int:
        """A copy of an older generation is stale."""
        ...

    @property
    def corrupt(self) -> bool:
        """Its bytes do not match their checksums."""
        ...


class DataNodeRow(Protocol):
    """A DataNode as this NameNode sees it."""

    @property
    def number(self) -> int: ...  # noqa: D102 - the journal's short name
    @property
    def node_id(self) -> str: ...  # noqa: D102 - as configured
    @property
    def address(self) -> str: ...  # noqa: D102 - host:port of its data channel
    @property
    def local_socket(self) -> str: ...  # noqa: D102 - for readers on its host
    @property
    def status(self) -> DataNodeStatus: ...  # noqa: D102 - see blocks.DataNodeStatus
    @property
    def status_why(self) -> str: ...  # noqa: D102 - what that came from
    @property
    def admin(self) -> Admin: ...  # noqa: D102 - what an operator wants of it
    @property
    def storage_capacity(self) -> int: ...  # noqa: D102 - bytes
    @property
    def available_space(self) -> int: ...  # noqa: D102 - bytes
    @property
    def used_bytes(self) -> int: ...  # noqa: D102 - of its replicas
    @property
    def load(self) -> Load: ...  # noqa: D102 - how busy it is
    @property
    def volumes(self) -> Sequence[VolumeState]: ...  # noqa: D102 - its disks
    @property
    def peers(self) -> Sequence[PeerState]: ...  # noqa: D102 - whom it reaches


class LocationsReader(Protocol):
    """Where replicas are, as reported."""

    def replicas(self, block_id: int) -> Sequence[Replica]:
        """All reported copies, the pipeline's head first."""
        ...

    def page(self, after: int, limit: int) -> Sequence[tuple[int, Sequence[Replica]]]:
        """At most ``limit`` blocks with an id above ``after`` and any copy, ascending, with their copies."""
        ...

    def datanodes(self) -> Mapping[int, DataNodeRow]:
        """Every known DataNode, by its number."""
        ...


class Engine(Protocol):
    """The one process that changes anything."""

    @property
    def last_seen(self) -> tuple[int, int]:
        """(txid, epoch) of its newest answer."""
        ...

    async def call(self, body: Body, *, timeout_ms: int = 10_000) -> Answer:
        """Its answer, never one with a failure.

        Raises:
            EsdfsError: What it refused the call with, or why there is no answer.
        """
        ...

    async def close(self) -> None:
        """Drop the connection."""
        ...


class JournalReader(Protocol):
    """The journal's records; blocking, so called in a thread."""

    def oldest_txid(self) -> Txid:
        """The first record still kept."""
        ...

    def read(self, after: Txid, *, limit: int) -> list[Entry]:
        """At most ``limit`` records with a txid above ``after``, in order."""
        ...
