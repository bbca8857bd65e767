"""The events of DataNodes, to and from their messages: a part of ``event_codec``."""

from typing import Any, Final

from google.protobuf.message import Message

from esdfs._proto import events_pb2 as pb
from esdfs.namenode import events as ev
from esdfs.namenode.events import Event, Kind


def _added(e: ev.DataNodeAdded) -> Message:
    return pb.DataNodeAdded(node_id=e.node_id, uuid=e.uuid, number=e.number)


def _to_added(m: pb.DataNodeAdded) -> Event:
    return ev.DataNodeAdded(m.node_id, m.uuid, m.number)


def _state_set(e: ev.DataNodeStateSet) -> Message:
    return pb.DataNodeStateSet(
        number=e.number, node_id=e.node_id, state=e.state, until_us=e.until_us, why=e.why
    )


def _to_state_set(m: pb.DataNodeStateSet) -> Event:
    return ev.DataNodeStateSet(m.number, m.node_id, m.state, m.until_us, m.why)


PAIRS: Final[tuple[tuple[Kind, Any, Any, Any, Any], ...]] = (
    (Kind.DATANODE_ADDED, ev.DataNodeAdded, pb.DataNodeAdded, _added, _to_added),
    (Kind.DATANODE_STATE_SET, ev.DataNodeStateSet, pb.DataNodeStateSet, _state_set, _to_state_set),
)
"""As ``event_codec`` holds its own: kind, event, message, event to message, message to event."""
