"""How busy a DataNode is: what its heartbeats say."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from esdfs.env import Clock


class LoadNow(msgspec.Struct, frozen=True):
    """Rates since the last time it was asked."""

    streams: int
    read_bytes_s: int
    write_bytes_s: int
    fsync_p99_ms: float


class Load:
    """Counters; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._streams = 0
        self._read_bytes = 0
        self._write_bytes = 0
        self._since_ns = clock.monotonic_ns()
        self._fsync_ns: deque[int] = deque(maxlen=256)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """A stream runs while inside."""
        with self._lock:
            self._streams += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams -= 1

    def read(self, size_bytes: int) -> None:
        """So much was sent."""
        with self._lock:
            self._read_bytes += size_bytes

    def wrote(self, size_bytes: int) -> None:
        """So much was received."""
        with self._lock:
            self._write_bytes += size_bytes

    def add(self, duration_ns: int) -> None:
        """An fsync took so long."""
        with self._lock:
            self._fsync_ns.append(duration_ns)

    def take(self) -> LoadNow:
        """The load since the last call."""
        with self._lock:
            now = self._clock.monotonic_ns()
            seconds = max(1e-3, (now - self._since_ns) / 1e9)
            taken = sorted(self._fsync_ns)
            p99_ns = taken[min(len(taken) - 1, len(taken) * 99 // 100)] if taken else 0
            load = LoadNow(
                streams=self._streams,
                read_bytes_s=int(self._read_bytes / seconds),
                write_bytes_s=int(self._write_bytes / seconds),
                fsync_p99_ms=round(p99_ns / 1e6, 3),
            )
            self._since_ns = now
            self._read_bytes = self._write_bytes = 0
            return load
