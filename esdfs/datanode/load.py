"""How busy a DataNode is: what its heartbeats say, and what makes background work wait."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from esdfs.datanode.percentiles import Durations
from esdfs.env import Clock


class LoadNow(msgspec.Struct, frozen=True, kw_only=True):
    """Rates since the last time it was asked; durations of the last minute, 0 = there were none.

    Attributes:
        read_p50_ms, read_p99_ms: From a request to its first verified frame.
        store_p50_ms, store_p99_ms: From a stream's last frame to the receipts of all its hops.
    """

    streams: int
    read_bytes_s: int
    write_bytes_s: int
    fsync_p99_ms: float
    read_p50_ms: float
    read_p99_ms: float
    store_p50_ms: float
    store_p99_ms: float


class Load:
    """Counters; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._streams = 0
        self._read_bytes = 0
        self._write_bytes = 0
        self._since_ns = clock.monotonic_ns()
        self._served_ns: int | None = None
        self._fsyncs = Durations()
        self._reads = Durations()
        self._stores = Durations()

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
        """So much was sent to a client."""
        with self._lock:
            self._read_bytes += size_bytes
            self._served_ns = self._clock.monotonic_ns()

    def copied(self, size_bytes: int) -> None:
        """So much was sent to another DataNode on a leader's order: nobody waits for it."""
        with self._lock:
            self._read_bytes += size_bytes

    def wrote(self, size_bytes: int) -> None:
        """So much was received."""
        with self._lock:
            self._write_bytes += size_bytes
            self._served_ns = self._clock.monotonic_ns()

    def add(self, duration_ns: int) -> None:
        """An fsync took so long."""
        with self._lock:
            self._fsyncs.add(self._clock.monotonic_ns(), duration_ns)

    def asked(self) -> Callable[[], None]:
        """A reader waits from now on: call what this answers when its first bytes are there."""
        asked_ns = self._clock.monotonic_ns()
        return lambda: self.answered(self._clock.monotonic_ns() - asked_ns)

    def answered(self, duration_ns: int) -> None:
        """A reader waited so long for its first bytes."""
        with self._lock:
            self._reads.add(self._clock.monotonic_ns(), duration_ns)

    def stored(self, duration_ns: int) -> None:
        """A writer waited so long for its receipts."""
        with self._lock:
            self._stores.add(self._clock.monotonic_ns(), duration_ns)

    def idle_ns(self) -> int | None:
        """Since when nobody was served; None = nobody ever was."""
        with self._lock:
            return None if self._served_ns is None else self._clock.monotonic_ns() - self._served_ns

    def take(self) -> LoadNow:
        """The load since the last call."""
        with self._lock:
            now = self._clock.monotonic_ns()
            seconds = max(1e-3, (now - self._since_ns) / 1e9)
            load = LoadNow(
                streams=self._streams,
                read_bytes_s=int(self._read_bytes / seconds),
                write_bytes_s=int(self._write_bytes / seconds),
                fsync_p99_ms=self._fsyncs.ms(now, 99),
                read_p50_ms=self._reads.ms(now, 50),
                read_p99_ms=self._reads.ms(now, 99),
                store_p50_ms=self._stores.ms(now, 50),
                store_p99_ms=self._stores.ms(now, 99),
            )
            self._since_ns = now
            self._read_bytes = self._write_bytes = 0
            return load
