"""Durations of late, and what is usual among them. Pure."""

from collections import deque
from collections.abc import Sequence


class Durations:
    """Those of the last so many seconds, at most so many. Not thread-safe.

    They have an age, because who is avoided for being slow does nothing that would displace the slow ones.
    """

    def __init__(self, window_s: float = 60.0, kept: int = 256) -> None:
        self._window_ns = int(window_s * 1e9)
        self._taken: deque[tuple[int, int]] = deque(maxlen=kept)

    def add(self, now_ns: int, duration_ns: int) -> None:
        """One more, which ended now (monotonic)."""
        self._taken.append((now_ns, duration_ns))

    def ordered(self, now_ns: int) -> list[int]:
        """From the shortest to the longest."""
        since_ns = now_ns - self._window_ns
        return sorted(duration_ns for at_ns, duration_ns in self._taken if at_ns >= since_ns)

    def ms(self, now_ns: int, percent: int) -> float:
        """So many percent took no longer; 0 when there were none."""
        return round(percentile(self.ordered(now_ns), percent) / 1e6, 3)


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Of ascending values; 0 when there are none."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0
