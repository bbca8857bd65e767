"""Which of the processes of one DataNode this is: the later has the higher number."""

from typing import Final

import structlog

from esdfs.datanode.fence import write_number
from esdfs.datanode.volumes import Volume
from esdfs.env import Clock
from esdfs.errors import DiskFailed, Overloaded, VolumeFull

_log = structlog.get_logger()

FILE: Final = "INCARNATION"


def next_incarnation(volumes: list[Volume], clock: Clock) -> int:
    """The wall clock (µs), or one more than the last where that is ahead of it; kept on every volume.

    NameNodes refuse the lower number, and a clock that was set back must not keep a node from coming back. A
    node that cannot read or write the last one anywhere goes by its clock.
    """
    incarnation = max(clock.wall_us(), 1 + max(map(_read, volumes), default=0))
    for volume in volumes:
        if not volume.failed:
            try:
                write_number(volume, FILE, incarnation)
            except (DiskFailed, VolumeFull, Overloaded) as error:
                _log.warning("incarnation not kept", volume=volume.volume_id, reason=error.message)
    return incarnation


def _read(volume: Volume) -> int:
    """0 = none, or it cannot be read."""
    try:
        return int((volume.root / FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
