"""The checkpoint file, byte by byte. Pure: bytes in, bytes out.

The same state makes the same bytes on every node: tables in their fixed order, pairs in key order, cut into
groups of 1 MiB wherever that falls. Big-endian::

    8   magic, ``ESDFCK01``
    4   length of the header; 4  its CRC32C; the header (msgpack of ``ImageHeader``)
    then groups (``journal.groups``), tagged with the table's index in ``layout.TABLES``

The groups of one table, put together, are its pairs: 4 length of the key, 4 length of the value, key, value.
The last group, tagged 255, holds the msgpack of ``ImageTrailer``. The SHA-256 of the whole file
is its name among nodes.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from esdfs.checksum import crc32c
from esdfs.errors import CheckpointDamaged, ChecksumMismatch, NewerRelease
from esdfs.journal.groups import GroupBuffer, SeekableSource, Source, pack_group, skip_to, unpack_group
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.digest import StateDigest

FORMAT: Final = 1
MAGIC: Final = b"ESDFCK01"

_PREFIX: Final = Struct(">8sII")
_PAIR: Final = Struct(">II")
_END: Final = 255
_HEADER_BYTES_MAX: Final = 1 << 20

Pairs = Iterator[tuple[bytes, bytes]]


class VoterOf(NamedTuple):
    """A voter as ``ImageHeader`` names it."""

    node_id: str
    storage_id: str
    kind: str
    endpoint: str


class ImageHeader(msgspec.Struct, frozen=True, array_like=True):
    """What the image is of. Nothing here differs between nodes that applied the same records.

    Attributes:
        layout_format: Of the tables; a node with another layout can keep the file, but not read it.
        feature_level: Of the cluster: who reads only lower ones may not go on from here.
        txid, epoch, chain, ts_us: Of the last record in it.
        voters: In force at ``txid``, written at ``voters_txid``; none in a cluster of one.
    """

    format: int
    layout_format: int
    feature_level: int
    cluster_id: str
    txid: int
    epoch: int
    chain: bytes
    ts_us: int
    voters_txid: int = 0
    voters: tuple[VoterOf, ...] = ()


class ImageTrailer(msgspec.Struct, frozen=True, array_like=True):
    """What must have been read when the end is reached.

    Attributes:
        counts: Pairs per table, in the order of ``layout.TABLES``.
        state_digest: As ``projection.digest`` tells it for the same state.
    """

    counts: tuple[int, ...]
    state_digest: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_header: Final = msgspec.msgpack.Decoder(ImageHeader).decode
_trailer: Final = msgspec.msgpack.Decoder(ImageTrailer).decode


def encode(header: ImageHeader, tables: Iterable[tuple[bytes, Pairs]]) -> Iterator[bytes]:
    """The file in pieces; ``tables`` are all of ``layout.TABLES``, in order.

    The last piece holds the trailer (``state_digest_of`` tells its digest).
    """
    packed = _encode(header)
    yield _PREFIX.pack(MAGIC, len(packed), crc32c(packed)) + packed
    digest = StateDigest()
    counts = []
    for index, (name, pairs) in enumerate(tables):
        assert name == layout.TABLES[index], f"{name!r} is not table {index}"
        digest.table(name)
        count = 0
        groups = GroupBuffer(index)
        for key, value in pairs:
            count += 1
            packed_pair = _PAIR.pack(len(key), len(value)) + key + value
            digest.pair(name, key, value, packed_pair)
            yield from groups.add(packed_pair)
        yield from groups.rest()
        counts.append(count)
    yield pack_group(_END, _encode(ImageTrailer(tuple(counts), digest.value()[1])))


def state_digest_of(last_piece: bytes) -> bytes:
    """The digest in the last piece that ``encode`` made."""
    return _trailer(unpack_group(BytesIO(last_piece))[1]).state_digest


def read_header(source: Source) -> ImageHeader:
    """What a file is of; ``source`` then stands before its first frame.

    Raises:
        CheckpointDamaged: Not a checkpoint file, or its header is damaged.
        NewerRelease: Of a format this program does not know.
    """
    prefix = source.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        raise CheckpointDamaged("a checkpoint file is cut short in its first bytes")
    magic, length, crc = _PREFIX.unpack(prefix)
    if magic != MAGIC or length > _HEADER_BYTES_MAX:
        raise CheckpointDamaged("this is not a checkpoint file")
    packed = source.read(length)
    if len(packed) < length or crc32c(packed) != crc:
        raise CheckpointDamaged("the header of a checkpoint file is damaged")
    try:
        header = _header(packed)
    except msgspec.DecodeError as error:
        raise CheckpointDamaged(f"the header of a checkpoint file does not decode: {error}") from error
    if header.format > FORMAT:
        raise NewerRelease(f"a checkpoint has format {header.format}, newer than this program: upgrade it")
    return header


def read_trailer(source: SeekableSource) -> ImageTrailer:
    """What the end of a file says, when ``source`` stands before its first frame. Skips what lies between.

    Raises:
        CheckpointDamaged: There is no such end.
    """
    try:
        skip_to(source, _END)
    except ChecksumMismatch as error:
        raise CheckpointDamaged(f"a checkpoint file is damaged: {error.message}") from error
    return _trailer(_next_group(source)[1])


def _next_group(source: Source) -> tuple[int, bytes]:
    try:
        return unpack_group(source)
    except ChecksumMismatch as error:
        raise CheckpointDamaged(f"a checkpoint file is damaged: {error.message}") from error


def require_layout(header: ImageHeader) -> None:
    """Whether this program knows the tables of a file.

    Raises:
        NewerRelease: It does not.
    """
    if header.layout_format != layout.FORMAT:
        raise NewerRelease(
            f"the checkpoint at txid {header.txid} has tables of layout {header.layout_format}, this program"
            f" reads layout {layout.FORMAT}: run the same release on every NameNode"
        )


class Reader:
    """The tables of a file whose header was read, in order.

    Attributes:
        trailer: Known once everything was read.
    """

    def __init__(self, header: ImageHeader, source: Source) -> None:
        require_layout(header)
        self._source = source
        self._next = _next_group(self._source)
        self._digest = StateDigest()
        self._counts: list[int] = []
        self.trailer: ImageTrailer | None = None

    def tables(self) -> Iterator[tuple[bytes, Pairs]]:
        """(name, its pairs in key order); each to be exhausted before the next one is asked for.

        Raises:
            CheckpointDamaged: Something is not as it was written. Whatever came before must be forgotten.
        """
        for index, name in enumerate(layout.TABLES):
            self._digest.table(name)
            yield name, self._pairs(index, name)
            assert len(self._counts) == index + 1, f"table {name!r} was not read to its end"
        table, group = self._next
        if table != _END:
            raise CheckpointDamaged(f"a checkpoint file has a group of table {table} out of order")
        self.trailer = _trailer(group)
        if self.trailer != ImageTrailer(tuple(self._counts), self._digest.value()[1]):
            raise CheckpointDamaged("a checkpoint file does not hold what its end says")

    def _pairs(self, index: int, name: bytes) -> Pairs:
        count = 0
        rest = b""
        while self._next[0] == index:
            data = rest + self._next[1]
            at = 0
            while at + _PAIR.size <= len(data):
                key_bytes, value_bytes = _PAIR.unpack_from(data, at)
                end = at + _PAIR.size + key_bytes + value_bytes
                if end > len(data):
                    break
                start = at + _PAIR.size
                key, value = data[start : start + key_bytes], data[start + key_bytes : end]
                self._digest.pair(name, key, value, data[at:end])
                yield key, value
                count += 1
                at = end
            rest = data[at:]
            self._next = _next_group(self._source)
        if rest:
            raise CheckpointDamaged(f"a checkpoint file ends within a pair of table {name.decode()}")
        self._counts.append(count)
