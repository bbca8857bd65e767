"""What an operator wants of a DataNode and how far that is, as it is shown. Values."""

from collections.abc import Sequence

import msgspec

from esdfs.namenode.events import DataNodeStateSet
from esdfs.namenode.namespace.datanode_states import DECOMMISSIONING, IN_SERVICE, holds

DECOMMISSIONED = "decommissioned"


class Admin(msgspec.Struct, frozen=True, kw_only=True):
    """One DataNode's.

    Attributes:
        state: ``in-service``, ``maintenance``, ``decommissioning`` or ``decommissioned``.
        until_us: When a maintenance ends by itself; 0 = never.
        blocks_left: Blocks that need a copy elsewhere before it may go; None = not counted yet.
        unreadable: Of ``blocks_left``, those nobody can read: no copy can be made of them.
        unreadable_first: The first of them, ascending.
        files_open: Files being written, with a block on it.
        ready: It may be stopped (maintenance), or switched off for good (decommissioned).
    """

    state: str = IN_SERVICE
    until_us: int = 0
    why: str = ""
    blocks_left: int | None = None
    unreadable: int = 0
    unreadable_first: tuple[int, ...] = ()
    files_open: int = 0
    ready: bool = False


def of_wish(wish: DataNodeStateSet | None, now_us: int) -> Admin:
    """What is wanted now, before anything was counted."""
    if wish is None or not holds(wish, now_us):
        return Admin(why=wish.why if wish is not None and wish.state == IN_SERVICE else "")
    return Admin(state=wish.state, until_us=wish.until_us, why=wish.why)


def counted(
    admin: Admin,
    blocks_left: int,
    files_open: int,
    *,
    ready: bool,
    unreadable: int = 0,
    unreadable_first: Sequence[int] = (),
) -> Admin:
    """How far it is."""
    state = DECOMMISSIONING if admin.state == DECOMMISSIONED else admin.state
    if ready and state == DECOMMISSIONING:
        state = DECOMMISSIONED
    return msgspec.structs.replace(
        admin,
        state=state,
        blocks_left=blocks_left,
        unreadable=unreadable,
        unreadable_first=tuple(unreadable_first),
        files_open=files_open,
        ready=ready,
    )
