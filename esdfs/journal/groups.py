"""Long files as a head and groups of at most 1 MiB, each checked alone, some compressed. Pure.

A head (big-endian)::

    8   magic: which kind of file
    4   length of the header; 4  its CRC32C; the header

A group (big-endian)::

    1   its tag, whatever the file means by it
    1   1 = compressed, 0 = as it is
    4   bytes; 4  bytes as stored; 4  CRC32C as stored
    the group as stored
"""

from collections.abc import Iterator
from hashlib import sha256
from struct import Struct
from typing import Final, Protocol

from esdfs.checksum import crc32c
from esdfs.compression import GROUP_BYTES, compress_group, decompress_group
from esdfs.errors import ChecksumMismatch

_FIRST: Final = Struct(">8sII")
_HEAD: Final = Struct(">BBIII")
_HEADER_BYTES_MAX: Final = 1 << 16


class Source(Protocol):
    """Where the bytes of a file come from."""

    def read(self, size: int, /) -> bytes:
        """Exactly ``size`` bytes, or fewer at the end."""
        ...


class SeekableSource(Source, Protocol):
    """One that can skip."""

    def seek(self, offset: int, /) -> int:
        """Go on at ``offset``."""
        ...

    def tell(self) -> int:
        """Where it is."""
        ...


def pack_head(magic: bytes, header: bytes) -> bytes:
    """How a file begins."""
    return _FIRST.pack(magic, len(header), crc32c(header)) + header


def unpack_head(source: Source, magic: bytes) -> bytes:
    """The header of a file of this kind.

    Raises:
        ChecksumMismatch: It is not of this kind, or damaged.
    """
    first = source.read(_FIRST.size)
    found, length, crc = _FIRST.unpack(first) if len(first) == _FIRST.size else (b"", 0, 0)
    if found != magic or length > _HEADER_BYTES_MAX:
        raise ChecksumMismatch("it does not begin as such a file does")
    header = source.read(length)
    if crc32c(header) != crc:
        raise ChecksumMismatch("its header is damaged")
    return header


class HashingSource:
    """A source whose bytes are summed (SHA-256) as they are read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.total = sha256()

    def read(self, size: int, /) -> bytes:
        """See ``Source.read``."""
        data = self._source.read(size)
        self.total.update(data)
        return data


def pack_group(tag: int, data: bytes) -> bytes:
    """One group, as it stands in a file."""
    compressed = compress_group(data)
    stored, packed = (compressed, 1) if len(compressed) < len(data) else (data, 0)
    return _HEAD.pack(tag, packed, len(data), len(stored), crc32c(stored)) + stored


def unpack_group(source: Source) -> tuple[int, bytes]:
    """(tag, bytes) of the next group.

    Raises:
        ChecksumMismatch: It is not as it was written, or cut short.
    """
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise ChecksumMismatch("the file is cut short")
    tag, packed, size, stored_bytes, crc = _HEAD.unpack(head)
    if size > GROUP_BYTES or stored_bytes > GROUP_BYTES or packed > 1:
        raise ChecksumMismatch("a group of the file has an impossible size")
    stored = source.read(stored_bytes)
    if len(stored) < stored_bytes or crc32c(stored) != crc or (not packed and size != stored_bytes):
        raise ChecksumMismatch("a group of the file does not match its checksum")
    return tag, decompress_group(stored, size) if packed else stored


def skip_to(source: SeekableSource, tag: int) -> None:
    """Stand before the first group with ``tag``, without reading those before it.

    Raises:
        ChecksumMismatch: There is none.
    """
    while True:
        at = source.tell()
        head = source.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise ChecksumMismatch("the file is cut short")
        found, _, _, stored_bytes, _ = _HEAD.unpack(head)
        if found == tag:
            source.seek(at)
            return
        source.seek(at + _HEAD.size + stored_bytes)


class GroupBuffer:
    """Cuts a stream of bytes into groups, wherever that falls."""

    def __init__(self, tag: int) -> None:
        self._tag = tag
        self._bytes = bytearray()

    def add(self, data: bytes) -> Iterator[bytes]:
        """Append ``data``; yields the groups that are full."""
        self._bytes += data
        while len(self._bytes) >= GROUP_BYTES:
            yield pack_group(self._tag, bytes(self._bytes[:GROUP_BYTES]))
            del self._bytes[:GROUP_BYTES]

    def rest(self) -> Iterator[bytes]:
        """The last, shorter group, if there is one."""
        if self._bytes:
            yield pack_group(self._tag, bytes(self._bytes))
            self._bytes.clear()
