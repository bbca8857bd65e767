"""Durations of late, and what is usual among them. Pure."""

from collections import deque
from collections.abc import Sequence


class Durations:
    """The newest so many. Not thread-safe."""

    def __init__(self, kept: int = 256) -> None:
        self._ns: deque[int] = deque(maxlen=kept)

    def add(self, duration_ns: int) -> None:
        """One more."""
        self._ns.append(duration_ns)

    def ms(self, percent: int) -> float:
        """So many percent took no longer; 0 when there were none."""
        return round(percentile(sorted(self._ns), percent) / 1e6, 3)


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Of ascending values; 0 when there are none."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0
