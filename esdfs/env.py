"""The one seam between esdfs and chance or time.

Time and randomness reach the rest of the code only through these protocols. ``esdfs.env_os``
implements them for production; tests and simulations bring their own. Nothing here may import an
implementation.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from esdfs.ids import Micros, Nanos

T = TypeVar("T")


class Clock(Protocol):
    """Two clocks that must not be mixed."""

    def monotonic_ns(self) -> Nanos:
        """Time since an arbitrary origin; never runs backwards. For timeouts."""
        ...

    def wall_us(self) -> Micros:
        """Time since the Unix epoch; may jump. For timestamps people read."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let this thread rest. For retry delays, never for waiting on a condition."""
        ...


class Rng(Protocol):
    """A source of choices; seeded in simulation."""

    def randrange(self, stop: int) -> int:
        """An integer in ``[0, stop)``."""
        ...

    def random(self) -> float:
        """A float in ``[0, 1)``."""
        ...

    def choice(self, items: Sequence[T]) -> T:
        """One of ``items``, which must not be empty."""
        ...

    def token_bytes(self, size: int) -> bytes:
        """``size`` unguessable bytes (predictable in simulation)."""
        ...

    def uuid(self) -> str:
        """A version 4 UUID in its canonical text form."""
        ...
