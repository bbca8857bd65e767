"""The highest leader epoch seen, kept on disk: orders of a deposed leader are refused, restarts included."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from esdfs.datanode.volumes import Volume, write_durably
from esdfs.errors import DiskFailed, EpochFenced

FILE: Final = "EPOCH"


class EpochFence:
    """Thread-safe. Kept on every volume in service; the highest value found counts."""

    def __init__(self, volumes: list[Volume]) -> None:
        self._volumes = volumes
        self._lock = threading.Lock()
        self._deleting: list[int] = []
        self._highest = max((_read(volume.root / FILE) for volume in volumes), default=0)

    @property
    def highest(self) -> int:
        """0 = none seen."""
        return self._highest

    def admit(self, epoch: int) -> None:
        """Accept an order of ``epoch``, which is durable as the highest on return.

        Raises:
            EpochFenced: A later leader has spoken.
            DiskFailed: The epoch could not be written down; do not carry out the order.
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
        written = 0
        for volume in self._volumes:
            if not volume.failed:
                with volume.changing("writing the epoch"):
                    write_durably(volume.root / FILE, f"{epoch}\n".encode("ascii"))
                written += 1
        if not written:
            raise DiskFailed("no volume in service to write the epoch to")


def _read(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0
