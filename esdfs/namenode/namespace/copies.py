"""How many copies of its blocks a file gets: at least as many as it asks for. Pure.

Several files may name the same blocks. A block's record says what the most demanding present file asks for: a
file that comes (a copy, a restore) raises it, and it is lowered only when a file asks for less, and only as
far as all present files that name the block allow. A file that goes leaves it as it is: history still needs
it. A file's blocks are shared all or none, so the first one's record speaks for all.
"""

from typing import Final

from esdfs.namenode.namespace.inodes import BlockRecord, Inode
from esdfs.namenode.namespace.view import Present, Tables

LEVEL_COPIES: Final = 4
"""The feature level from which it is so. What events meant below it they mean for ever, to the digest."""


def link(tables: Tables, inode: Inode) -> None:
    """A version is about to be added whose blocks another version names already, maybe of another file."""
    tables.share_blocks(inode)
    linked(tables, inode)


def linked(tables: Tables, inode: Inode) -> None:
    """A file came, or came back, over blocks that were there."""
    if not inode.blocks or tables.feature_level() < LEVEL_COPIES:
        return
    record = _record(tables, inode)
    if record.inode != inode.inode:
        tables.note_sharer(inode)
    if record.replication < inode.replication:
        tables.want_copies(inode, inode.replication)


def asked(tables: Tables, inode: Inode) -> None:
    """A present file asks for so many from now on."""
    if not inode.blocks:
        return
    record = _record(tables, inode)
    if tables.feature_level() >= LEVEL_COPIES:
        wanted = _wanted(tables, inode, record)
    elif record.inode == inode.inode or inode.replication > record.replication:
        wanted = inode.replication
    else:
        return
    if wanted != record.replication:
        tables.want_copies(inode, wanted)


def would_change(view: Present, inode: Inode) -> bool:
    """Whether it matters that a present file asks again for what it asks for already."""
    if not inode.blocks:
        return False
    record = _record(view, inode)
    if view.feature_level() < LEVEL_COPIES:
        return record.replication < inode.replication
    return record.replication != _wanted(view, inode, record)


def _wanted(view: Present, inode: Inode, record: BlockRecord) -> int:
    if inode.replication >= record.replication:
        return inode.replication
    files = view.sharers(inode)
    if files is None:
        return record.replication
    return max([inode.replication, *(file.replication for file in files)])


def _record(view: Present, inode: Inode) -> BlockRecord:
    block_id = inode.blocks[0].block_id
    record = view.block(block_id)
    assert record is not None, f"file {inode.inode} names block {block_id}, which is unknown"
    return record
