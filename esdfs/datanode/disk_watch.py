"""Threads that look for volumes that became slow (`slowness`), and for those that hang.

A disk that hangs ends no call and fails none. Each volume has a thread that may hang with it, and one thread
looks at those.
"""

import os
from typing import Final

import structlog

from esdfs.datanode.background import Background
from esdfs.datanode.replica import ReplicaState
from esdfs.datanode.slowness import HANGS_AFTER_S
from esdfs.datanode.volumes import Volume
from esdfs.env import Clock
from esdfs.errors import EsdfsError

_log = structlog.get_logger()

_LOOK_S: Final = 5.0
_PROBE_EVERY_NS: Final = 15 * 10**9
_STUCK_NS: Final = 5 * 10**9
_PAUSED_NS: Final = 10 * 10**9
_LEFT_BEHIND_S: Final = 1.0
_PROBE: Final = "probe"


class VolumeWatch(Background):
    """The thread of one volume.

    Attributes:
        looking_since_ns: When its present look began; None = it rests.
    """

    def __init__(self, volume: Volume, clock: Clock) -> None:
        super().__init__("disk")
        self.volume = volume
        self.looking_since_ns: int | None = None
        self._clock = clock
        self._probed_ns = 0

    def stop(self) -> None:
        """Have it end; one that hangs is left behind."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_LEFT_BEHIND_S)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S) and not self.volume.failed:
            self.look()

    def look(self) -> None:
        """Judge the volume now. Hangs while its disk hangs."""
        volume, fsyncs = self.volume, self.volume.fsyncs
        self.looking_since_ns = now_ns = self._clock.monotonic_ns()
        if fsyncs.suspicious() or now_ns - self._probed_ns >= _PROBE_EVERY_NS:
            self._probed_ns = now_ns
            try:
                probe(volume, self._clock)
            except EsdfsError as error:
                _log.warning("volume not probed", volume=volume.volume_id, reason=error.message)
        self.looking_since_ns = None
        now_ns = self._clock.monotonic_ns()
        if fsyncs.judge(now_ns):
            told = {"volume": volume.volume_id, "root": str(volume.root)}
            if fsyncs.slow:
                p99_ms = fsyncs.p99_ns(now_ns) // 1_000_000
                _log.error("volume is slow and gets no new blocks", fsync_p99_ms=p99_ms, **told)
            else:
                _log.warning("volume is fast again", **told)


class DiskWatch(Background):
    """The thread that looks at the others.

    Args:
        hangs_after_s: A volume whose probe takes longer is out of service; 0 = it may take for ever.
    """

    def __init__(self, volumes: list[Volume], clock: Clock, *, hangs_after_s: float = HANGS_AFTER_S) -> None:
        super().__init__("disks")
        self.watches = [VolumeWatch(volume, clock) for volume in volumes if not volume.failed]
        self._clock = clock
        self._hangs_after_ns = int(hangs_after_s * 1e9)
        self._looked_ns = self._armed_ns = clock.monotonic_ns()

    def start(self) -> None:
        """Start all threads."""
        for watch in self.watches:
            watch.start()
        super().start()

    def stop(self) -> None:
        """Have all end."""
        super().stop()
        for watch in self.watches:
            watch.stop()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self.look()

    def look(self) -> None:
        """Put volumes that hang out of service, and until then no new blocks on them; never hangs itself."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns > _PAUSED_NS:
            self._armed_ns = now_ns  # this process stood still, so it is not known who else did
        self._looked_ns = now_ns
        for watch in self.watches:
            volume, since_ns = watch.volume, watch.looking_since_ns
            if since_ns is None or volume.failed:
                continue
            since_ns = max(since_ns, self._armed_ns)
            if now_ns - since_ns > _STUCK_NS and volume.fsyncs.stuck(now_ns):
                told = {"volume": volume.volume_id, "root": str(volume.root)}
                _log.error("volume hangs and gets no new blocks", **told)
            if self._hangs_after_ns and now_ns - since_ns > self._hangs_after_ns:
                volume.fail(
                    f"a write of 4 KiB hangs since {(now_ns - since_ns) // 10**9} s: "
                    "restart this DataNode when the disk answers again",
                    hangs=True,
                )


def probe(volume: Volume, clock: Clock) -> None:
    """Write and fsync a small file, and note how long that took.

    Raises:
        VolumeFull: No room for it.
        DiskFailed: The volume is out of service now.
    """
    path = volume.path(ReplicaState.TEMP, _PROBE)
    before_ns = clock.monotonic_ns()
    with volume.changing("probing"):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, bytes(4096))
            os.fsync(fd)
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)
    now_ns = clock.monotonic_ns()
    volume.fsyncs.add(now_ns, now_ns - before_ns)
