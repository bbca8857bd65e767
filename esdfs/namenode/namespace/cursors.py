"""Named readers of the journal: how far each has got. Pure."""

from typing import Any, Final

from esdfs.errors import FutureTxid, InvalidRequest, NotFound, UpgradeNeeded
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.namespace.inodes import Cursor
from esdfs.namenode.namespace.paths import check_name
from esdfs.namenode.namespace.view import Present

LEVEL_CURSORS: Final = 3
"""The feature level from which cursors are kept."""

CURSORS_MAX: Final = 1_000
MOVE_EVERY_US: Final = 1_000_000
"""A cursor is journaled at most this often, where its reader allows that."""


def move(
    view: Present, command: cmd.MoveCursor, principal: str, now_us: int
) -> tuple[tuple[ev.CursorMoved, ...], dict[str, Any]]:
    """(events, the answer when there are none).

    Raises:
        FutureTxid: Nothing is recorded there yet.
    """
    _check(view, command.name)
    last = view.last_txid()
    if not 0 <= command.txid <= last:
        raise FutureTxid(f"cursor {command.name}: txid {command.txid} is not there yet: the newest is {last}")
    known = view.cursor(command.name)
    if known is None:
        if command.belated:
            return (), {"name": command.name, "txid": 0}
        if len(view.cursors()) >= CURSORS_MAX:
            raise InvalidRequest(f"there are {CURSORS_MAX} cursors already: delete one that nobody uses")
    elif known.txid == command.txid or not (command.reset or _is_due(known, command, now_us)):
        return (), {"name": known.name, "txid": known.txid}
    return (ev.CursorMoved(command.name, command.txid, principal),), {}


def drop(view: Present, command: cmd.DropCursor) -> tuple[ev.CursorDropped]:
    """The event.

    Raises:
        NotFound: No such cursor.
    """
    _check(view, command.name)
    if view.cursor(command.name) is None:
        raise NotFound(f"no cursor is named {command.name}: GET /cursors lists them", cursor=command.name)
    return (ev.CursorDropped(command.name),)


def _is_due(known: Cursor, command: cmd.MoveCursor, now_us: int) -> bool:
    is_late_enough = not command.coalesce or now_us - known.moved_us >= MOVE_EVERY_US
    return command.txid > known.txid and is_late_enough


def _check(view: Present, name: str) -> None:
    check_name(name)
    if view.feature_level() < LEVEL_CURSORS:
        raise UpgradeNeeded(
            f"cursors are kept from feature level {LEVEL_CURSORS} on, this cluster writes at "
            f"{view.feature_level()}: esdfs upgrade finalize"
        )
