"""A clock that tests move by hand."""

from esdfs.ids import Micros, Nanos


class HandClock:
    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000

    def monotonic_ns(self) -> Nanos:
        return Nanos(self.now_ns)

    def wall_us(self) -> Micros:
        return Micros(self.now_ns // 1000)

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def rest(self, seconds: float) -> bool:
        """As a stop event that is never set."""
        self.sleep(seconds)
        return False
