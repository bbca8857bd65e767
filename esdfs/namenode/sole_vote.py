"""Whether this NameNode has the only vote, told by its engine to the REST workers through shared memory.

While it is so, nobody else can have acknowledged anything: the projection shows all there is, and reads need
not ask the engine. One byte of a mapped file; it dies with the engine, as the workers do.
"""

import mmap
import os
from pathlib import Path
from typing import Final

from esdfs.errors import Unavailable

_FILE: Final = "sole_vote"
_NO, _YES = b"\0", b"\1"


class SoleVote:
    """The engine's side. "No" from its start on, whatever an engine before it left.

    Raises:
        Unavailable: The file cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        try:
            # In place: a worker of the engine before, about to die, must see it too.
            fd = os.open(directory / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, _NO, 0)
                self._byte = mmap.mmap(fd, 1)
            finally:
                os.close(fd)
        except OSError as error:
            raise Unavailable(f"{directory / _FILE} cannot be made: {error.strerror}") from error
        self._is_sole = False

    def tell(self, is_sole: bool) -> None:
        """Workers know on return. "No" must be told before a second voter can hear of its vote."""
        if is_sole is not self._is_sole:
            self._is_sole = is_sole
            self._byte[0:1] = _YES if is_sole else _NO

    def close(self) -> None:
        """Tell "no" and let go."""
        self.tell(False)
        self._byte.close()


class SoleVoteReader:
    """A worker's side.

    Raises:
        Unavailable: No engine ever ran there.
    """

    def __init__(self, directory: Path) -> None:
        try:
            fd = os.open(directory / _FILE, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._byte = mmap.mmap(fd, 1, access=mmap.ACCESS_READ)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            raise Unavailable(
                f"{directory / _FILE} cannot be read: start the NameNode, not its REST"
            ) from error

    def is_sole(self) -> bool:
        """Whether the projection shows everything that anybody ever acknowledged."""
        return self._byte[0] == 1

    def close(self) -> None:
        """Let go."""
        self._byte.close()
