"""The events of named readers of the journal, to and from their messages: a part of ``event_codec``."""

from typing import Any, Final

from google.protobuf.message import Message

from esdfs._proto import events_pb2 as pb
from esdfs.namenode import events as ev
from esdfs.namenode.events import Event, Kind


def _cursor_moved(e: ev.CursorMoved) -> Message:
    return pb.CursorMoved(name=e.name, txid=e.txid, principal=e.principal)


def _to_cursor_moved(m: pb.CursorMoved) -> Event:
    return ev.CursorMoved(m.name, m.txid, m.principal)


def _cursor_dropped(e: ev.CursorDropped) -> Message:
    return pb.CursorDropped(name=e.name)


def _to_cursor_dropped(m: pb.CursorDropped) -> Event:
    return ev.CursorDropped(m.name)


PAIRS: Final[tuple[tuple[Kind, Any, Any, Any, Any], ...]] = (
    (Kind.CURSOR_MOVED, ev.CursorMoved, pb.CursorMoved, _cursor_moved, _to_cursor_moved),
    (Kind.CURSOR_DROPPED, ev.CursorDropped, pb.CursorDropped, _cursor_dropped, _to_cursor_dropped),
)
"""As ``event_codec`` holds its own: kind, event, message, event to message, message to event."""
