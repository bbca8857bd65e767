"""Any moment of the past, by the tables of the present."""

from typing import TYPE_CHECKING

from esdfs.errors import Restoring
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.view import ABOVE_ROOT
from esdfs.namenode.projection import layout

if TYPE_CHECKING:
    from esdfs.namenode.projection.views import PresentView


def require_whole(unfinished: tuple[tuple[int, int], ...], parent: int, txid: int) -> None:
    """Refuse to look into a directory whose restore is under way in the state after ``txid``.

    Raises:
        Restoring: Ask again.
    """
    for began_txid, top in unfinished:
        if began_txid <= txid and (top == parent or not top) and parent != ABOVE_ROOT:
            what = "the namespace" if not top else "this directory"
            raise Restoring(f"{what} is being restored (txid {began_txid}): it can be read when all is there")


class PastView:
    """``View`` of the namespace after ``txid``, by the same tables and at the same speed."""

    def __init__(self, present: "PresentView", txid: int) -> None:
        self._present = present
        self._txid = txid
        self._blocked = tuple(one for one in present.unfinished() if one[0] <= txid)

    def child(self, parent: int, name: str) -> Inode | None:
        """See ``View.child``."""
        if self._blocked:
            require_whole(self._blocked, parent, self._txid)
        found = self._present.version_at(layout.entry_key(parent, name), self._txid)
        return None if found is None else layout.unpack_past(*found)

    def child_id(self, parent: int, name: str) -> tuple[int, bool] | None:
        """See ``View.child_id``."""
        if self._blocked:
            require_whole(self._blocked, parent, self._txid)
        found = self._present.version_at(layout.entry_key(parent, name), self._txid)
        return None if found is None else layout.entry_id(found[0])

    def children(self, parent: int, *, after: str, limit: int) -> list[tuple[str, Inode]]:
        """See ``View.children``."""
        if self._blocked:
            require_whole(self._blocked, parent, self._txid)
        found = self._present.entries_at(parent, after.encode(), self._txid, limit)
        return [(name.decode(), layout.unpack_past(value, version)) for name, value, version in found]

    def place_of(self, inode: int) -> tuple[int, str] | None:
        """See ``View.place_of``."""
        return self._present.place_at(inode, self._txid)
