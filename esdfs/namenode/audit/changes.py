"""What an event was about: whose inode, under which path then, what was old and what is new. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from esdfs.ids import ROOT
from esdfs.namenode import events as ev
from esdfs.namenode.event_codec import kind_of
from esdfs.namenode.events import Event, Kind
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import DEPTH_MAX, join

Value: TypeAlias = str | int | None
Fields: TypeAlias = tuple[tuple[str, Value, Value], ...]

STRUCTURAL: Final = frozenset(
    {
        int(Kind.RENAMED),
        int(Kind.DELETED),
        int(Kind.SUBTREE_LINKED),
        int(Kind.TREE_LINKED),
        int(Kind.NAMESPACE_REWOUND),
    }
)
"""Kinds which, done to a directory, change what is anywhere below it."""


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One event, seen from the tree.

    Attributes:
        inode: 0 = it was about no file or directory.
        path: Where that is from then on; None = nowhere any more, or not known.
        old_path: Where it was before; None = nowhere, or not known.
        fields: (name, old, new) of what changed; an old value that is no longer known is None.
        replaces_tree: A file took the place of a directory and of all below it, or may have.
    """

    kind: int
    inode: int = 0
    is_directory: bool = False
    path: str | None = None
    old_path: str | None = None
    fields: Fields = ()
    replaces_tree: bool = False


class Told(NamedTuple):
    """A change, and what else it touched.

    Attributes:
        others: Inodes that lost their name to it, or were copied by it.
        above: The directories it happened below, without the root.
    """

    change: Change
    others: tuple[int, ...] = ()
    above: frozenset[int] = frozenset()


class Places(Protocol):
    """The tree just before and while a record is told; see ``tell``."""

    def place(self, inode: int) -> tuple[int, str] | None:
        """(parent, name), the last one known."""
        ...

    def put_place(self, inode: int, parent: int, name: str) -> None:
        """From now on."""
        ...

    def end_place(self, inode: int) -> None:
        """It has no name from now on; its last place stays known."""
        ...

    def entry_before(self, parent: int, name: str) -> Inode | None:
        """The entry as it was before this record, if that is still known."""
        ...

    def rewound(self) -> None:
        """No place put before is true any more."""
        ...


def tell(event: Event, places: Places) -> Told:
    """What ``event`` was about; moves ``places`` on."""
    kind = kind_of(event)
    fields: Fields
    match event:
        case ev.DirectoryMade(parent, name, inode):
            fields = (
                ("mode", None, f"{event.mode:04o}"),
                ("owner", None, event.owner),
                ("group", None, event.group),
            )
            return _new(kind, places, parent, name, inode, fields, is_directory=True)
        case ev.FileOpened(parent, name, inode):
            return _new(kind, places, parent, name, inode, ())
        case ev.BlocksAllocated(inode) | ev.FileAborted(inode):
            found = places.place(inode)
            path, above = (None, frozenset[int]()) if found is None else _reach(places, *found)
            return Told(Change(kind, inode, False, path, path), (), above)
        case ev.FileCompleted():
            old = _replaced(places, event)
            fields = (
                ("size_bytes", None if old is None else old.size_bytes, event.size_bytes),
                ("crc32c", None if old is None else f"{old.crc32c:08x}", f"{event.crc32c:08x}"),
            )
            return _linked(kind, places, event, event.inode, fields, others=())
        case ev.FileLinked():
            old = _replaced(places, event)
            fields = (
                ("size_bytes", None if old is None else old.size_bytes, event.size_bytes),
                ("source_file_id", None, str(event.source_inode)),
                ("source_txid", None, event.source_txid),
            )
            told = _linked(kind, places, event, event.inode, fields, others=(event.source_inode,))
            ends_tree = bool(event.replaced_inode) and (old is None or old.is_directory)
            return told._replace(change=msgspec.structs.replace(told.change, replaces_tree=ends_tree))
        case ev.SubtreeLinked(parent, name, source, source_txid, first):
            fields = (("source_file_id", None, str(source)), ("source_txid", None, source_txid))
            told = _new(kind, places, parent, name, first, fields, is_directory=True)
            return told._replace(others=(source,))
        case ev.TreeLinked():
            fields = (
                ("source_file_id", None, str(event.source_inode)),
                ("source_txid", None, event.source_txid),
            )
            return _linked(
                kind, places, event, event.inode, fields, others=(event.source_inode,), is_directory=True
            )
        case ev.NamespaceRewound(to_txid):
            places.rewound()
            return Told(Change(kind, ROOT, True, "/", "/", (("source_txid", None, to_txid),)))
        case ev.Renamed():
            return _renamed(kind, places, event)
        case ev.Deleted(inode, parent, name, directory):
            old = places.entry_before(parent, name)
            path, above = _reach(places, parent, name)
            places.end_place(inode)
            fields = () if directory or old is None else (("size_bytes", old.size_bytes, None),)
            return Told(Change(kind, inode, directory, None, path, fields), (), above)
        case ev.AttributesSet(inode, parent, name):
            old = places.entry_before(parent, name)
            path, above = _reach(places, parent, name)
            is_directory = old is not None and old.is_directory
            return Told(Change(kind, inode, is_directory, path, path, _attributes(event, old)), (), above)
        case ev.SnapshotCreated():
            above = frozenset(event.ancestors) - {ROOT}
            fields = (("snapshot", None, event.name), ("source_txid", None, event.txid))
            return Told(Change(kind, event.inode, False, event.path, event.path, fields), (), above)
        case ev.DataNodeStateSet():
            fields = (
                ("datanode", None, event.node_id),
                ("state", None, event.state),
                ("until_us", None, event.until_us or None),
                ("why", None, event.why),
            )
            return Told(Change(kind, fields=fields))
        case _:
            return Told(Change(kind))


def touches(change: Change, prefix: str) -> bool:
    """Whether a change matters to who watches ``prefix`` (normalised) and all below it.

    What was done to a directory above it matters when it moved, removed or replaced what is below. A file
    whose path is not known may be anywhere: it matters.
    """
    paths = [path for path in (change.path, change.old_path) if path is not None]
    if not paths:
        return change.inode != 0
    if any(_within(path, prefix) for path in paths):
        return True
    is_above = change.replaces_tree or (change.is_directory and change.kind in STRUCTURAL)
    return is_above and any(_within(prefix, path) for path in paths)


def _within(path: str, prefix: str) -> bool:
    return prefix in {"/", path} or path.startswith(f"{prefix}/")


def kinds_of(changes: Sequence[Change]) -> frozenset[int]:
    """The kinds of several changes."""
    return frozenset(change.kind for change in changes)


# --- one event ------------------------------------------------------------------------------------


def _new(
    kind: int,
    places: Places,
    parent: int,
    name: str,
    inode: int,
    fields: Fields,
    *,
    is_directory: bool = False,
) -> Told:
    path, above = _reach(places, parent, name)
    places.put_place(inode, parent, name)
    return Told(Change(kind, inode, is_directory, path, None, fields), (), above)


def _linked(
    kind: int,
    places: Places,
    event: ev.FileCompleted | ev.FileLinked | ev.TreeLinked,
    inode: int,
    fields: Fields,
    *,
    others: tuple[int, ...],
    is_directory: bool = False,
) -> Told:
    """Something new at a place, perhaps instead of something else."""
    told = _new(kind, places, event.parent, event.name, inode, fields, is_directory=is_directory)
    if not event.replaced_inode:
        return told._replace(others=others)
    places.end_place(event.replaced_inode)
    change = msgspec.structs.replace(told.change, old_path=told.change.path)
    return Told(change, (*others, event.replaced_inode), told.above)


def _replaced(places: Places, event: ev.FileCompleted | ev.FileLinked) -> Inode | None:
    return places.entry_before(event.parent, event.name) if event.replaced_inode else None


def _renamed(kind: int, places: Places, event: ev.Renamed) -> Told:
    old = places.entry_before(event.source_parent, event.source_name)
    old_path, above_source = _reach(places, event.source_parent, event.source_name)
    path, above_target = _reach(places, event.target_parent, event.target_name)
    places.put_place(event.inode, event.target_parent, event.target_name)
    fields: list[tuple[str, Value, Value]] = [("path", old_path, path)]
    if event.replaced_inode:
        places.end_place(event.replaced_inode)
        fields.append(("replaced_file_id", str(event.replaced_inode), None))
    # Not known: taken for a directory, which matters to more.
    is_directory = old is None or old.is_directory
    others = (event.replaced_inode,) if event.replaced_inode else ()
    change = Change(kind, event.inode, is_directory, path, old_path, tuple(fields))
    return Told(change, others, above_source | above_target)


def _attributes(event: ev.AttributesSet, old: Inode | None) -> Fields:
    pairs: Fields = (
        (
            "mode",
            None if old is None else f"{old.mode:04o}",
            None if event.mode is None else f"{event.mode:04o}",
        ),
        ("owner", None if old is None else old.owner, event.owner),
        ("group", None if old is None else old.group, event.group),
        ("replication", None if old is None else old.replication, event.replication),
        ("mtime_us", None if old is None else old.mtime_us, event.mtime_us),
    )
    return tuple(pair for pair in pairs if pair[2] is not None)


def _reach(places: Places, parent: int, name: str) -> tuple[str | None, frozenset[int]]:
    """(path, directories above it but the root); the path is None when one of those is not known."""
    names, above, here = [name], set[int](), parent
    while here != ROOT:
        above.add(here)
        place = places.place(here)
        if place is None or len(names) > DEPTH_MAX:
            return None, frozenset(above)
        here, name = place
        names.append(name)
    path = "/"
    for name in reversed(names):
        path = join(path, name)
    return path, frozenset(above)
