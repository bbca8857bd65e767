"""The events of history kept, pinned and restored, to and from their messages: a part of ``event_codec``."""

from typing import Any, Final

from google.protobuf.message import Message

from esdfs._proto import events_pb2 as pb
from esdfs.namenode import events as ev
from esdfs.namenode.events import Event, Kind


def _retention_set(e: ev.RetentionSet) -> Message:
    return pb.RetentionSet(window_s=e.window_s, records_max=e.records_max)


def _to_retention_set(m: pb.RetentionSet) -> Event:
    return ev.RetentionSet(m.window_s, m.records_max)


def _horizon_moved(e: ev.HorizonMoved) -> Message:
    return pb.HorizonMoved(oldest_txid=e.oldest_txid)


def _to_horizon_moved(m: pb.HorizonMoved) -> Event:
    return ev.HorizonMoved(m.oldest_txid)


def _history_purged(e: ev.HistoryPurged) -> Message:
    return pb.HistoryPurged(steps_max=e.steps_max)


def _to_history_purged(m: pb.HistoryPurged) -> Event:
    return ev.HistoryPurged(m.steps_max)


def _snapshot_created(e: ev.SnapshotCreated) -> Message:
    return pb.SnapshotCreated(name=e.name, txid=e.txid, inode=e.inode, path=e.path, ancestors=e.ancestors)


def _to_snapshot_created(m: pb.SnapshotCreated) -> Event:
    return ev.SnapshotCreated(m.name, m.txid, m.inode, m.path, tuple(m.ancestors))


def _snapshot_deleted(e: ev.SnapshotDeleted) -> Message:
    return pb.SnapshotDeleted(name=e.name)


def _to_snapshot_deleted(m: pb.SnapshotDeleted) -> Event:
    return ev.SnapshotDeleted(m.name)


def _tree_linked(e: ev.TreeLinked) -> Message:
    return pb.TreeLinked(
        parent=e.parent,
        name=e.name,
        inode=e.inode,
        source_inode=e.source_inode,
        source_txid=e.source_txid,
        replaced_inode=e.replaced_inode,
    )


def _to_tree_linked(m: pb.TreeLinked) -> Event:
    return ev.TreeLinked(m.parent, m.name, m.inode, m.source_inode, m.source_txid, m.replaced_inode)


def _work_continued(e: ev.WorkContinued) -> Message:
    return pb.WorkContinued(txid=e.txid, steps_max=e.steps_max)


def _to_work_continued(m: pb.WorkContinued) -> Event:
    return ev.WorkContinued(m.txid, m.steps_max)


def _namespace_rewound(e: ev.NamespaceRewound) -> Message:
    return pb.NamespaceRewound(to_txid=e.to_txid)


def _to_namespace_rewound(m: pb.NamespaceRewound) -> Event:
    return ev.NamespaceRewound(m.to_txid)


PAIRS: Final[tuple[tuple[Kind, Any, Any, Any, Any], ...]] = (
    (Kind.RETENTION_SET, ev.RetentionSet, pb.RetentionSet, _retention_set, _to_retention_set),
    (Kind.HORIZON_MOVED, ev.HorizonMoved, pb.HorizonMoved, _horizon_moved, _to_horizon_moved),
    (Kind.HISTORY_PURGED, ev.HistoryPurged, pb.HistoryPurged, _history_purged, _to_history_purged),
    (Kind.SNAPSHOT_CREATED, ev.SnapshotCreated, pb.SnapshotCreated, _snapshot_created, _to_snapshot_created),
    (Kind.SNAPSHOT_DELETED, ev.SnapshotDeleted, pb.SnapshotDeleted, _snapshot_deleted, _to_snapshot_deleted),
    (Kind.TREE_LINKED, ev.TreeLinked, pb.TreeLinked, _tree_linked, _to_tree_linked),
    (Kind.WORK_CONTINUED, ev.WorkContinued, pb.WorkContinued, _work_continued, _to_work_continued),
    (
        Kind.NAMESPACE_REWOUND,
        ev.NamespaceRewound,
        pb.NamespaceRewound,
        _namespace_rewound,
        _to_namespace_rewound,
    ),
)
"""As ``event_codec`` holds its own: kind, event, message, event to message, message to event."""
