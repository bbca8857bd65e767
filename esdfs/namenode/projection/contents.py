"""Which versions name the same blocks: copies, restores, renames and changed attributes share them.

Files are written whole, so versions share all of a file's blocks or none, and its first block stands for
them. An inode names the same blocks for as long as it lives.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import END, TWO_U64, U64

if TYPE_CHECKING:
    from esdfs.namenode.projection.views import Dbs, PresentView

LOOKED_AT_MAX: Final = 10_000
"""Versions, while looking for who shares. Part of the meaning of events: never change it."""


def share(txn: Any, dbs: "Dbs", block_id: int) -> None:
    """One more version names the blocks that begin with this one."""
    key = U64.pack(block_id)
    known = txn.get(key, db=dbs[b"refs"])
    txn.put(key, U64.pack(2 if known is None else U64.unpack(known)[0] + 1), db=dbs[b"refs"])


def unshare(txn: Any, dbs: "Dbs", block_id: int) -> bool:
    """One version less; whether it was the last."""
    key = U64.pack(block_id)
    known = txn.get(key, db=dbs[b"refs"])
    if known is None:
        for inode in _noted(txn, dbs, block_id):
            txn.delete(TWO_U64.pack(block_id, inode), db=dbs[b"shared"])
        return True
    count = U64.unpack(known)[0] - 1
    if count == 1:
        txn.delete(key, db=dbs[b"refs"])
    else:
        txn.put(key, U64.pack(count), db=dbs[b"refs"])
    return False


def note_sharer(txn: Any, dbs: "Dbs", inode: Inode) -> None:
    """See ``Tables.note_sharer``."""
    txn.put(TWO_U64.pack(inode.blocks[0].block_id, inode.inode), b"", db=dbs[b"shared"])


def sharers(view: "PresentView", inode: Inode) -> list[Inode] | None:
    """See ``Present.sharers``.

    Those that were linked before feature level 4 are noted nowhere. But it is known how many versions name
    the blocks: when those of all known files are as many, there is no other.
    """
    txn, dbs = view.tables()
    first = inode.blocks[0].block_id
    record = view.block(first)
    known = txn.get(U64.pack(first), db=dbs[b"refs"])
    left = 1 if known is None else U64.unpack(known)[0]
    if record is None or left > LOOKED_AT_MAX:
        return None
    numbers = {record.inode, inode.inode, *_noted(txn, dbs, first)}
    found: list[Inode] = []
    looked_at = 0
    for number in sorted(numbers):
        wanted = U64.pack(number)
        for key in {layout.entry_key(*place) for place in view.places(number)}:
            value = txn.get(key, db=dbs[b"cur"])
            if value is not None and value[8:16] == wanted:
                found.append(layout.unpack_entry(value))
                left -= 1
            for past in _past(txn, dbs, key):
                left -= past[8:16] == wanted
                looked_at += 1
                if looked_at > LOOKED_AT_MAX:
                    return None
    return None if left else found


def _noted(txn: Any, dbs: "Dbs", block_id: int) -> list[int]:
    cursor = txn.cursor(dbs[b"shared"])
    prefix = U64.pack(block_id)
    found: list[int] = []
    if cursor.set_range(prefix):
        for key in cursor.iternext(keys=True, values=False):
            if not key.startswith(prefix):
                break
            found.append(TWO_U64.unpack(key)[1])
    return found


def _past(txn: Any, dbs: "Dbs", key: bytes) -> Iterator[bytes]:
    """Every value of an entry in ``hist``."""
    cursor = txn.cursor(dbs[b"hist"])
    prefix = key + END
    if cursor.set_range(prefix):
        for at, value in cursor:
            if not at.startswith(prefix):
                return
            yield value
