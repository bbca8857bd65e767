"""When a disk that still works counts as slow, or hangs. Pure but for a lock.

A volume is slow when the 99th percentile of its fsyncs stayed above a limit for a minute, or one does not
end. It gets no new blocks then; a small fsync every few seconds (`disk_watch`) shows when it is fast again.
"""

import threading
from typing import Final

from esdfs.datanode.percentiles import Durations, percentile

SLOW_FSYNC_MS: Final = 1000
HANGS_AFTER_S: Final = 60
WINDOW_S: Final = 30.0
SLOW_AFTER_S: Final = 60.0
_KEPT: Final = 1024


class Slowness:
    """One volume's fsyncs of the last half minute.

    Attributes:
        slow: The judgement as of the last `judge`.
    """

    def __init__(self, limit_ms: int) -> None:
        self.slow = False
        self._limit_ns = limit_ms * 1_000_000
        self._lock = threading.Lock()
        self._taken = Durations(WINDOW_S, _KEPT)
        self._over_since_ns: int | None = None

    def add(self, now_ns: int, duration_ns: int) -> None:
        """An fsync ended now and took so long."""
        with self._lock:
            self._taken.add(now_ns, duration_ns)

    def p99_ns(self, now_ns: int) -> int:
        """Of the last half minute; 0 when there were none."""
        return percentile(self._late(now_ns), 99)

    def _late(self, now_ns: int) -> list[int]:
        with self._lock:
            return self._taken.ordered(now_ns)

    def suspicious(self) -> bool:
        """Whether it is worth an fsync of our own to know more."""
        return self.slow or self._over_since_ns is not None

    def stuck(self, now_ns: int) -> bool:
        """An fsync does not end: slow at once, until `judge` knows better; whether that is news."""
        if not self._limit_ns or self.slow:
            return False
        self._over_since_ns = self._over_since_ns or now_ns
        self.slow = True
        return True

    def judge(self, now_ns: int) -> bool:
        """Look again; whether the judgement changed. Call it every few seconds."""
        before = self.slow
        late = self._late(now_ns)
        if self._limit_ns and percentile(late, 99) > self._limit_ns:
            if self._over_since_ns is None:
                self._over_since_ns = now_ns
            self.slow = before or now_ns - self._over_since_ns >= int(SLOW_AFTER_S * 1e9)
        elif late or not before:  # a slow volume without any fsync is not fast
            self._over_since_ns = None
            self.slow = False
        return self.slow is not before
