"""Who renewed which open file, and when: the leader's soft state about leases.

A lease's existence is in the journal (the file is open); its age is decided by the leader's monotonic
clock and starts anew when a NameNode starts, so that nobody loses a lease to a restart. Limits as HDFS:
past the soft one another client may take the file over, past the hard one it is aborted. While the leader
itself slept no lease grew older: renewals that came meanwhile are not read yet.
"""

from collections.abc import Iterable
from typing import Final

from esdfs.env import Clock
from esdfs.ids import Nanos

_PAUSE_NS: Final = 2_000_000_000


class LeaseTable:
    """Ages of open files' leases. `tick` it often: not to be asked for 2 s means to have slept.

    Args:
        soft_ms: Another client may take over after this long without renewal.
        hard_ms: The file is aborted after this long without renewal.
    """

    def __init__(self, clock: Clock, *, soft_ms: int, hard_ms: int) -> None:
        self._clock = clock
        self._soft_ms = soft_ms
        self._hard_ms = hard_ms
        self._renewed_ns: dict[int, Nanos] = {}
        self._awake_ns = clock.monotonic_ns()

    def tick(self) -> None:
        """Time passes, and we are awake."""
        self._now_ns()

    def renew(self, inode: int) -> None:
        """The writer of this file is alive."""
        self._renewed_ns[inode] = self._now_ns()

    def forget(self, inode: int) -> None:
        """The file is no longer open."""
        self._renewed_ns.pop(inode, None)

    def may_take_over(self, inode: int) -> bool:
        """Whether the soft limit has passed."""
        return self._age_ms(inode) > self._soft_ms

    def lapsed(self, open_inodes: Iterable[int]) -> list[int]:
        """Those of ``open_inodes`` whose hard limit has passed."""
        return [inode for inode in open_inodes if self._age_ms(inode) > self._hard_ms]

    @property
    def soft_ms(self) -> int:
        """How long a renewal holds others off."""
        return self._soft_ms

    def _age_ms(self, inode: int) -> int:
        now_ns = self._now_ns()
        return (now_ns - self._renewed_ns.setdefault(inode, now_ns)) // 1_000_000

    def _now_ns(self) -> Nanos:
        now_ns = self._clock.monotonic_ns()
        slept_ns = now_ns - self._awake_ns
        if slept_ns > _PAUSE_NS:
            for inode, renewed_ns in self._renewed_ns.items():
                self._renewed_ns[inode] = Nanos(renewed_ns + slept_ns)
        self._awake_ns = now_ns
        return now_ns
