"""One timer of an event loop that is set over and over. Its waits are short and mostly move later."""

import asyncio
from collections.abc import Callable
from typing import Final

from esdfs.env import Clock
from esdfs.ids import Nanos

_NS_PER_S: Final = 1_000_000_000
_SPIN_GUARD_S: Final = 0.0005


class Alarm:
    """Calls ``tick`` when what ``due_ns`` says has come.

    Args:
        due_ns: The next instant to wake at, on the monotonic clock.
        tick: Must move that instant on; when it does not, it is called again after a short pause.
    """

    def __init__(self, clock: Clock, due_ns: Callable[[], Nanos], tick: Callable[[], None]) -> None:
        self._clock, self._due_ns, self._tick = clock, due_ns, tick
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self._set_for_ns = self._ticked_ns = 0
        self._is_over = False

    def set(self) -> None:
        """Wake no later than at ``due_ns``. An alarm set for an earlier instant then finds nothing to do."""
        if self._is_over:
            return
        due_ns = self._due_ns()
        if self._handle is not None:
            if self._set_for_ns <= due_ns:
                return
            self._handle.cancel()
        self._set_for_ns = due_ns
        delay_s = (due_ns - self._clock.monotonic_ns()) / _NS_PER_S
        if delay_s <= 0 and due_ns > self._ticked_ns:
            self._handle = self._loop.call_soon(self._ring)
        else:
            self._handle = self._loop.call_later(max(delay_s, _SPIN_GUARD_S), self._ring)

    def end(self) -> None:
        """Never wake again."""
        self._is_over = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        now_ns = self._clock.monotonic_ns()
        if self._due_ns() <= now_ns:
            self._ticked_ns = now_ns
            self._tick()
        self.set()
