"""What operators want of DataNodes: in service, in maintenance for a while, or to be drained. Pure."""

from collections.abc import Callable
from typing import Any, Final

from esdfs.errors import InvalidRequest, NotFound, TooFewServing, UpgradeNeeded
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.namespace.view import Present

LEVEL_STATES: Final = 3
"""The feature level from which states are kept."""

IN_SERVICE: Final = "in-service"
MAINTENANCE: Final = "maintenance"
DECOMMISSIONING: Final = "decommissioning"

MAINTENANCE_S_MAX: Final = 30 * 86_400
WHY_MAX: Final = 500


def holds(wish: ev.DataNodeStateSet | None, now_us: int) -> bool:
    """Whether an operator wants, now, that a DataNode is not in service."""
    if wish is None or wish.state == IN_SERVICE:
        return False
    return not wish.until_us or now_us < wish.until_us


def set_state(
    view: Present, command: cmd.SetDataNodeState, now_us: int, serving: Callable[[], frozenset[int]]
) -> tuple[tuple[ev.DataNodeStateSet, ...], dict[str, Any]]:
    """(events, the answer when there are none).

    ``serving`` tells the numbers of the DataNodes that take new blocks now.

    Raises:
        NotFound: No such DataNode.
        TooFewServing: Too few would be left, and ``force`` is not set.
    """
    until_us = _until_us(command, now_us)
    if view.feature_level() < LEVEL_STATES:
        raise UpgradeNeeded(
            f"states of DataNodes are kept from feature level {LEVEL_STATES} on, this cluster writes at "
            f"{view.feature_level()}: esdfs upgrade finalize"
        )
    number = view.number_of(command.node_id)
    if number is None:
        raise NotFound(
            f"no DataNode is called {command.node_id}: esdfs node list names them", node_id=command.node_id
        )
    known = view.datanode_state(number)
    before = (known.state, known.until_us) if known is not None and holds(known, now_us) else (IN_SERVICE, 0)
    if command.state != IN_SERVICE and not command.force:
        _enough_left(view, command, serving() - {number})
    wanted = (command.state, until_us)
    if wanted == before:
        return (), {"node_id": command.node_id, "state": command.state, "until_us": until_us}
    return (ev.DataNodeStateSet(number, command.node_id, *wanted, command.why),), {}


def _until_us(command: cmd.SetDataNodeState, now_us: int) -> int:
    if command.state not in {IN_SERVICE, MAINTENANCE, DECOMMISSIONING}:
        raise InvalidRequest(f"state must be {IN_SERVICE}, {MAINTENANCE} or {DECOMMISSIONING}", field="state")
    if len(command.why) > WHY_MAX or not command.why.isprintable():
        raise InvalidRequest(f"why must be one line of at most {WHY_MAX} characters", field="why")
    if command.state != MAINTENANCE:
        if command.for_s or command.until_us:
            raise InvalidRequest(f"{command.state} has no deadline: give no for_s or until", field="for_s")
        return 0
    if bool(command.for_s) == bool(command.until_us):
        raise InvalidRequest("a maintenance needs either for_s or until", field="for_s")
    until_us = command.until_us or now_us + command.for_s * 1_000_000
    if not now_us < until_us <= now_us + MAINTENANCE_S_MAX * 1_000_000:
        raise InvalidRequest(
            f"a maintenance ends after now and within {MAINTENANCE_S_MAX // 86_400} days: "
            "decommission a DataNode that will not come back",
            field="for_s" if command.for_s else "until",
        )
    return until_us


def _enough_left(view: Present, command: cmd.SetDataNodeState, left: frozenset[int]) -> None:
    cluster = view.cluster()
    needed = 1 if cluster.allow_degraded else cluster.min_replication
    if len(left) < needed:
        raise TooFewServing(
            f"without {command.node_id} {len(left)} DataNodes would serve, a new file needs {needed}: "
            "start more, or insist (--force, and nothing can be written)",
            serving=len(left),
            needed=needed,
        )
