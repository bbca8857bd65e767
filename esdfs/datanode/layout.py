"""Names and bytes on a volume, format 1. Pure.

    VERSION                            whose volume this is (`volumes`)
    current/xx/yy/ID_GEN.data, .meta   finalized replicas; xx, yy = two bytes of the block id
    tmp/ID_GEN.data, .meta             being written
    corrupt/ID_GEN_WHEN.data, .meta    set aside
    trash/ID_GEN_WHEN.data, .meta      deleted at WHEN (microseconds since the epoch)

A name is made from integers only, so no peer can choose a path. 256 consecutive blocks share a directory:
the blocks of one stream mostly need one directory flush.

The meta file, little endian:

    0   8   magic "ESDFSMET"
    8   2   format version, 1
    10  2   codec: 0 none, 1 brotli
    12  4   chunk size
    16  8   block id
    24  8   generation
    32  8   logical length
    40  8   stored length
    48  4   CRC32C of the logical bytes
    52  4   number of chunks, n
    56  4   number of compression groups, g (0 unless compressed)
    60  4   logical bytes per group
    64  4   CRC32C of bytes 0 to 63
    68  4n  CRC32C of each stored chunk; chunks start anew at each group
        4g  stored size of each group
        4   CRC32C of all before it
"""

import re
import struct
from typing import Final, NamedTuple

from esdfs.blocks import BLOCK_BYTES_MAX, CHUNK_BYTES
from esdfs.checksum import Buffer, crc32c
from esdfs.compression import CODEC, GROUP_BYTES, STORED_GROUP_BYTES_MAX
from esdfs.datanode.replica import ReplicaState
from esdfs.errors import NewerRelease, ReplicaCorrupt
from esdfs.rpc.messages import Compression

FORMAT_VERSION: Final = 1
VERSION_FILE: Final = "VERSION"
FAILED_FILE: Final = "FAILED"
LOCK_FILE: Final = "in_use.lock"

_MAGIC: Final = b"ESDFSMET"
_HEADER: Final = struct.Struct("<8sHHIQQQQIIIII")
HEADER_BYTES: Final = _HEADER.size
_CODECS: Final = {0: "", 1: CODEC}

_NAME: Final = re.compile(r"([1-9]\d{0,19})_(\d{1,20})(?:_(\d{1,20}))?\.(data|meta)")


class Name(NamedTuple):
    """A parsed file name. ``when_us`` is 0 except in ``corrupt`` and ``trash``."""

    block_id: int
    generation: int
    when_us: int
    suffix: str


def stem(block_id: int, generation: int, when_us: int = 0) -> str:
    """A file name without its suffix."""
    return f"{block_id}_{generation}_{when_us}" if when_us else f"{block_id}_{generation}"


def parse_name(text: str) -> Name | None:
    """The parts of a file name; None when it is not one of ours."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    block_id, generation, when, suffix = match.groups()
    return Name(int(block_id), int(generation), int(when or 0), suffix)


def directory(block_id: int) -> str:
    """Where a finalized replica lives, relative to its volume."""
    return f"{ReplicaState.FINALIZED.value}/{block_id >> 16 & 0xFF:02x}/{block_id >> 8 & 0xFF:02x}"


class Meta(NamedTuple):
    """What a meta file says about its data file.

    Attributes:
        crc32c: Of the logical bytes.
        chunk_crcs: Of the stored bytes. Empty when only the header was read.
        group_stored_bytes: Stored size of each compression group; empty unless compressed.
    """

    block_id: int
    generation: int
    length_bytes: int
    stored_bytes: int
    crc32c: int
    codec: str = ""
    group_bytes: int = 0
    chunk_crcs: tuple[int, ...] = ()
    group_stored_bytes: tuple[int, ...] = ()

    @property
    def compression(self) -> Compression | None:
        """As the data channel says it; None when stored plainly."""
        if not self.codec:
            return None
        return Compression(
            self.codec, self.group_bytes, self.group_stored_bytes, self.length_bytes, self.crc32c
        )

    def extents(self) -> list["Extent"]:
        """How the stored bytes are cut: the groups when compressed, else frames of 1 MiB."""
        sizes = self.group_stored_bytes
        if not self.codec:
            whole, rest = divmod(self.stored_bytes, GROUP_BYTES)
            sizes = (GROUP_BYTES,) * whole + ((rest,) if rest else ())
        found, stored_at, chunk_at = [], 0, 0
        for index, size in enumerate(sizes):
            chunks = chunks_in(size)
            found.append(Extent(index * GROUP_BYTES, stored_at, size, chunk_at, chunks))
            stored_at += size
            chunk_at += chunks
        return found


class Extent(NamedTuple):
    """A run of stored bytes with its chunks, read and verified together."""

    logical_at: int
    stored_at: int
    stored_bytes: int
    chunk_at: int
    chunks: int


def chunks_in(stored_bytes: int) -> int:
    """How many chunks cover so many bytes."""
    return -(-stored_bytes // CHUNK_BYTES)


def encode_meta(meta: Meta) -> bytes:
    """The whole meta file."""
    codec = next(number for number, name in _CODECS.items() if name == meta.codec)
    fields = (
        *(_MAGIC, FORMAT_VERSION, codec, CHUNK_BYTES, meta.block_id, meta.generation),
        *(meta.length_bytes, meta.stored_bytes, meta.crc32c, len(meta.chunk_crcs)),
        *(len(meta.group_stored_bytes), meta.group_bytes),
    )
    header = bytearray(_HEADER.pack(*fields, 0))
    struct.pack_into("<I", header, 64, crc32c(bytes(header[:64])))
    tables = struct.pack(
        f"<{len(meta.chunk_crcs)}I{len(meta.group_stored_bytes)}I", *meta.chunk_crcs, *meta.group_stored_bytes
    )
    body = bytes(header) + tables
    return body + struct.pack("<I", crc32c(body))


def decode_header(raw: Buffer, block_id: int, generation: int) -> Meta:
    """The meta file's first ``HEADER_BYTES``, held against the name it was found under; tables left empty.

    Raises:
        ReplicaCorrupt: Damaged, or another replica's.
        NewerRelease: Written by a later format.
    """
    return _decode_header(raw, block_id, generation)[0]


def _decode_header(raw: Buffer, block_id: int, generation: int) -> tuple[Meta, int, int]:
    where = f"meta of block {block_id} generation {generation}"
    if len(raw) < HEADER_BYTES:
        raise ReplicaCorrupt(f"{where}: cut short at {len(raw)} bytes")
    magic, version, codec, chunk_bytes, *rest, header_crc = _HEADER.unpack_from(raw)
    found_id, found_generation, length, stored, crc, chunks, groups, group_bytes = rest
    if crc32c(memoryview(raw)[:64]) != header_crc or magic != _MAGIC:
        raise ReplicaCorrupt(f"{where}: its header does not verify")
    if version != FORMAT_VERSION or codec not in _CODECS or chunk_bytes != CHUNK_BYTES:
        raise NewerRelease(
            f"{where}: format {version}, codec {codec}, chunks of {chunk_bytes}: upgrade esdfs"
        )
    if (found_id, found_generation) != (block_id, generation):
        raise ReplicaCorrupt(f"{where}: it belongs to block {found_id} generation {found_generation}")
    meta = Meta(found_id, found_generation, length, stored, crc, _CODECS[codec], group_bytes)
    return meta, chunks, groups


def decode_meta(raw: bytes, block_id: int, generation: int) -> Meta:
    """A whole meta file, held against the name it was found under.

    Raises:
        ReplicaCorrupt: Damaged, contradictory, or another replica's.
        NewerRelease: Written by a later format.
    """
    meta, chunks, groups = _decode_header(raw, block_id, generation)
    where = f"meta of block {block_id} generation {generation}"
    if len(raw) != HEADER_BYTES + 4 * (chunks + groups) + 4:
        raise ReplicaCorrupt(f"{where}: {len(raw)} bytes long")
    (own_crc,) = struct.unpack_from("<I", raw, len(raw) - 4)
    if crc32c(memoryview(raw)[:-4]) != own_crc:
        raise ReplicaCorrupt(f"{where}: its tables do not verify")
    numbers = struct.unpack_from(f"<{chunks + groups}I", raw, HEADER_BYTES)
    meta = meta._replace(chunk_crcs=numbers[:chunks], group_stored_bytes=numbers[chunks:])
    problem = contradiction(meta)
    if problem:
        raise ReplicaCorrupt(f"{where}: {problem}")
    return meta


def contradiction(meta: Meta) -> str:
    """What is wrong with these numbers together; empty when nothing is. Also for what peers claim."""
    if not 0 <= meta.length_bytes <= BLOCK_BYTES_MAX:
        return f"a logical length of {meta.length_bytes} bytes"
    if not meta.codec:
        if meta.stored_bytes != meta.length_bytes or meta.group_stored_bytes:
            return f"{meta.stored_bytes} stored bytes of {meta.length_bytes}, uncompressed"
        if len(meta.chunk_crcs) != chunks_in(meta.stored_bytes):
            return f"{len(meta.chunk_crcs)} chunks for {meta.stored_bytes} bytes"
        return ""
    groups = meta.group_stored_bytes
    if meta.codec != CODEC or meta.group_bytes != GROUP_BYTES:
        return f"codec {meta.codec!r} with groups of {meta.group_bytes} bytes"
    if len(groups) != -(-meta.length_bytes // GROUP_BYTES):
        return f"{len(groups)} groups for {meta.length_bytes} bytes"
    if any(not 0 < size <= STORED_GROUP_BYTES_MAX for size in groups) or sum(groups) != meta.stored_bytes:
        return f"groups of together {sum(groups)} bytes, {meta.stored_bytes} stored"
    if len(meta.chunk_crcs) != sum(map(chunks_in, groups)):
        return f"{len(meta.chunk_crcs)} chunks for its groups"
    return ""
