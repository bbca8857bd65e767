"""Snapshots behind the horizon: which of them shows a version, and what can be read at one. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from esdfs.errors import Compacted
from esdfs.ids import ROOT
from esdfs.namenode.events import SnapshotCreated
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.view import ABOVE_ROOT, View
from esdfs.namenode.projection import layout


class Past(Protocol):
    """What is asked of the tables; ``PresentView`` has it."""

    def place_at(self, inode: int, txid: int) -> tuple[int, str] | None:
        """Where an inode had its name after ``txid``, if it existed then."""
        ...

    def version_at(self, key: bytes, txid: int) -> tuple[bytes, int] | None:
        """(value, version) of an entry as it was after ``txid``."""
        ...


class Pins:
    """All snapshots, asked for one version after the other.

    Attributes:
        oldest_txid: Of the oldest one; None without any.
        asked: How many (version, snapshot) pairs were looked at: what the work is measured in.
    """

    def __init__(self, past: Past, pins: Iterable[SnapshotCreated]) -> None:
        self._past = past
        self._pins: Final = sorted(pins, key=lambda pin: (-pin.txid, pin.name))
        self._chains: dict[tuple[int, int], tuple[int, ...] | None] = {}
        self.oldest_txid = self._pins[-1].txid if self._pins else None
        self.asked = 0

    def newest_that_shows(self, key: bytes, inode: int, from_txid: int, until_txid: int) -> int | None:
        """The newest pinned txid at which a snapshot shows the entry ``key`` as it was in that interval."""
        for pin in self._pins:
            if pin.txid < from_txid:
                return None
            if pin.txid < until_txid:
                self.asked += 1
                if self._shows(pin, key, inode):
                    return pin.txid
        return None

    def _shows(self, pin: SnapshotCreated, key: bytes, inode: int) -> bool:
        parent, _ = layout.place(key)
        chain = self._chain(pin.txid, parent)
        if chain is None:
            return False
        return pin.inode in {ROOT, inode} or pin.inode in chain or inode in pin.ancestors

    def _chain(self, txid: int, directory: int) -> tuple[int, ...] | None:
        """A directory and those above it after ``txid``; None when it could not be reached then."""
        if directory == ABOVE_ROOT:
            return ()
        asked = (txid, directory)
        if asked not in self._chains:
            self._chains[asked] = self._climb(txid, directory)
        return self._chains[asked]

    def _climb(self, txid: int, directory: int) -> tuple[int, ...] | None:
        place = self._past.place_at(directory, txid)
        if place is None:
            return None
        found = self._past.version_at(layout.entry_key(*place), txid)
        if found is None or layout.entry_id(found[0])[0] != directory:
            return None
        above = self._chain(txid, place[0])
        return None if above is None else (directory, *above)


class PinnedView:
    """``View`` of a state of which only some subtrees are kept, with the way to them; the rest is refused.

    Args:
        whole: The same state, as far as its versions are there.
        pins: The snapshots of subtrees of it.
    """

    def __init__(self, whole: View, pins: Sequence[SnapshotCreated], oldest_txid: int) -> None:
        self._whole = whole
        self._oldest_txid = oldest_txid
        self._tops = {pin.inode for pin in pins}
        self._way = {ABOVE_ROOT}.union(*(pin.ancestors for pin in pins))
        self._what = ", ".join(f"{pin.path} (@{pin.name})" for pin in pins)
        self._inside: dict[int, bool] = {}

    def child(self, parent: int, name: str) -> Inode | None:
        """See ``View.child``."""
        if self._is_inside(parent):
            return self._whole.child(parent, name)
        found = self._whole.child(parent, name) if parent in self._way else None
        if found is None or not self._is_kept(found.inode):
            raise self._compacted()
        return found

    def child_id(self, parent: int, name: str) -> tuple[int, bool] | None:
        """See ``View.child_id``."""
        if self._is_inside(parent):
            return self._whole.child_id(parent, name)
        found = self._whole.child_id(parent, name) if parent in self._way else None
        if found is None or not self._is_kept(found[0]):
            raise self._compacted()
        return found

    def children(self, parent: int, *, after: str, limit: int) -> list[tuple[str, Inode]]:
        """See ``View.children``."""
        if not self._is_inside(parent):
            raise self._compacted()
        return self._whole.children(parent, after=after, limit=limit)

    def place_of(self, inode: int) -> tuple[int, str] | None:
        """See ``View.place_of``."""
        if not self._is_kept(inode) and not self._is_inside(inode):
            raise self._compacted()
        return self._whole.place_of(inode)

    def _is_kept(self, inode: int) -> bool:
        return inode in self._tops or inode in self._way

    def _is_inside(self, inode: int) -> bool:
        """Whether it is a top or below one."""
        if inode in self._tops:
            return True
        if inode == ABOVE_ROOT:
            return False
        if inode not in self._inside:
            place = self._whole.place_of(inode)
            # What is not kept may be known by a later place only: that it was there then is to be seen.
            found = None if place is None else self._whole.child_id(*place)
            there = place is not None and found is not None and found[0] == inode
            self._inside[inode] = there and place is not None and self._is_inside(place[0])
        return self._inside[inode]

    def _compacted(self) -> Compacted:
        return Compacted(
            f"of this state only {self._what} is kept; other history before txid {self._oldest_txid} "
            "is compacted",
            oldest_txid=self._oldest_txid,
        )
