"""When to try again, where, and after how long. Pure."""

from enum import Enum, unique
from typing import Final

import msgspec

from esdfs.env import Rng
from esdfs.errors import EsdfsError, Retry

_PATIENCE_S: Final = {
    # A cluster that just started finds its DataNodes within a heartbeat or two; then it lacks them.
    "not-enough-datanodes": 4.0,
    # Somebody has to make room first.
    "insufficient-storage": 0.0,
    # Journals do not heal.
    "journal-corrupt": 0.0,
    "checkpoint-damaged": 0.0,
    "checkpoint-gone": 0.0,
}


@unique
class Next(Enum):
    """What to do after an error."""

    RAISE = "raise"
    HERE = "here"
    ELSEWHERE = "elsewhere"


def after(error: EsdfsError, *, repeatable: bool, elapsed_s: float, timeout_s: float) -> Next:
    """What to do about ``error``.

    Args:
        error: As the node said, or what became of the attempt to ask it.
        repeatable: Doing it twice is doing it once: a read, or a change under an idempotency key.
        elapsed_s: Since the first attempt.
        timeout_s: How long the caller wants to wait in all.
    """
    if elapsed_s >= min(timeout_s, _PATIENCE_S.get(error.code, timeout_s)):
        return Next.RAISE
    match error.retry:
        case Retry.NEVER:
            return Next.RAISE
        case Retry.HERE:
            # Who leads is found again from any node; one that is only unwell must not be waited for.
            return Next.ELSEWHERE if error.code in {"unreachable", "unavailable"} else Next.HERE
        case Retry.ELSEWHERE:
            return Next.ELSEWHERE
        case Retry.ONLY_IF_IDEMPOTENT:
            return Next.ELSEWHERE if repeatable else Next.RAISE


class Backoff(msgspec.Struct, frozen=True):
    """Exponential, with full jitter: callers that failed together do not come back together."""

    first_s: float = 0.02
    longest_s: float = 1.0

    def delay_s(self, attempt: int, rng: Rng) -> float:
        """How long to wait after failed attempt number ``attempt`` (from 0): anything up to the bound."""
        # 2**64 seconds is long enough; a float overflows at 2**1024.
        bound_s = min(self.longest_s, self.first_s * 2.0 ** min(attempt, 64))
        return rng.random() * bound_s


class Persistence(msgspec.Struct, frozen=True):
    """While a leader is looked for: at once, then often, then ever less.

    A handover takes some milliseconds, an election less than a second. Random, so that
    callers that failed together do not come back together.
    """

    shortest_s: float = 0.01
    at_first_s: float = 0.1
    longest_s: float = 1.0
    grows_by: float = 1 / 30

    def delay_s(self, elapsed_s: float, rng: Rng) -> float:
        """How long to wait before the next attempt of a call that began ``elapsed_s`` ago."""
        soon_s = min(self.at_first_s, 2 * self.shortest_s + elapsed_s)
        bound_s = min(self.longest_s, max(soon_s, elapsed_s * self.grows_by))
        return self.shortest_s + rng.random() * (bound_s - self.shortest_s)
