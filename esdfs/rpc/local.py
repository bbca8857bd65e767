"""Reading from a DataNode on the same host: it opens and verifies the file, we read it.

Over a Unix socket the DataNode answers a request for a range with the data file's descriptor, opened for
reading, and the checksums of the chunks that cover the range; then it reads and verifies piece by piece and
says how far it has come. We never read past that, and verify each piece ourselves before anyone uses it: the
same two looks as on the network, but the bytes cross no process. The two work side by side, a piece apart.
A piece that verifies there and not here is reported: the DataNode looks again, and sets the replica aside if
it agrees.

Every message is its length (4 bytes, little endian), a kind and a body: ``R`` or ``D`` and a `BlockRequest`
ask for a range or report a doubt; ``F``, where the covering bytes lie in the file, and a `BlockData` without
data answer a request; ``O`` answers a doubt that was not shared; ``E`` and an error answer either. After an
``F`` come 4-byte counts of bytes verified in order, until the whole range is; a count of zero means that the
next piece is bad, and an ``E`` follows.
"""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

import msgspec
from msgspec.structs import replace

from esdfs.blocks import CHUNK_BYTES, FRAME_BYTES
from esdfs.compression import STORED_GROUP_BYTES_MAX
from esdfs.errors import ChecksumMismatch, DeadlineExceeded, EsdfsError, Unreachable, from_code
from esdfs.rpc import wire
from esdfs.rpc.datanode import trimmed
from esdfs.rpc.messages import BlockRequest, Frame, verify

PATH_BYTES_MAX: Final = 107
"""A longer path does not fit the address of a Unix socket."""

_LENGTH: Final = struct.Struct("<I")
_WHERE: Final = struct.Struct("<QQ")
_MESSAGE_BYTES_MAX: Final = 4 << 20
_IDLE_MAX: Final = 4


class Opened(NamedTuple):
    """A range that may be read from a file.

    Attributes:
        frame: Says all about the block; its offset is the logical one of the first covering byte, its
            checksums are those of all covering chunks, it has no data.
        stored_at: Where the covering bytes begin in the file.
        stored_bytes: How many they are.
    """

    frame: Frame
    stored_at: int
    stored_bytes: int


class _Failure(msgspec.Struct):
    code: str
    message: str
    details: dict[str, str | int | list[str]] = {}


def request_message(kind: bytes, request: BlockRequest) -> bytes:
    """Asks for a range (``R``) or reports a doubt about it (``D``)."""
    return _framed(kind + wire.encode_request(request))


def opened_message(opened: Opened) -> bytes:
    """Answers a request; the descriptor goes along."""
    return _framed(
        b"F" + _WHERE.pack(opened.stored_at, opened.stored_bytes) + wire.encode_frame(opened.frame)
    )


def fine_message() -> bytes:
    """Answers a doubt: the replica verifies here."""
    return _framed(b"O")


def verified_count(size_bytes: int) -> bytes:
    """Says that so many more bytes of the range verify; 0 = the next piece does not."""
    return _LENGTH.pack(size_bytes)


def error_message(error: EsdfsError) -> bytes:
    """Answers anything."""
    return _framed(b"E" + msgspec.json.encode(_Failure(error.code, error.message, error.details)))


def _framed(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One message and the descriptors that came with it; empty at the connection's end.

    Raises:
        OSError: The connection broke, or what came is no message.
    """
    raw, fds, _, _ = socket.recv_fds(connection, 65536, 1)
    try:
        while raw and (len(raw) < 4 or len(raw) < 4 + _length(raw)):
            more = connection.recv(1 << 20)
            if not more:
                raise ConnectionError("the connection ended within a message")
            raw += more
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return raw[4:], fds


def _length(raw: bytes) -> int:
    (length,) = _LENGTH.unpack_from(raw)
    if not 0 < length <= _MESSAGE_BYTES_MAX:
        raise ConnectionError(f"a message of {length} bytes")
    return int(length)


class LocalReader:
    """One connection to a DataNode of this host; for one thread at a time.

    Raises:
        Unreachable: Nobody listens at ``path``.
    """

    def __init__(self, path: str, timeout_s: float) -> None:
        self.broken = False
        self._path = path
        self._buffer = memoryview(bytearray(STORED_GROUP_BYTES_MAX))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unreachable(f"{path}: {error}") from error

    def retrieve(self, request: BlockRequest, timeout_s: float) -> Iterator[Frame]:
        """As `esdfs.rpc.datanode.retrieve`. A frame's data is valid until the next is asked for."""
        body, fds = self._ask(b"R", request, timeout_s)
        try:
            if body[:1] != b"F" or len(fds) != 1:
                self.broken = True
                raise Unreachable(f"{self._path}: not a DataNode of this release")
            where = _WHERE.unpack_from(body, 1)
            opened = Opened(wire.decode_frame(body[1 + _WHERE.size :]), *where)
            # Until the last count is read, the connection is of no use to anyone else.
            self.broken = opened.stored_bytes > 0
            ahead = 0
            left = opened.stored_bytes
            for frame, stored_at in pieces(opened):
                while ahead < frame.total_size:
                    counted = self._verified(timeout_s)
                    ahead += counted
                    left -= counted
                self.broken = left > 0
                ahead -= frame.total_size
                yield self._read(request, fds[0], frame, stored_at, timeout_s)
        finally:
            for fd in fds:
                os.close(fd)

    def _verified(self, timeout_s: float) -> int:
        """How many more bytes the DataNode has verified."""
        try:
            raw = b""
            while len(raw) < _LENGTH.size:
                more = self._socket.recv(_LENGTH.size - len(raw))
                if not more:
                    raise Unreachable(f"{self._path}: the DataNode ended the connection")
                raw += more
            (counted,) = _LENGTH.unpack(raw)
            if counted:
                return int(counted)
            body, _ = receive(self._socket)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._path}: no answer in {timeout_s} s") from error
        except OSError as error:
            raise Unreachable(f"{self._path}: {error}") from error
        raise _error_in(body)

    def _read(self, request: BlockRequest, fd: int, piece: Frame, stored_at: int, timeout_s: float) -> Frame:
        data = self._buffer[: piece.total_size]
        done = 0
        while done < len(data):
            try:
                count = os.preadv(fd, [data[done:]], stored_at + done)
            except OSError:
                count = 0  # unreadable: the DataNode shall look
            if count == 0:
                self._doubt(request, timeout_s)
            done += count
        frame = replace(piece, data=data, total_size=0)
        try:
            verify(frame)
        except ChecksumMismatch:
            self._doubt(request, timeout_s)
        return frame

    def _doubt(self, request: BlockRequest, timeout_s: float) -> None:
        """Let the DataNode look at what we cannot use. Always raises."""
        self._ask(b"D", request, timeout_s)
        raise ChecksumMismatch(f"block {request.block_id}: it verifies at its DataNode only: try another")

    def _ask(self, kind: bytes, request: BlockRequest, timeout_s: float) -> tuple[bytes, list[int]]:
        if self.broken:
            raise Unreachable(f"{self._path}: the connection broke")
        self.broken = True
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(request_message(kind, request))
            body, fds = receive(self._socket)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._path}: no answer in {timeout_s} s") from error
        except OSError as error:
            raise Unreachable(f"{self._path}: {error}") from error
        if not body:
            raise Unreachable(f"{self._path}: the DataNode ended the connection")
        self.broken = False
        if body[:1] == b"E":
            raise _error_in(body)
        return body, fds

    def read_range(
        self, request: BlockRequest, *, timeout_s: float, size: int | None = None
    ) -> Iterator[memoryview]:
        """As `esdfs.rpc.datanode.read_range`; ``timeout_s`` is for each answer."""
        return trimmed(self.retrieve(request, timeout_s), request, size)

    def close(self) -> None:
        """Idempotent."""
        self.broken = True
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _error_in(body: bytes) -> EsdfsError:
    failure = msgspec.json.decode(body[1:], type=_Failure)
    return from_code(failure.code, failure.message, failure.details)


def pieces(opened: Opened) -> Iterator[tuple[Frame, int]]:
    """What to read, in order: a frame without data whose ``total_size`` is how much, and where from. Pure."""
    whole = opened.frame
    compression = whole.compression
    if compression is None:
        whole_mib, rest = divmod(opened.stored_bytes, FRAME_BYTES)
        sizes = [FRAME_BYTES] * whole_mib + [rest] * (rest > 0)
        step = FRAME_BYTES
    else:
        first = whole.offset // compression.group_bytes
        sizes, left = [], opened.stored_bytes
        for size in compression.stored_bytes[first:]:
            if left <= 0:
                break
            sizes.append(size)
            left -= size
        step = compression.group_bytes
    logical_at, stored_at, chunk_at = whole.offset, opened.stored_at, 0
    for number, size in enumerate(sizes):
        chunks = -(-size // CHUNK_BYTES)
        last = number == len(sizes) - 1
        frame = Frame(
            block_id=whole.block_id,
            offset=logical_at,
            chunk_crcs=whole.chunk_crcs[chunk_at : chunk_at + chunks],
            total_size=size,
            compressed=compression is not None,
            compression=compression if number == 0 else None,
            generation=whole.generation,
            last=last,
            crc32c=whole.crc32c if last else 0,
        )
        yield frame, stored_at
        logical_at += step
        stored_at += size
        chunk_at += chunks


class LocalReaders:
    """Connections kept for the next read, by socket path. Thread-safe. Make it after any fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, list[LocalReader]] = {}
        self._closed = False

    def read_range(
        self, path: str, request: BlockRequest, *, timeout_s: float, size: int | None = None
    ) -> Iterator[memoryview]:
        """As `esdfs.rpc.datanode.read_range`, through the socket at ``path``.

        Raises:
            Unreachable: Nobody there: read over gRPC.
            EsdfsError: As `esdfs.rpc.datanode.read_range`.
        """
        with self._lock:
            idle = self._idle.get(path)
            reader = idle.pop() if idle else None
        kept = reader is not None
        reader = reader or LocalReader(path, timeout_s)
        try:
            pieces = reader.read_range(request, timeout_s=timeout_s, size=size)
            try:
                first = next(pieces, None)
            except Unreachable:
                if not kept:
                    raise
                # A kept connection may be to a process that has been restarted since.
                reader.close()
                reader = LocalReader(path, timeout_s)
                pieces = reader.read_range(request, timeout_s=timeout_s, size=size)
                first = next(pieces, None)
            if first is not None:
                yield first
                yield from pieces
        finally:
            self._back(path, reader)

    def _back(self, path: str, reader: LocalReader) -> None:
        with self._lock:
            idle = self._idle.setdefault(path, [])
            if not reader.broken and not self._closed and len(idle) < _IDLE_MAX:
                idle.append(reader)
                return
        reader.close()

    def close(self) -> None:
        """Close the idle ones; those in use are closed when they come back."""
        with self._lock:
            self._closed = True
            readers = [reader for idle in self._idle.values() for reader in idle]
            self._idle.clear()
        for reader in readers:
            reader.close()
