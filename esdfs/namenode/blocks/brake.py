"""Many DataNodes lost at once are a broken network, not broken disks: stop copying. Pure."""

from esdfs.blocks import DataNodeStatus
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.policy import Policy, ns


class Brake:
    """On after a mass failure, until the DataNodes are back, an operator says so, or it held long enough.

    Attributes:
        reason: Why it is on; empty when it is off.
    """

    def __init__(self, policy: Policy) -> None:
        self.reason = ""
        self._policy = policy
        self._since_ns = 0
        self._forgiven: dict[int, int] = {}  # number -> the loss that was released

    def tick(self, nodes: DataNodeTable, now_ns: int) -> bool:
        """Look again; whether it was put on or taken off."""
        window_ns = now_ns - ns(self._policy.brake_window_ms)
        if self.reason:
            # The window is that of the failure: losses do not age while it holds.
            window_ns = self._since_ns - ns(self._policy.brake_window_ms)
        dead = [node for node in nodes if node.status is DataNodeStatus.DEAD]
        lost = [
            node
            for node in dead
            if not node.long_dead
            and not node.drains  # it was to be switched off
            and node.lost_ns >= window_ns
            and self._forgiven.get(node.number) != node.lost_ns
        ]
        alive = len(nodes) - len(dead)
        many = len(lost) >= self._policy.brake_nodes_min and (
            len(lost) > self._policy.brake_share * (alive + len(lost))
        )
        if not self.reason:
            if not many:
                return False
            self._since_ns = now_ns
            self.reason = f"{len(lost)} of {alive + len(lost)} DataNodes were lost at once: check the network"
            return True
        if many and now_ns - self._since_ns < ns(self._policy.brake_hold_ms):
            return False
        self.release(nodes)
        return True

    def release(self, nodes: DataNodeTable) -> None:
        """Copy again: these losses are real."""
        self.reason = ""
        self._forgiven = {node.number: node.lost_ns for node in nodes if node.status is DataNodeStatus.DEAD}
