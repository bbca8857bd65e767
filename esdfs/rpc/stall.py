"""Noticing that a stream stands still, at next to no cost for one that moves."""

import threading
from typing import Final

_LOOKS: Final = 4


class Stall:
    """One thread streams and says what it does; another one watches.

    Args:
        within_s: So long nothing may come from the other side; it is noticed up to a quarter later.

    Attributes:
        late: Whether that was found.
    """

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self.late = False
        self._waiting = True
        self._steps = 0
        self._ended = threading.Event()

    def waits(self) -> None:
        """From now on it is the other side's turn."""
        self._steps += 1
        self._waiting = True

    def works(self) -> None:
        """It has done its part; what we do with it may take as long as it likes."""
        self._waiting = False

    def end(self) -> None:
        """The stream is over."""
        self._ended.set()

    def watch(self) -> bool:
        """Wait until the stream is over; False when the other side stood still for too long."""
        seen, looks = -1, 0
        while not self._ended.wait(self.within_s / _LOOKS):
            if self._waiting and self._steps == seen:
                looks += 1
                if looks >= _LOOKS:
                    self.late = True
                    return False
            else:
                seen, looks = self._steps, 0
        return True
