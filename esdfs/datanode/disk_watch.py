"""A thread that looks for volumes that became slow (`slowness`), and probes those under suspicion."""

import os
from typing import Final

import structlog

from esdfs.datanode.background import Background
from esdfs.datanode.replica import ReplicaState
from esdfs.datanode.volumes import Volume
from esdfs.env import Clock
from esdfs.errors import EsdfsError

_log = structlog.get_logger()

_LOOK_S: Final = 5.0
_PROBE: Final = "probe"


class DiskWatch(Background):
    """The thread."""

    def __init__(self, volumes: list[Volume], clock: Clock) -> None:
        super().__init__("disks")
        self._volumes = volumes
        self._clock = clock

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            for volume in self._volumes:
                if not volume.failed:
                    self.look(volume)

    def look(self, volume: Volume) -> None:
        """Judge a volume now."""
        fsyncs = volume.fsyncs
        if fsyncs.suspicious():
            try:
                probe(volume, self._clock)
            except EsdfsError as error:
                _log.warning("volume not probed", volume=volume.volume_id, reason=error.message)
        now_ns = self._clock.monotonic_ns()
        if fsyncs.judge(now_ns):
            told = {"volume": volume.volume_id, "root": str(volume.root)}
            if fsyncs.slow:
                p99_ms = fsyncs.p99_ns(now_ns) // 1_000_000
                _log.error("volume is slow and gets no new blocks", fsync_p99_ms=p99_ms, **told)
            else:
                _log.warning("volume is fast again", **told)


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
