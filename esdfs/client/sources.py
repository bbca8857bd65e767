"""Where the bytes of a block come from when it is written, again if need be."""

import io
import os
import tempfile
from collections.abc import Iterator
from typing import IO, Final, Protocol

from esdfs.blocks import FRAME_BYTES, MIB
from esdfs.checksum import Buffer
from esdfs.errors import InvalidRequest

_IN_MEMORY_BYTES_MAX: Final = 8 * MIB


class BlockSource(Protocol):
    """The bytes of one block; a failed pipeline makes the writer ask for them again."""

    @property
    def length_bytes(self) -> int:
        """All of them."""
        ...

    def pieces(self) -> Iterator[Buffer]:
        """From the start, 1 MiB each but for the last. A piece is valid until the next is asked for."""
        ...


class FileRange:
    """A part of a local file, read without moving its position: many threads may read one descriptor."""

    def __init__(self, descriptor: int, offset: int, length_bytes: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self.length_bytes = length_bytes

    def pieces(self) -> Iterator[Buffer]:
        """See ``BlockSource``.

        Raises:
            InvalidRequest: The file got shorter while it was read.
        """
        at, end = self._offset, self._offset + self.length_bytes
        while at < end:
            data = os.pread(self._descriptor, min(FRAME_BYTES, end - at), at)
            while len(data) < min(FRAME_BYTES, end - at):
                more = os.pread(self._descriptor, min(FRAME_BYTES, end - at) - len(data), at + len(data))
                if not more:
                    raise InvalidRequest("the local file got shorter while it was read: try again")
                data += more
            at += len(data)
            yield data


class Bytes:
    """Bytes in memory."""

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data)
        self.length_bytes = len(self._view)

    def pieces(self) -> Iterator[Buffer]:
        """See ``BlockSource``."""
        for start in range(0, self.length_bytes, FRAME_BYTES):
            yield self._view[start : start + FRAME_BYTES]


class Spool:
    """What came of a stream, kept until the block is safe: in memory, above 8 MiB in an unlinked file."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES_MAX)  # noqa: SIM115 - closed by close()
        self.length_bytes = 0

    def write(self, data: Buffer) -> None:
        """Append."""
        self._file.write(data)
        self.length_bytes += len(data)

    def pieces(self) -> Iterator[Buffer]:
        """See ``BlockSource``. One reader at a time."""
        self._file.seek(0)
        while data := self._file.read(FRAME_BYTES):
            yield data
        self._file.seek(0, io.SEEK_END)

    def close(self) -> None:
        """Forget the bytes."""
        self._file.close()
