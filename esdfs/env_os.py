"""The seam on the operating system."""

import os
import random
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from esdfs.ids import Micros, Nanos

T = TypeVar("T")


class OsClock:
    """``Clock`` on this machine's clocks."""

    def monotonic_ns(self) -> Nanos:
        return Nanos(time.monotonic_ns())

    def wall_us(self) -> Micros:
        return Micros(time.time_ns() // 1000)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class OsRng:
    """``Rng`` on the kernel's entropy."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def randrange(self, stop: int) -> int:
        return self._random.randrange(stop)

    def random(self) -> float:
        return self._random.random()

    def choice(self, items: Sequence[T]) -> T:
        return self._random.choice(items)

    def token_bytes(self, size: int) -> bytes:
        return os.urandom(size)

    def uuid(self) -> str:
        return str(uuid.uuid4())


def boot_id() -> str:
    """The kernel's id of this boot: state that only a clean memory can vouch for is tied to it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
