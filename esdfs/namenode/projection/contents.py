"""How many versions name the same blocks: copies, restores, renames and changed attributes share them.

Files are written whole, so versions share all of a file's blocks or none, and its first block stands for
them.
"""

from typing import Any

from esdfs.namenode.projection.layout import U64


def share(txn: Any, refs: Any, block_id: int) -> None:
    """One more version names the blocks that begin with this one."""
    key = U64.pack(block_id)
    known = txn.get(key, db=refs)
    txn.put(key, U64.pack(2 if known is None else U64.unpack(known)[0] + 1), db=refs)


def unshare(txn: Any, refs: Any, block_id: int) -> bool:
    """One version less; whether it was the last."""
    key = U64.pack(block_id)
    known = txn.get(key, db=refs)
    if known is None:
        return True
    count = U64.unpack(known)[0] - 1
    if count == 1:
        txn.delete(key, db=refs)
    else:
        txn.put(key, U64.pack(count), db=refs)
    return False
