"""Reading replicas nobody reads, before the last good copy is needed: a pure schedule, and its thread."""

import heapq
import math
from collections.abc import Callable
from typing import Final

import structlog

from esdfs.datanode.background import Background
from esdfs.datanode.pacing import Pace
from esdfs.datanode.replica import Replica
from esdfs.datanode.store import BlockStore
from esdfs.env import Clock
from esdfs.errors import EsdfsError, ReplicaCorrupt

_log = structlog.get_logger()

_IDLE_S: Final = 5.0
_SETTLE_S: Final = 60.0
_EARLY: Final = 0.75
"""A replica is due after this part of its period: the rest is time to get to it."""

_QUIET_NS: Final = 1_000_000_000
"""Clients who were served less long ago come first."""

_BATCH: Final = 1000
"""To choose is to look at all replicas: worth so many."""

_FRESH_S: Final = 60.0
"""What is due is looked up again after so long."""

_BETWEEN_S: Final = 1.0
"""Rest between two batches, so that replicas which cannot be read now do not keep a processor busy."""


def due(replicas: list[Replica], now_us: int, period_s: float, limit: int) -> list[Replica]:
    """What to verify next, in order.

    First the overdue, the longest overdue ahead; then the never verified from the newest on; then the longest
    unverified.

    Args:
        replicas: All; ``verified_us`` 0 = never.
        now_us: Wall clock.
        period_s: A replica verified less than three quarters of it ago is not due.
        limit: At most so many.

    A replica that was just written is not due either: its bytes may not have left the disk's own cache, and
    whoever writes many small files would have every one of them read back at once.

    A time in the future, of when the clock was ahead, says nothing: it counts as never verified.
    """
    before_us = now_us - int(period_s * _EARLY * 1e6)
    settled_us = now_us - int(min(period_s, _SETTLE_S) * 1e6)

    def times(replica: Replica) -> tuple[int, int]:
        finalized_us = replica.finalized_us if replica.finalized_us <= now_us else settled_us
        return finalized_us, replica.verified_us if replica.verified_us <= now_us else 0

    def urgency(replica: Replica) -> tuple[int, int]:
        finalized_us, verified_us = times(replica)
        at_us = (verified_us or finalized_us) + int(period_s * 1e6)
        if at_us <= now_us:
            return 0, at_us
        return (2, verified_us) if verified_us else (1, -finalized_us)

    def is_due(replica: Replica) -> bool:
        finalized_us, verified_us = times(replica)
        return verified_us <= before_us and finalized_us <= settled_us

    candidates = filter(is_due, replicas)
    return heapq.nsmallest(limit, candidates, key=urgency)


def overdue_us(replica: Replica, period_s: float) -> int:
    """When a replica will not have been verified for a whole period, if nobody does (wall clock)."""
    return (replica.verified_us or replica.finalized_us) + int(period_s * 1e6)


def needed_bytes_per_s(used_bytes: int, period_s: float) -> float:
    """The rate at which so much is read in time: from when it is due again until it is due once more."""
    return used_bytes / (period_s * _EARLY)


class Scrubber(Background):
    """A thread that verifies every replica once per period, at a rate as high as that takes.

    A replica that is deleted, replaced or doubted while it is read is no alarm: `BlockStore.doubt` acts on
    the very replica that was opened. One that cannot be read, and a volume that fails, do not end the thread.

    Args:
        bytes_per_s: Goes at this rate, or faster if the used bytes could not be read within the period.
        idle_ns: Since when no client was served; None = never. While they are, the thread waits, unless a
            replica is overdue: the one in hand, or any other.
    """

    def __init__(
        self,
        store: BlockStore,
        clock: Clock,
        *,
        period_s: float,
        bytes_per_s: float,
        idle_ns: Callable[[], int | None] = lambda: None,
    ) -> None:
        super().__init__("scrub")
        self._store = store
        self._clock = clock
        self._period_s = period_s
        self._bytes_per_s = bytes_per_s
        self._pace = Pace(int(bytes_per_s), clock, self._stop.wait)
        self._hurry_us = math.inf
        self._idle_ns = idle_ns

    def start(self) -> None:
        """Start the thread; nothing to do when the period is 0."""
        if self._period_s > 0:
            super().start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(_BETWEEN_S if self.batch() else _IDLE_S)

    def batch(self) -> int:
        """Choose what is due and scrub it for a minute, or until all that is overdue is read; how many."""
        replicas = self._store.replicas()
        now_us = self._clock.wall_us()
        stale_us = now_us + int(min(_FRESH_S, self._period_s / 4) * 1e6)
        later = (at_us for each in replicas if (at_us := overdue_us(each, self._period_s)) > now_us)
        self._hurry_us = max(min(later, default=stale_us), stale_us)
        used_bytes = sum(replica.stored_bytes for replica in replicas)
        self._pace.limit(int(max(self._bytes_per_s, needed_bytes_per_s(used_bytes, self._period_s))))
        done = 0
        for replica in due(replicas, now_us, self._period_s, _BATCH):
            was_late = overdue_us(replica, self._period_s) <= now_us
            if self._stop.is_set() or (not was_late and self._clock.wall_us() >= stale_us):
                break
            self.scrub(replica)
            done += 1
        return done

    def scrub(self, replica: Replica) -> bool:
        """Read and verify one replica from the disk at the configured rate; whether it is good."""
        try:
            with self._store.from_disk(replica) as reader:
                for frame in self._store.checked(reader, reader.frames()):
                    if not self._pace.spend(len(frame.data)) or self._give_way(replica):
                        return True
            self._store.verified(replica)
        except ReplicaCorrupt:
            return False
        except (EsdfsError, OSError) as error:
            _log.info("scrub skipped a replica", block_id=replica.block_id, reason=str(error))
        return True

    def _give_way(self, replica: Replica) -> bool:
        """Wait while clients are served and nothing is overdue; whether to stop.

        Of the others only when the next is overdue is known, as of when the batch was chosen: those that were
        then are read before any that waits here.
        """
        hurry_us = min(overdue_us(replica, self._period_s), self._hurry_us)
        while self._clock.wall_us() < hurry_us:
            idle_ns = self._idle_ns()
            if idle_ns is None or idle_ns >= _QUIET_NS:
                break
            if self._stop.wait((_QUIET_NS - idle_ns) / 1e9):
                return True
        return self._stop.is_set()
