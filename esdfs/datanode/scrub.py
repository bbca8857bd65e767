"""Reading replicas nobody reads, before the last good copy is needed: a pure schedule, and its thread."""

import heapq
from collections.abc import Callable
from typing import Final

import structlog

from esdfs.datanode.background import Background
from esdfs.datanode.replica import BlockKey, Replica
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


def due(replicas: list[Replica], now_us: int, period_s: float, limit: int) -> list[Replica]:
    """What to verify next, in order: the never verified from the newest on, then the longest unverified.

    Args:
        replicas: All; ``verified_us`` 0 = never.
        now_us: Wall clock.
        period_s: A replica verified less than three quarters of it ago is not due.
        limit: At most so many.

    A replica that was just written is not due either: its bytes may not have left the disk's own cache, and
    whoever writes many small files would have every one of them read back at once.
    """
    before_us = now_us - int(period_s * _EARLY * 1e6)
    settled_us = now_us - int(min(period_s, _SETTLE_S) * 1e6)
    candidates = (
        replica
        for replica in replicas
        if replica.verified_us <= before_us and replica.finalized_us <= settled_us
    )
    return heapq.nsmallest(limit, candidates, key=_urgency)


def overdue(replica: Replica, now_us: int, period_s: float) -> bool:
    """Whether a replica was not verified within its period."""
    return now_us - (replica.verified_us or replica.finalized_us) >= int(period_s * 1e6)


def _urgency(replica: Replica) -> tuple[int, int]:
    if replica.verified_us == 0:
        return 0, -replica.finalized_us
    return 1, replica.verified_us


class Scrubber(Background):
    """A thread that verifies every replica once per period, at a bounded rate.

    A replica that is deleted, replaced or doubted while it is read is no alarm: `BlockStore.doubt` acts on
    the very replica that was opened.

    Args:
        idle_ns: Since when no client was served; None = never. While they are, the thread waits, unless the
            replica's period is over.
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
        self._idle_ns = idle_ns

    def start(self) -> None:
        """Start the thread; nothing to do when the period is 0."""
        if self._period_s > 0:
            super().start()

    def _run(self) -> None:
        while not self._stop.is_set():
            batch = due(self._store.replicas(), self._clock.wall_us(), self._period_s, limit=64)
            for replica in batch:
                self.scrub(replica)
                if self._stop.is_set():
                    return
            if not batch:
                self._stop.wait(_IDLE_S)

    def scrub(self, replica: Replica) -> bool:
        """Read and verify one replica from the disk at the configured rate; whether it is good."""
        key = BlockKey(replica.block_id, replica.generation)
        try:
            with self._store.open(replica.block_id, replica.generation) as reader:
                reader.forget_cached()
                for frame in self._store.checked(reader, reader.frames()):
                    if self._stop.wait(len(frame.data) / self._bytes_per_s) or self._give_way(replica):
                        return True
                reader.forget_cached()
        except ReplicaCorrupt:
            return False
        except EsdfsError as error:
            _log.info("scrub skipped a replica", block=key.block_id, reason=error.message)
            return True
        self._store.verified(replica)
        return True

    def _give_way(self, replica: Replica) -> bool:
        """Wait while clients are served; whether to stop."""
        while not overdue(replica, self._clock.wall_us(), self._period_s):
            idle_ns = self._idle_ns()
            if idle_ns is None or idle_ns >= _QUIET_NS:
                break
            if self._stop.wait((_QUIET_NS - idle_ns) / 1e9):
                return True
        return self._stop.is_set()
