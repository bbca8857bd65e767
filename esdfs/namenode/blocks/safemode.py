"""After a start nothing is copied or deleted until enough blocks have been reported. Pure."""

from esdfs.namenode.blocks.policy import Policy, ns


class SafeMode:
    """On from the start; once off, off for good.

    Args:
        cold: Locations start empty: DataNodes get the minimum time to report. Otherwise it lasts only until
            they have registered again.
    """

    def __init__(self, policy: Policy, started_ns: int, *, cold: bool) -> None:
        self.active = True
        self.reason = "just started"
        self._policy = policy
        self._started_ns = started_ns
        self._min_ns = ns(policy.safe_mode_min_ms) if cold else 0

    def may_end(self, now_ns: int, total: int, located: int) -> bool:
        """Whether it might, if all blocks were counted now.

        ``located`` blocks have a copy on any DataNode, so no more are reported. ``total`` may be a bit off.
        """
        age_ns = now_ns - self._started_ns
        enough = located * 100 >= total * self._policy.safe_mode_percent
        return age_ns >= self._min_ns and (enough or age_ns >= ns(self._policy.safe_mode_max_ms))

    def observe(self, now_ns: int, total: int, reported: int) -> bool:
        """All complete blocks were counted; whether safe mode ends with that.

        ``reported`` are those with a copy on a DataNode that registered since the start.
        """
        if not self.active:
            return False
        age_ns = now_ns - self._started_ns
        if age_ns < self._min_ns:
            self.reason = f"started {age_ns // 1_000_000} ms ago, waiting for reports"
            return False
        if reported * 100 >= total * self._policy.safe_mode_percent:
            self.reason = f"{reported} of {total} blocks are reported"
        elif age_ns >= ns(self._policy.safe_mode_max_ms):
            self.reason = f"only {reported} of {total} blocks were reported in {age_ns // 10**9} s"
        else:
            self.reason = f"{reported} of {total} blocks are reported"
            return False
        self.active = False
        return True
