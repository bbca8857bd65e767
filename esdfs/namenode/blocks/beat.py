"""How soon a DataNode is to come again: orders leave with the answers to heartbeats. Pure."""

from typing import Final

from esdfs.namenode.blocks.policy import Policy

SOON_MS: Final = 200
_EACH_MS: Final = 2
"""By all DataNodes together, at most a heartbeat in so long because of this."""


def next_heartbeat_ms(policy: Policy, datanodes: int, *, awaited: bool) -> int:
    """Milliseconds until the next heartbeat.

    Args:
        policy: Says what is usual.
        datanodes: How many there are.
        awaited: There are, or may be any moment, orders that should not wait for it.
    """
    if not awaited:
        return policy.heartbeat_interval_ms
    return min(policy.heartbeat_interval_ms, max(SOON_MS, _EACH_MS * datanodes))
