"""What the rules of the namespace see and change: ports, implemented by ``namenode.projection``. Pure.

``View`` is any state, present or past. ``Present`` adds what only the present has: open files, ids to
give out. ``Tables`` is the present being changed by ``evolve``, one transaction at a time.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from esdfs.errors import NotADirectory, NotFound, ParentNotFound
from esdfs.namenode.events import (
    ClusterFormatted,
    CursorMoved,
    DataNodeAdded,
    DataNodeStateSet,
    RetentionSet,
    SnapshotCreated,
    VotersChanged,
)
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord, Cursor, Inode, OpenFile, Work, WorkItem
from esdfs.namenode.namespace.paths import split

ABOVE_ROOT = 0
"""Parent of the root's own entry, whose name is empty."""

INODE_MAX = (1 << 63) - 1
"""Above every inode."""


class View(Protocol):
    """The namespace at one transaction."""

    def child(self, parent: int, name: str) -> Inode | None:
        """The entry ``name`` of the directory ``parent``."""
        ...

    def child_id(self, parent: int, name: str) -> tuple[int, bool] | None:
        """The same, but only (inode, is_directory): what walking a path needs."""
        ...

    def children(self, parent: int, *, after: str, limit: int) -> list[tuple[str, Inode]]:
        """At most ``limit`` entries with a name above ``after``, by name (UTF-8 order)."""
        ...

    def place_of(self, inode: int) -> tuple[int, str] | None:
        """(parent, name) of an inode, whether or not the parent itself can still be reached."""
        ...


class Present(View, Protocol):
    """The newest state."""

    def cluster(self) -> ClusterFormatted:
        """The cluster's settings."""
        ...

    def feature_level(self) -> int:
        """What may be written: see ``upcasters``."""
        ...

    def past(self, txid: int) -> View:
        """The namespace as it was after ``txid``.

        Raises:
            Compacted: Older than the history kept.
            FutureTxid: Not yet.
        """
        ...

    def open_file(self, inode: int) -> OpenFile | None:
        """A file being written."""
        ...

    def open_at(self, parent: int, name: str) -> int | None:
        """The inode being written under this name."""
        ...

    def block(self, block_id: int) -> BlockRecord | None:
        """What is known of a block."""
        ...

    def sharers(self, inode: Inode) -> list[Inode] | None:
        """The present files that name the same blocks, itself included; None = there may be others.

        What is below a removed directory counts until it is forgotten: it may come back without a word.
        """
        ...

    def number_of(self, node_id: str) -> int | None:
        """The DataNode's short name."""
        ...

    def next_inode(self) -> int:
        """The inode id to give out next."""
        ...

    def unfinished(self) -> tuple[tuple[int, int], ...]:
        """(txid, top) of the restores that are under way; see ``Work``."""
        ...

    def oldest_txid(self) -> int:
        """Where the past begins; before it, only pins can be read."""
        ...

    def applied_txid(self) -> int:
        """The transaction this state is after; within one, that one once it changed something."""
        ...

    def retention(self) -> RetentionSet:
        """How much history is kept."""
        ...

    def pin(self, name: str) -> SnapshotCreated | None:
        """The snapshot of this name."""
        ...

    def pins(self) -> list[SnapshotCreated]:
        """All snapshots, by name."""
        ...

    def allocated(self) -> Allocated:
        """Which block ids were given out; none at or above its ``next_block_id`` was."""
        ...

    def datanode_state(self, number: int) -> DataNodeStateSet | None:
        """What an operator wants of a DataNode; None when none ever said."""
        ...

    def cursor(self, name: str) -> Cursor | None:
        """A named reader of the journal."""
        ...

    def cursors(self) -> list[Cursor]:
        """All named readers, by name."""
        ...

    def last_txid(self) -> int:
        """The newest transaction of this state."""
        ...


class Tables(Present, Protocol):
    """The present, open for ``evolve``. Every change is part of transaction ``txid``."""

    def format(self, cluster: ClusterFormatted) -> None:
        """The cluster's settings."""
        ...

    def add_entry(self, parent: int, name: str, inode: Inode) -> None:
        """A new inode under a name that is free."""
        ...

    def put_entry(self, parent: int, name: str, inode: Inode) -> None:
        """A new version of the entry, or another inode in its place; the old one becomes history."""
        ...

    def move_entry(self, source: tuple[int, str], target: tuple[int, str], inode: Inode) -> None:
        """Rename; an inode at the target loses its name, both old versions become history."""
        ...

    def remove_entry(self, parent: int, name: str) -> None:
        """The entry becomes history and its inode loses its name."""
        ...

    def put_open(self, file: OpenFile) -> None:
        """A file being written, or its new state."""
        ...

    def remove_open(self, file: OpenFile) -> None:
        """It is no longer being written."""
        ...

    def put_block(self, block_id: int, record: BlockRecord) -> None:
        """What is known of a block."""
        ...

    def remove_block(self, block_id: int) -> None:
        """The block was given up: nothing in the namespace or its history names it."""
        ...

    def add_datanode(self, event: DataNodeAdded) -> None:
        """A DataNode got its number."""
        ...

    def put_datanode_state(self, event: DataNodeStateSet) -> None:
        """What an operator wants of a DataNode now."""
        ...

    def put_voters(self, event: VotersChanged) -> None:
        """Which NameNodes vote, and where they are reached."""
        ...

    def put_feature_level(self, level: int) -> None:
        """What may be written from the next transaction on.

        Raises:
            NewerRelease: More than this node may read: it must stop.
        """
        ...

    def put_retention(self, event: RetentionSet) -> None:
        """How much history is kept."""
        ...

    def move_horizon(self, oldest_txid: int) -> None:
        """The past begins there."""
        ...

    def purge(self, steps_max: int) -> None:
        """Forget, a bounded number of versions at a time, what neither the window nor a pin can show."""
        ...

    def put_pin(self, event: SnapshotCreated) -> None:
        """A state that stays readable behind the horizon."""
        ...

    def remove_pin(self, name: str) -> None:
        """It may be forgotten."""
        ...

    def put_cursor(self, event: CursorMoved, ts_us: int) -> None:
        """Where a named reader is, and when that was said."""
        ...

    def remove_cursor(self, name: str) -> None:
        """Nobody reads under this name any more."""
        ...

    def begin_work(self, top: int) -> None:
        """This transaction begins something longer: nothing below ``top`` can be read until all of it ends.

        It may begin several: their steps are one list.
        """
        ...

    def work(self, began_txid: int) -> Work | None:
        """What a transaction began and is not finished."""
        ...

    def add_step(self, began_txid: int, step: WorkItem) -> None:
        """Note what is to be done after everything noted before."""
        ...

    def first_step(self, began_txid: int) -> tuple[int, WorkItem] | None:
        """(its number, what is to be done next)."""
        ...

    def put_step(self, began_txid: int, number: int, step: WorkItem | None) -> None:
        """What is left of a step; None = nothing."""
        ...

    def end_work(self, began_txid: int) -> None:
        """All of it can be read."""
        ...

    def source(self, txid: int) -> View:
        """``past``, for work that began when that was in the window: nothing is purged before it ends."""
        ...

    def acting_for(self, began_txid: int) -> AbstractContextManager[None]:
        """Changes inside are part of an earlier transaction, whose outcome nobody has seen yet."""
        ...

    def changes(self, until: int, *, after: tuple[int, int, str], limit: int) -> list[tuple[int, int, str]]:
        """At most ``limit`` changes (txid, parent, name) above ``after``, of transactions up to ``until``."""
        ...

    def named(self, parent: int, name: str) -> int | None:
        """The inode of an entry, whatever is under way."""
        ...

    def rewind_entry(self, parent: int, name: str, then: Inode | None) -> None:
        """Make an entry what it was; inodes keep their numbers."""
        ...

    def share_blocks(self, inode: Inode) -> None:
        """A version is about to be added whose blocks another version names already."""
        ...

    def note_sharer(self, inode: Inode) -> None:
        """A file names blocks that were written for another."""
        ...

    def want_copies(self, inode: Inode, copies: int) -> None:
        """The blocks of a file are to have so many."""
        ...

    def used_inodes(self, below: int) -> None:
        """All inode ids below this are used up."""
        ...

    def used_blocks(self, first: int, below: int) -> None:
        """These block ids were given out, and none between the last before and ``first`` ever will be."""
        ...


def resolve_id(view: View, names: list[str]) -> int:
    """The inode of the directory reached through ``names``.

    Raises:
        ParentNotFound, NotADirectory: Names the component.
    """
    here = 1
    for depth, name in enumerate(names):
        found = view.child_id(here, name)
        if found is None:
            raise ParentNotFound(f"no such directory: {_upto(names, depth)}", path=_upto(names, depth))
        here, is_directory = found
        if not is_directory:
            raise NotADirectory(f"not a directory: {_upto(names, depth)}", path=_upto(names, depth))
    return here


def resolve(view: View, path: str) -> Inode:
    """What a normalised path names.

    Raises:
        NotFound, ParentNotFound, NotADirectory: Names the component.
    """
    if path == "/":
        found = view.child(ABOVE_ROOT, "")
    else:
        names, last = split(path)
        found = view.child(resolve_id(view, names), last)
    if found is None:
        raise NotFound(f"no such file or directory: {path}", path=path)
    return found


def path_of(view: View, inode: int) -> str | None:
    """The path of an inode; None when it, or a directory above it, is no longer (or not yet) there."""
    names: list[str] = []
    while inode != 1:
        place = view.place_of(inode)
        if place is None:
            return None
        parent, name = place
        found = view.child_id(parent, name)
        if found is None or found[0] != inode:
            return None
        names.append(name)
        inode = parent
    return "/" + "/".join(reversed(names))


def _upto(names: list[str], depth: int) -> str:
    return "/" + "/".join(names[: depth + 1])
