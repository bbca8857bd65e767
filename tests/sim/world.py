"""The clock, the event queue and the chance of a simulated cluster."""

import heapq
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from zlib import crc32

T = TypeVar("T")

MS = 1_000_000


class SeededRng:
    """An ``Rng`` that is predictable."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.random = chance.random

    def randrange(self, stop: int) -> int:
        return self._chance.randrange(stop)

    def choice(self, items: Sequence[T]) -> T:
        return self._chance.choice(items)

    def token_bytes(self, size: int) -> bytes:
        return self._chance.randbytes(size)

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self._chance.randbytes(16), version=4))


class World:
    """Simulated time. Events at one instant happen in the order they were scheduled."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_ns = 0
        self.events = 0
        self.digest = 0  # of all that happened: equal runs have equal digests
        self._scheduled = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []

    def rng(self, label: str) -> random.Random:
        """Chance for one purpose: one more draw for the disk does not reshuffle the network."""
        return random.Random(f"{self.seed}/{label}")

    def after(self, delay_ns: int, action: Callable[..., None], *args: Any) -> None:
        self._scheduled += 1
        heapq.heappush(self._queue, (self.now_ns + max(0, delay_ns), self._scheduled, action, args))

    def run_until(self, end_ns: int) -> None:
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= end_ns:
            at_ns, number, action, args = pop(queue)
            self.now_ns = at_ns
            self.events += 1
            self.digest = crc32(b"%d %d" % (at_ns, number), self.digest)
            action(*args)
        self.now_ns = max(self.now_ns, end_ns)

    def run_while(self, is_waiting: Callable[[], bool], *, at_most_ns: int) -> bool:
        """Let things happen until ``is_waiting`` ends; whether it did in time."""
        end_ns = self.now_ns + at_most_ns
        while is_waiting():
            if not self._queue or self._queue[0][0] > end_ns:
                return False
            self.run_until_next()
        return True

    def run_until_next(self) -> None:
        """One event."""
        at_ns, number, action, args = heapq.heappop(self._queue)
        self.now_ns = at_ns
        self.events += 1
        self.digest = crc32(b"%d %d" % (at_ns, number), self.digest)
        action(*args)
