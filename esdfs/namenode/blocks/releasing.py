"""Blocks of forgotten history on their way to becoming garbage, some milliseconds at a time."""

from collections import deque
from collections.abc import Callable, Iterable

from esdfs.env import Clock


class Releasing:
    """Blocks that nothing names any more.

    What a crash forgets of these is found again: locations of blocks nobody knows are looked for at every
    start, and a DataNode's full report names what has none.

    Args:
        give_up: What to do with each.
        has_room: Whether that can be done now. Given up without an order, a copy would stay until its
            DataNode says everything the next time.
    """

    def __init__(
        self, clock: Clock, give_up: Callable[[int], None], has_room: Callable[[], bool] = lambda: True
    ) -> None:
        self._clock = clock
        self._give_up = give_up
        self._has_room = has_room
        self._waiting: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, block_ids: Iterable[int]) -> None:
        """These were released, and that is committed."""
        self._waiting.extend(block_ids)

    def work(self, deadline_ns: int) -> bool:
        """Work until then, at least a little; whether there is more."""
        while self._waiting:
            if not self._has_room():
                return False
            self._give_up(self._waiting.popleft())
            if self._clock.monotonic_ns() >= deadline_ns:
                break
        return bool(self._waiting)
