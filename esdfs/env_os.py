"""The seam on the operating system."""

import ctypes
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

from esdfs.ids import Micros, Nanos

T = TypeVar("T")

_PR_SET_PDEATHSIG: Final = 1


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


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends.

    Without it, a killed engine would leave children that hold its port and answer from a projection nobody
    updates, or write into its directory. The signal is set after the parent may have gone already, hence the
    check.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        sys.exit(f"process {parent_pid}, which started this one, is gone")
