"""Fold what happened into the namespace. Pure over ``Tables``; may not refuse.

The same code runs on the leader before the quorum's answer and on every follower after it. It reads no
clock and draws no number: whatever it needs is in the event or in the tables.
"""

from typing import assert_never

from msgspec.structs import replace

from esdfs.ids import ROOT
from esdfs.namenode import events as ev
from esdfs.namenode.events import Event
from esdfs.namenode.namespace import copies
from esdfs.namenode.namespace.fanout import continue_work, link_tree, rewind
from esdfs.namenode.namespace.inodes import BlockRecord, Inode, OpenFile
from esdfs.namenode.namespace.view import ABOVE_ROOT, Tables
from esdfs.namenode.namespace.walk import walk_subtree


def evolve(tables: Tables, event: Event, *, txid: int, ts_us: int) -> None:
    """Apply one event of transaction ``txid``, stamped ``ts_us`` by the leader."""
    match event:
        case ev.FileCompleted():  # the commonest first
            _complete(tables, event, txid)
        case ev.FileOpened():
            _open(tables, event, ts_us)
        case ev.DirectoryMade(parent, name, inode, mode, owner, group):
            made = Inode(
                inode=inode,
                version=txid,
                is_directory=True,
                mode=mode,
                owner=owner,
                group=group,
                mtime_us=ts_us,
            )
            tables.add_entry(parent, name, made)
            tables.used_inodes(inode + 1)
        case ev.BlocksAllocated():
            _allocate(tables, event)
        case ev.FileAborted(inode):
            file = tables.open_file(inode)
            assert file is not None, f"txid {txid} aborts inode {inode}, which is not open"
            for block in file.blocks:
                tables.remove_block(block.block_id)
            tables.remove_open(file)
        case ev.Renamed():
            _rename(tables, event, txid)
        case ev.Deleted(_, parent, name):
            tables.remove_entry(parent, name)
        case ev.AttributesSet():
            _set_attributes(tables, event, txid)
        case ev.FileLinked():
            _link_file(tables, event, txid)
        case ev.SubtreeLinked():
            _link_subtree(tables, event, txid)
        case ev.TreeLinked():
            link_tree(tables, event, txid)
        case ev.NamespaceRewound():
            rewind(tables, event, txid)
        case ev.WorkContinued(began_txid, steps_max):
            continue_work(tables, began_txid, steps_max)
        case ev.RetentionSet():
            tables.put_retention(event)
        case ev.HorizonMoved(oldest_txid):
            tables.move_horizon(oldest_txid)
        case ev.HistoryPurged(steps_max):
            tables.purge(steps_max)
        case ev.SnapshotCreated():
            tables.put_pin(event)
        case ev.SnapshotDeleted(name):
            tables.remove_pin(name)
        case ev.CursorMoved():
            tables.put_cursor(event, ts_us)
        case ev.CursorDropped(name):
            tables.remove_cursor(name)
        case ev.DataNodeAdded():
            tables.add_datanode(event)
        case ev.DataNodeStateSet():
            tables.put_datanode_state(event)
        case ev.ClusterFormatted():
            tables.format(event)
            root = Inode(
                inode=ROOT,
                version=txid,
                is_directory=True,
                mode=0o755,
                owner="esdfs",
                group="esdfs",
                mtime_us=ts_us,
            )
            tables.add_entry(ABOVE_ROOT, "", root)
            tables.used_inodes(ROOT + 1)
        case ev.VotersChanged():
            tables.put_voters(event)
        case ev.FeatureLevelRaised(level):
            tables.put_feature_level(level)
        case ev.CheckpointMarked() | ev.CheckpointTaken():
            return  # about the state, and no part of it
        case ev.LeaderChanged():
            return  # who leads is the journal's own matter; the record opens an epoch
        case _:
            assert_never(event)


def _put_blocks(tables: Tables, inode: int, replication: int, blocks: tuple[ev.AllocatedBlock, ...]) -> None:
    for block in blocks:
        tables.put_block(block.block_id, BlockRecord(inode, block.generation, 0, replication, False))
    if blocks:
        tables.used_blocks(blocks[0].block_id, blocks[-1].block_id + 1)


def _open(tables: Tables, event: ev.FileOpened, ts_us: int) -> None:
    _put_blocks(tables, event.inode, event.replication, event.blocks)
    file = OpenFile(
        event.inode,
        event.parent,
        event.name,
        event.mode,
        event.owner,
        event.group,
        event.replication,
        event.block_size_bytes,
        event.lease,
        event.overwrite,
        event.blocks,
        ts_us,
    )
    tables.put_open(file)
    tables.used_inodes(event.inode + 1)


def _allocate(tables: Tables, event: ev.BlocksAllocated) -> None:
    file = tables.open_file(event.inode)
    assert file is not None, f"blocks for inode {event.inode}, which is not open"
    _put_blocks(tables, event.inode, file.replication, event.blocks)
    for block_id in event.abandoned:
        tables.remove_block(block_id)
    gone = set(event.abandoned)
    kept = tuple(block for block in file.blocks if block.block_id not in gone)
    tables.put_open(replace(file, blocks=kept + event.blocks))


def _complete(tables: Tables, event: ev.FileCompleted, txid: int) -> None:
    file = tables.open_file(event.inode)
    assert file is not None, f"txid {txid} completes inode {event.inode}, which is not open"
    tables.remove_open(file)
    for completed in event.blocks:
        block = completed.block
        record = BlockRecord(event.inode, block.generation, block.stored_bytes, file.replication, True)
        tables.put_block(block.block_id, record)
    inode = Inode(
        event.inode,
        txid,
        False,  # by place: names cost a third of it, and a replay makes millions
        file.mode,
        file.owner,
        file.group,
        event.mtime_us,
        event.size_bytes,
        file.replication,
        file.block_size_bytes,
        event.crc32c,
        tuple([completed.block for completed in event.blocks]),
    )
    _place(tables, event.parent, event.name, inode, replaced=event.replaced_inode)


def _place(tables: Tables, parent: int, name: str, inode: Inode, *, replaced: int) -> None:
    if replaced:
        tables.put_entry(parent, name, inode)
    else:
        tables.add_entry(parent, name, inode)


def _rename(tables: Tables, event: ev.Renamed, txid: int) -> None:
    inode = tables.child(event.source_parent, event.source_name)
    assert inode is not None, f"txid {txid} renames what is not there"
    moved = replace(inode, version=txid)
    source = (event.source_parent, event.source_name)
    tables.share_blocks(moved)
    tables.move_entry(source, (event.target_parent, event.target_name), moved)


def _set_attributes(tables: Tables, event: ev.AttributesSet, txid: int) -> None:
    inode = tables.child(event.parent, event.name)
    assert inode is not None, f"txid {txid} changes what is not there"
    changed = replace(
        inode,
        version=txid,
        mode=inode.mode if event.mode is None else event.mode,
        owner=inode.owner if event.owner is None else event.owner,
        group=inode.group if event.group is None else event.group,
        mtime_us=inode.mtime_us if event.mtime_us is None else event.mtime_us,
        replication=inode.replication if event.replication is None else event.replication,
    )
    tables.share_blocks(changed)
    tables.put_entry(event.parent, event.name, changed)
    if event.replication is not None:
        copies.asked(tables, changed)


def _link_file(tables: Tables, event: ev.FileLinked, txid: int) -> None:
    inode = Inode(
        inode=event.inode,
        version=txid,
        is_directory=False,
        mode=event.mode,
        owner=event.owner,
        group=event.group,
        mtime_us=event.mtime_us,
        size_bytes=event.size_bytes,
        replication=event.replication,
        block_size_bytes=event.block_size_bytes,
        crc32c=event.crc32c,
        blocks=event.blocks,
    )
    copies.link(tables, inode)
    _place(tables, event.parent, event.name, inode, replaced=event.replaced_inode)
    tables.used_inodes(event.inode + 1)


def _link_subtree(tables: Tables, event: ev.SubtreeLinked, txid: int) -> None:
    """Give every inode of a past subtree a new id, counting up in the walk's order."""
    past = tables.past(event.source_txid)
    place = past.place_of(event.source_inode)
    assert place is not None, f"txid {txid} links inode {event.source_inode}, which was not there"
    source = past.child(*place)
    assert source is not None, f"txid {txid} links inode {event.source_inode}, which was not there"
    next_inode = event.first_inode
    new_ids: dict[int, int] = {}
    for parent, name, inode in walk_subtree(past, source):
        target_parent = new_ids[parent] if parent is not None else event.parent
        linked = replace(inode, version=txid, inode=next_inode)
        copies.link(tables, linked)
        tables.add_entry(target_parent, name if parent is not None else event.name, linked)
        if inode.is_directory:
            new_ids[inode.inode] = next_inode
        next_inode += 1
    assert next_inode == event.first_inode + event.inode_count, f"txid {txid}: subtree differs"
    tables.used_inodes(next_inode)
