"""How fast background work may move bytes: a pure bucket, and the rest its callers take."""

import threading
from collections.abc import Callable
from typing import Final

from esdfs.env import Clock

BURST_S: Final = 0.1
"""Unused allowance is kept so long: a rest that lasted too long is made up for."""

REST_MOST_S: Final = 0.25
"""One rest at most, so that whoever is stopped notices soon."""


class Bucket:
    """An allowance that fills at a constant rate. Pure.

    Whoever takes from it goes at once and is told how long to rest before taking again: nobody waits for a
    large enough amount to gather.

    Args:
        bytes_per_s: 0 = no limit.
    """

    def __init__(self, bytes_per_s: int) -> None:
        assert bytes_per_s >= 0, bytes_per_s
        self.bytes_per_s = bytes_per_s
        self._paid_until_ns = 0

    def take(self, size_bytes: int, now_ns: int) -> int:
        """Take an amount; answers the nanoseconds after which as much was allowed."""
        if not self.bytes_per_s:
            return 0
        begin_ns = max(self._paid_until_ns, now_ns - int(BURST_S * 1e9))
        self._paid_until_ns = begin_ns + size_bytes * 1_000_000_000 // self.bytes_per_s
        return max(0, self._paid_until_ns - now_ns)


class Pace:
    """One bucket for all threads that do the same kind of work. Thread-safe.

    Args:
        rest: Waits so many seconds, or less when there is a reason to end; true = end.
    """

    def __init__(self, bytes_per_s: int, clock: Clock, rest: Callable[[float], bool]) -> None:
        self._bucket = Bucket(bytes_per_s)
        self._clock = clock
        self._rest = rest
        self._lock = threading.Lock()

    @property
    def bytes_per_s(self) -> int:
        """The rate; 0 = no limit."""
        return self._bucket.bytes_per_s

    def limit(self, bytes_per_s: int) -> None:
        """From now on this rate; 0 = no limit."""
        with self._lock:
            if bytes_per_s != self._bucket.bytes_per_s:
                self._bucket = Bucket(bytes_per_s)

    def spend(self, size_bytes: int) -> bool:
        """So much is about to be moved: rests as long as that takes at our rate. False = end now."""
        with self._lock:
            now_ns = self._clock.monotonic_ns()
            bucket = self._bucket
            due_ns = now_ns + bucket.take(size_bytes, now_ns)
        # Another rate counts for who rests already, too.
        while bucket is self._bucket and (left_ns := due_ns - self._clock.monotonic_ns()) > 0:
            if self._rest(min(REST_MOST_S, left_ns / 1e9)):
                return False
        return True
