"""Starting write-back early, so that a later fsync, of that file or another, finds little left to do."""

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from esdfs.blocks import MIB

STEP_BYTES: Final = 8 * MIB
"""Write-back is started each time so much was written."""

_SYNC_FILE_RANGE_WRITE: Final = 2
_libc = ctypes.CDLL(None, use_errno=True)
_sync_file_range = getattr(_libc, "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


def start(fd: int, offset: int, size_bytes: int) -> None:
    """Ask the kernel to start writing that part of the file (size 0 = to its end). A hint, no promise.

    Raises:
        OSError: The device failed; the data must not be trusted to reach it.
    """
    if _sync_file_range is None:  # not Linux: the final fsync does all the work
        return
    if _sync_file_range(fd, offset, size_bytes, _SYNC_FILE_RANGE_WRITE) != 0:
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.ESPIPE, errno.EINVAL):  # file systems without it
            raise OSError(code, os.strerror(code))


class InSteps:
    """Starts write-back of a file that nobody fsyncs, whoever writes it.

    Args:
        path: The file.
        writes: Each time so many were made.
    """

    def __init__(self, path: Path, writes: int) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._writes = writes
        self._left = writes

    def wrote(self) -> None:
        """A write was made. What the device says of it is left to those who rely on it."""
        self._left -= 1
        if not self._left:
            self._left = self._writes
            with suppress(OSError):
                start(self._fd, 0, 0)

    def close(self) -> None:
        """No more writes."""
        os.close(self._fd)
