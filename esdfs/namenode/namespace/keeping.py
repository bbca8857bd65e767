"""How much history is kept: the window, and the snapshots that stay readable behind it. Pure."""

import re
from typing import Final

from esdfs.errors import AlreadyExists, InvalidRequest, NotFound, TooLarge, UpgradeNeeded
from esdfs.ids import ROOT
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.events import Event
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import normalise
from esdfs.namenode.namespace.view import ABOVE_ROOT, Present, View, resolve

LEVEL_KEEPING: Final = 3
"""The feature level from which history is forgotten at all."""

SNAPSHOTS_MAX: Final = 10_000
NAME_BYTES_MAX: Final = 255
WINDOW_S_MAX: Final = 100 * 366 * 86_400
RECORDS_MAX: Final = (1 << 63) - 1

_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f/]|^@")


def set_retention(view: Present, command: cmd.SetRetention) -> tuple[Event, ...]:
    """Another window; what it no longer covers is forgotten soon, and for ever."""
    _require_level(view)
    now = view.retention()
    window_s = now.window_s if command.window_s is None else command.window_s
    records_max = now.records_max if command.records_max is None else command.records_max
    if not 0 <= window_s <= WINDOW_S_MAX:
        raise InvalidRequest(f"window_s must be from 0 (no limit) to {WINDOW_S_MAX}", field="window_s")
    if not 0 <= records_max <= RECORDS_MAX:
        raise InvalidRequest(f"records_max must be from 0 (no limit) to {RECORDS_MAX}", field="records_max")
    wanted = ev.RetentionSet(window_s, records_max)
    return () if wanted == now else (wanted,)


def create_snapshot(view: Present, command: cmd.CreateSnapshot) -> tuple[Event, ...]:
    """Pin a path as it was after a transaction, or as it is.

    Raises:
        Compacted, FutureTxid: That state cannot be read, so it cannot be kept.
    """
    _require_level(view)
    name = check_snapshot_name(command.name)
    path = normalise(command.path)
    if command.as_of < 0:
        raise InvalidRequest("as_of must be a txid, or 0 for now", field="as_of")
    if view.pin(name) is not None:
        raise AlreadyExists(f"a snapshot is called {name} already: delete it or take another name", name=name)
    if len(view.pins()) >= SNAPSHOTS_MAX:
        raise TooLarge(f"there are {SNAPSHOTS_MAX} snapshots: delete some first")
    txid = command.as_of or view.applied_txid()
    then = view.past(txid) if command.as_of else view
    top = resolve(then, path)
    require_all(then, top)
    return (ev.SnapshotCreated(name, txid, top.inode, path, _ancestors(then, top.inode, path)),)


def require_all(past: View, top: Inode) -> None:
    """Refuse what can be reached and of which not all is kept: it leads to a snapshot.

    Raises:
        Compacted: Names what is kept.
    """
    if top.is_directory:
        past.children(top.inode, after="", limit=1)


def delete_snapshot(view: Present, command: cmd.DeleteSnapshot) -> tuple[Event, ...]:
    """Let go of what only this snapshot keeps."""
    _require_level(view)
    if view.pin(command.name) is None:
        raise NotFound(f"no snapshot is called {command.name}", name=command.name)
    return (ev.SnapshotDeleted(command.name),)


def check_snapshot_name(name: str) -> str:
    """A name that can be typed after ``@`` and be part of a URL's path."""
    if not 1 <= len(name.encode()) <= NAME_BYTES_MAX or _UNFIT.search(name):
        raise InvalidRequest(
            f"a snapshot's name has 1 to {NAME_BYTES_MAX} bytes, no '/', no control characters, "
            "and no '@' in front",
            field="name",
        )
    return name


def _ancestors(view: View, inode: int, path: str) -> tuple[int, ...]:
    found: list[int] = []
    while inode not in {ROOT, ABOVE_ROOT}:
        place = view.place_of(inode)
        if place is None:
            raise UpgradeNeeded(
                f"the way to {path} in that state was not kept: esdfs upgrade finalize, and pin a later one"
            )
        inode = place[0]
        found.append(inode)
    return tuple(reversed(found))


def _require_level(view: Present) -> None:
    if view.feature_level() < LEVEL_KEEPING:
        raise UpgradeNeeded(
            f"retention and snapshots begin at feature level {LEVEL_KEEPING}: esdfs upgrade finalize"
        )
