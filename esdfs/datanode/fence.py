"""The highest leader epoch seen, kept on disk: orders of a deposed leader are refused, restarts included."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from esdfs.datanode.durable import write_durably
from esdfs.datanode.volumes import OURS, Volume
from esdfs.errors import DiskFailed, EpochFenced, EsdfsError, Overloaded, VolumeFull

FILE: Final = "EPOCH"


class EpochFence:
    """Thread-safe. Kept on every volume in service that is not slow; the highest value found counts.

    Found on any volume that can be read, in service or not; those in service that have less get it now.
    """

    def __init__(self, volumes: list[Volume]) -> None:
        self._volumes = volumes
        self._lock = threading.Lock()
        self._deleting: list[int] = []
        found = [(volume, _read(volume)) for volume in volumes]
        self._highest = max((epoch for _, epoch in found), default=0)
        for volume, epoch in found:
            if epoch < self._highest and not volume.failed:
                with suppress(DiskFailed, VolumeFull, Overloaded):  # others have it
                    write_number(volume, FILE, self._highest)

    @property
    def highest(self) -> int:
        """0 = none seen."""
        return self._highest

    def admit(self, epoch: int) -> None:
        """Accept an order of ``epoch``, which is durable as the highest on return.

        Raises:
            EpochFenced: A later leader has spoken.
            DiskFailed: The epoch could not be written down anywhere; do not carry out the order.
        """
        with self._lock:
            self._admit(epoch)

    def _admit(self, epoch: int) -> None:
        if epoch < self._highest:
            raise EpochFenced(f"an order of epoch {epoch}; epoch {self._highest} has begun")
        if epoch > self._highest:
            self._write(epoch)
            self._highest = epoch

    @property
    def settled(self) -> int:
        """The newest epoch before which no order to delete is being carried out, nor will be."""
        with self._lock:
            return min([self._highest, *self._deleting])

    @contextmanager
    def deleting(self, epoch: int) -> Iterator[None]:
        """`admit` an order to delete, and know of it until it is done."""
        with self._lock:
            self._admit(epoch)
            self._deleting.append(epoch)
        try:
            yield
        finally:
            with self._lock:
                self._deleting.remove(epoch)

    def _write(self, epoch: int) -> None:
        written, why = 0, EsdfsError("no volume in service to write the epoch to")
        # Heartbeats and orders wait for this: a volume that is slow, and may hang, is asked only if no other
        # takes it. The next start gives it what it missed.
        for volume in sorted(self._volumes, key=lambda each: each.fsyncs.slow):
            if volume.failed or (written and volume.fsyncs.slow):
                continue
            try:
                write_number(volume, FILE, epoch)
                written += 1
            except (DiskFailed, VolumeFull, Overloaded) as error:
                why = error
        if not written:
            raise DiskFailed(why.message) from why


def write_number(volume: Volume, name: str, number: int) -> None:
    """Keep a number that only grows in a file of the volume, durably, also when the disk is full.

    Raises:
        DiskFailed: The volume went out of service.
        VolumeFull: There is no file yet, and no room for one.
        Overloaded: This process ran out of something.
    """
    path, content = volume.root / name, f"{number}\n".encode("ascii")
    with volume.changing(f"writing {name}"):
        try:
            write_durably(path, content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not path.exists():
                raise
            # The orders of an epoch are what will free space. It is never shorter than the one it replaces,
            # and far smaller than what a disk writes at once.
            with path.open("r+b") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())


def _read(volume: Volume) -> int:
    """0 = none, or it cannot be read: no volume in service is one whose epoch is unknown."""
    try:
        return int((volume.root / FILE).read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in OURS:
            raise Overloaded(f"cannot read the epoch: {error}") from error
        if not volume.failed:
            volume.fail(f"reading the epoch: {error}")
        return 0
