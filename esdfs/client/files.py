"""Remote files as Python's file objects."""

import io
import os
import warnings
from types import TracebackType
from typing import IO, Any, Final, cast

from esdfs.blocks import MIB
from esdfs.checksum import Buffer
from esdfs.client.reader import RemoteFile
from esdfs.client.transfers import StreamFeed
from esdfs.client.values import FileStatus
from esdfs.client.writer import Upload

_WINDOW_BYTES_MIN: Final = 128 * 1024
_WINDOW_BYTES_MAX: Final = 8 * MIB


class FileReader(io.RawIOBase):
    """A seekable, read-only file. Reads ahead twice as far each time it is read on sequentially."""

    def __init__(self, remote: RemoteFile) -> None:
        super().__init__()
        self.name = remote.info.path
        self.mode = "rb"
        self._remote = remote
        self._at = 0
        self._window: bytearray = bytearray()
        self._window_at = 0
        self._window_bytes = _WINDOW_BYTES_MIN

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; past the end is allowed, reads there find nothing."""
        self._check_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._remote.size_bytes}
        if whence not in base:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence}")
        target = base[whence] + offset
        if target < 0:
            raise ValueError(f"negative position {target}")
        self._at = target
        return target

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as the file goes."""
        self._check_open()
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._at < self._remote.size_bytes:
            inside = self._at - self._window_at
            if not 0 <= inside < len(self._window):
                self._fetch(len(view) - done)
                inside = 0
            part = memoryview(self._window)[inside : inside + len(view) - done]
            view[done : done + len(part)] = part
            done += len(part)
            self._at += len(part)
        return done

    def _fetch(self, wanted: int) -> None:
        sequential = self._at == self._window_at + len(self._window)
        grown = min(2 * self._window_bytes, _WINDOW_BYTES_MAX)
        self._window_bytes = grown if sequential else _WINDOW_BYTES_MIN
        window = bytearray()
        for piece in self._remote.pieces(self._at, max(self._window_bytes, min(wanted, _WINDOW_BYTES_MAX))):
            window += piece
        self._window, self._window_at = window, self._at

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class FileWriter(io.BufferedIOBase):
    """A file being written; `close` publishes it, `abort` and an exception in its ``with`` do not.

    Attributes:
        status: What was published; None before.
    """

    def __init__(self, upload: Upload, path: str) -> None:
        super().__init__()
        self.name = path
        self.mode = "wb"
        self.status: FileStatus | None = None
        self._upload = upload
        self._feed = StreamFeed(upload)
        self._ended = False
        self._at = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The bytes written so far."""
        return self._at

    def write(self, data: Any) -> int:
        """Append. It is durable only after `close`."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        view: Buffer = memoryview(data).cast("B")
        try:
            self._feed.write(view)
        except BaseException:
            self.abort()
            raise
        self._at += len(view)
        return len(view)

    def close(self) -> None:
        """Publish the file: on return it is visible and durable. If that fails nothing is visible."""
        if not self._ended:
            self._ended = True
            try:
                self.status = self._feed.complete()
            except BaseException:
                self._upload.abort()
                raise
            finally:
                self._feed.close()
                super().close()

    def abort(self) -> None:
        """Give it up; nothing was visible."""
        if not self._ended:
            self._ended = True
            self._upload.abort()
            self._feed.close()
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            warnings.warn(f"{self.name} was neither closed nor aborted", ResourceWarning, stacklevel=2)
            self.abort()


class TextWriter(io.TextIOWrapper):
    """Text over a `FileWriter`."""

    def __init__(self, writer: FileWriter, encoding: str, newline: str | None) -> None:
        super().__init__(cast("IO[bytes]", writer), encoding=encoding, newline=newline)
        self._writer = writer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._writer.abort()
        self.close()

    def __del__(self) -> None:
        if not self._writer.closed:
            self._writer.__del__()


def for_reading(remote: RemoteFile, *, text: bool, encoding: str, newline: str | None) -> IO[Any]:
    """The file object of modes ``rb`` and ``r``."""
    buffered = io.BufferedReader(FileReader(remote), 256 * 1024)
    return io.TextIOWrapper(buffered, encoding=encoding, newline=newline) if text else buffered


def for_writing(upload: Upload, path: str, *, text: bool, encoding: str, newline: str | None) -> IO[Any]:
    """The file object of modes ``wb``, ``xb``, ``w`` and ``x``."""
    writer = FileWriter(upload, path)
    return TextWriter(writer, encoding, newline) if text else cast("IO[Any]", writer)
