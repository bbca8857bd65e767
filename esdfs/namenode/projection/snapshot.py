"""What readers ask of one state of the namespace, present or past."""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from esdfs.errors import Compacted, NotFound, ParentNotFound
from esdfs.ids import ROOT
from esdfs.namenode.events import (
    ClusterFormatted,
    DataNodeAdded,
    RetentionSet,
    SnapshotCreated,
    VoterEntry,
)
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord, Cursor, Inode, Version
from esdfs.namenode.namespace.paths import join, split
from esdfs.namenode.namespace.view import ABOVE_ROOT, INODE_MAX, View, path_of, resolve
from esdfs.namenode.namespace.walk import walk_subtree
from esdfs.namenode.projection.costs import Costs, costs
from esdfs.namenode.projection.differing import Change, difference
from esdfs.namenode.projection.horizon import Standing, standing
from esdfs.namenode.projection.layout import entry_key, unpack_past
from esdfs.namenode.projection.reachable import linked_blocks
from esdfs.namenode.projection.views import PresentView

NEVER: Final = 1 << 63
"""After every txid."""


class Snapshot:
    """One consistent state of the namespace.

    Attributes:
        txid: The transaction this state is read at: ``as_of``, or the newest committed one.
    """

    def __init__(self, present: PresentView, as_of: int | None) -> None:
        self._present = present
        self._view: View = present if as_of is None else present.past(as_of)
        self.txid = present.meta.applied_txid if as_of is None else as_of

    @property
    def applied_txid(self) -> int:
        """The newest committed transaction."""
        return self._present.meta.applied_txid

    @property
    def oldest_txid(self) -> int:
        """The first transaction that ``as_of`` may name."""
        return self._present.meta.oldest_txid

    @property
    def epoch(self) -> int:
        """The epoch of the newest committed transaction."""
        return self._present.meta.epoch

    @property
    def chain(self) -> bytes:
        """The journal's chain value after ``applied_txid``."""
        return self._present.meta.chain

    def cluster(self) -> ClusterFormatted | None:
        """The cluster's settings; None before the first record was applied."""
        return self._present.cluster() if self.applied_txid else None

    def voters(self) -> tuple[VoterEntry, ...]:
        """The NameNodes that vote, in the newest state."""
        return self._present.voters()

    def resolve(self, path: str) -> Inode:
        """What a normalised path names.

        Raises:
            NotFound, ParentNotFound, NotADirectory: Names the component.
        """
        return resolve(self._view, path)

    def path_of(self, inode: int) -> str | None:
        """The path of an inode; None when it cannot be reached in this state."""
        return path_of(self._view, inode)

    def by_id(self, inode: int) -> tuple[str, Inode]:
        """An inode and its path.

        Raises:
            NotFound: Not in this state, or still being written.
        """
        path = self.path_of(inode)
        if path is None:
            raise NotFound(f"no file or directory has id {inode}", file_id=str(inode))
        return path, resolve(self._view, path)

    def children(self, inode: int, after: str = "", limit: int = 1000) -> list[tuple[str, Inode]]:
        """At most ``limit`` entries of a directory with a name above ``after``, by name."""
        return self._view.children(inode, after=after, limit=limit)

    def walk(self, top: Inode) -> Iterator[tuple[int | None, str, Inode]]:
        """(parent, name, inode) of everything from ``top`` down, depth first by name."""
        return walk_subtree(self._view, top)

    def block(self, block_id: int) -> BlockRecord | None:
        """What the newest state knows of a block."""
        return self._present.block(block_id)

    @property
    def allocated(self) -> Allocated:
        """Which block ids were given out, up to the newest state."""
        return self._present.allocated()

    def linked_blocks(self) -> Iterator[list[int]]:
        """See ``reachable.linked_blocks``; of the newest state."""
        return linked_blocks(self._present)

    def datanode(self, number: int) -> DataNodeAdded | None:
        """The DataNode with this number."""
        return self._present.datanode(number)

    def datanodes(self) -> list[DataNodeAdded]:
        """Every DataNode that ever registered."""
        return self._present.datanodes()

    def txid_at(self, ts_us: int) -> int:
        """The last transaction stamped at or before ``ts_us``; 0 when all are later."""
        return self._present.txid_at(ts_us)

    @property
    def settled_txid(self) -> int:
        """The newest transaction whose outcome is all there: one before the oldest restore under way."""
        began = [txid for txid, _ in self._present.unfinished()]
        return min([self._present.meta.applied_txid, *(txid - 1 for txid in began)])

    def place_at(self, inode: int, txid: int) -> tuple[int, str] | None:
        """(parent, name) of an inode after ``txid``, as far as that is known, whatever is under way."""
        return self._present.place_at(inode, txid)

    def entry_at(self, parent: int, name: str, txid: int) -> Inode | None:
        """An entry after ``txid``; None also when that is before the history kept."""
        if txid < self._present.meta.oldest_txid:
            return None
        found = self._present.version_at(entry_key(parent, name), txid)
        return None if found is None else unpack_past(*found)

    def cursors(self) -> list[Cursor]:
        """The named readers of the journal, by name."""
        return self._present.cursors()

    def cursor(self, name: str) -> Cursor | None:
        """A named reader of the journal."""
        return self._present.cursor(name)

    def retention(self) -> RetentionSet:
        """How much history is kept."""
        return self._present.retention()

    def standing(self, now_us: int) -> Standing:
        """How much history there is, and how far forgetting is behind."""
        return standing(self._present, now_us)

    def costs(self, depth: int, now_us: int) -> Costs:
        """What history costs; see ``projection.costs``."""
        return costs(self._present, depth, now_us)

    def pin(self, name: str) -> SnapshotCreated | None:
        """The snapshot of this name."""
        return self._present.pin(name)

    def pins(self) -> list[SnapshotCreated]:
        """All snapshots, by name."""
        return self._present.pins()

    def difference(self, before: int, after: int, path: str = "/") -> list[Change]:
        """See ``differing.difference``; both moments are the caller's, whichever this state is."""
        return difference(self._present, before, after, path)

    def touched(self, before: int, after: int, limit: int) -> int:
        """How many changes lie between two moments; ``limit`` when there are more."""
        since, until = sorted((before, after))
        return len(self._present.changes(until, after=(since, INODE_MAX, ""), limit=limit))

    def history(self, path: str, limit: int = 1000) -> list[Version]:
        """Versions of what ``path`` names or last named, newest first, followed through renames.

        Raises:
            NotFound, ParentNotFound: Nothing was ever there within the history kept.
        """
        if path == "/":
            found = self._versions_at((ABOVE_ROOT, ""))
        else:
            names, last = split(path)
            found = [
                replace(version, until_txid=min(version.until_txid or NEVER, until) % NEVER)
                for directory, since, until in self._directories_at(names)
                for version in self._versions_at((directory, last))
                if version.txid < until and (version.until_txid or NEVER) > since
            ]
        known = {(version.txid, version.path) for version in found}
        for number in {version.inode.inode for version in found}:
            for place in dict.fromkeys(self._present.places(number)):
                found += [
                    version
                    for version in self._versions_at(place)
                    if version.inode.inode == number and (version.txid, version.path) not in known
                ]
        if not found:
            raise NotFound(f"nothing was ever at {path} in the history kept", path=path)
        return sorted(found, key=lambda version: version.txid, reverse=True)[:limit]

    def _versions_at(self, place: tuple[int, str]) -> list[Version]:
        parent, name = place
        found = []
        for inode, until in self._present.versions(parent, name):
            directory = self._path_then(parent, inode.version, until) if name else ""
            if directory is not None:
                found.append(Version(join(directory, name) if name else "/", inode.version, until, inode))
        return found

    def _path_then(self, directory: int, since: int, until: int) -> str | None:
        """Where a directory was when an entry of it was so; None when that can no longer be read."""
        for txid in self._present.readable(since, until):
            try:
                return path_of(self._present.past(txid), directory) or f"/…/{directory}"
            except Compacted:
                continue  # a snapshot of that moment shows other parts of it
        return None

    def _directories_at(self, names: list[str]) -> list[tuple[int, int, int]]:
        """(inode, from, until) of every directory that was at a path: several, when it was restored."""
        here: list[tuple[int, int, int]] = [(ROOT, 0, NEVER)]
        for depth, name in enumerate(names):
            below: list[tuple[int, int, int]] = []
            for directory, since, until in here:
                for inode, ended in self._present.versions(directory, name):
                    start, end = max(since, inode.version), min(until, ended or NEVER)
                    if start < end and inode.is_directory:
                        below.append((inode.inode, start, end))
            if not below:
                gone = "/" + "/".join(names[: depth + 1])
                raise ParentNotFound(f"no such directory, now or in the history kept: {gone}", path=gone)
            here = _joined(below)
        return here


def _joined(spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Spans of one directory that touch, as one: it has a version for each change of its own."""
    found: list[tuple[int, int, int]] = []
    for inode, start, end in sorted(spans):
        if found and found[-1][0] == inode and start <= found[-1][2]:
            found[-1] = (inode, found[-1][1], max(end, found[-1][2]))
        else:
            found.append((inode, start, end))
    return found
