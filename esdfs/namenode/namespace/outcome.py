"""What a command is answered, read off the event it led to: the same on every replica. Pure."""

from typing import Any, assert_never

from esdfs.namenode import events as ev
from esdfs.namenode.events import Event


def outcome(event: Event) -> dict[str, Any]:
    """The result of a command whose last event this is; msgpack-able."""
    match event:
        case ev.DirectoryMade():
            return {"inode": event.inode, "existed": False}
        case ev.FileOpened():
            return {
                "inode": event.inode,
                "lease": event.lease,
                "block_size_bytes": event.block_size_bytes,
                "replication": event.replication,
                "blocks": _allocated(event.blocks),
            }
        case ev.BlocksAllocated():
            return {"blocks": _allocated(event.blocks)}
        case ev.FileCompleted() | ev.Renamed() | ev.AttributesSet() | ev.Deleted() | ev.FileLinked():
            return {"inode": event.inode}
        case ev.SubtreeLinked():
            return {"inode": event.first_inode, "inode_count": event.inode_count}
        case ev.TreeLinked():
            return {"inode": event.inode}
        case ev.SnapshotCreated():
            return {"name": event.name, "txid": event.txid}
        case ev.RetentionSet():
            return {"window_s": event.window_s, "records_max": event.records_max}
        case ev.NamespaceRewound():
            return {"inode": 1, "to_txid": event.to_txid}
        case ev.WorkContinued() | ev.HorizonMoved() | ev.HistoryPurged() | ev.SnapshotDeleted():
            return {}
        case ev.CursorMoved():
            return {"name": event.name, "txid": event.txid}
        case ev.CursorDropped():
            return {"name": event.name}
        case ev.DataNodeAdded():
            return {"number": event.number}
        case ev.DataNodeStateSet():
            return {"node_id": event.node_id, "state": event.state, "until_us": event.until_us}
        case ev.FeatureLevelRaised():
            return {"level": event.level}
        case ev.FileAborted() | ev.ClusterFormatted() | ev.LeaderChanged() | ev.VotersChanged():
            return {}
        case ev.CheckpointMarked() | ev.CheckpointTaken():
            return {}
        case _:
            assert_never(event)


def _allocated(blocks: tuple[ev.AllocatedBlock, ...]) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(block.block_id, block.generation, block.targets) for block in blocks]
