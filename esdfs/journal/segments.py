"""Archive segments: records that left the journal's database, sealed in files. Pure: rows in, bytes out.

``seg-FIRST-LAST`` (txids, inclusive). Big-endian::

    8   magic, ``ESDFSG01``
    4   length of the header; 4  its CRC32C; the header (msgpack of ``SegmentHeader``)
    then groups (``groups``) tagged 1, which put together are the records in order, each
        4   length; msgpack of the columns of ``Entry``
    a group tagged 255 with the chain value of the last record
    32  SHA-256 of all before

With the chain value before it in its header, a segment is proven by itself; that it follows on from the one
before is that one's last chain value.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Any, Final

import msgspec

from esdfs.errors import ChecksumMismatch, JournalCorrupt, NewerRelease
from esdfs.ids import Txid
from esdfs.journal.chain import verify_rows
from esdfs.journal.entry import Base, Entry
from esdfs.journal.groups import (
    GroupBuffer,
    HashingSource,
    Source,
    pack_group,
    pack_head,
    unpack_group,
    unpack_head,
)

FORMAT: Final = 1
MAGIC: Final = b"ESDFSG01"

_LENGTH: Final = Struct(">I")
_RECORDS, _END = 1, 255
_PAGE_RECORDS: Final = 1000

Row = tuple[Any, ...]


class SegmentHeader(msgspec.Struct, frozen=True, array_like=True):
    """What a segment holds: ``first_txid`` to ``last_txid``, after a record with ``before_chain``."""

    format: int
    cluster_id: str
    first_txid: int
    last_txid: int
    before_epoch: int
    before_chain: bytes
    before_ts_us: int


_encode: Final = msgspec.msgpack.Encoder().encode
_row: Final = msgspec.msgpack.Decoder(tuple[int, int, int, int, int, bytes, int, str, str, bytes, int, bytes])
_header: Final = msgspec.msgpack.Decoder(SegmentHeader)


def encode(cluster_id: str, base: Base, last: Txid, pages: Iterable[Sequence[Row]]) -> Iterator[bytes]:
    """The file in pieces. ``pages`` hold the records after ``base`` up to ``last``; they are verified.

    Raises:
        JournalCorrupt: For the first record that is not the one that was sealed, or is missing. What was
            yielded before must be thrown away.
    """
    total = hashlib.sha256()
    header = _encode(
        SegmentHeader(FORMAT, cluster_id, base.last_txid + 1, last, base.epoch, base.chain, base.ts_us)
    )
    piece = pack_head(MAGIC, header)
    total.update(piece)
    yield piece
    chain, txid = base.chain, base.last_txid
    groups = GroupBuffer(_RECORDS)
    for page in pages:
        chain = verify_rows(chain, txid, page)
        txid = Txid(txid + len(page))
        for piece in groups.add(join_rows(page)):
            total.update(piece)
            yield piece
    if txid != last:
        raise JournalCorrupt(f"journal record {txid + 1}: missing", txid=txid + 1, damage="gap")
    for piece in (*groups.rest(), pack_group(_END, chain)):
        total.update(piece)
        yield piece
    yield total.digest()


def read_header(source: Source) -> SegmentHeader:
    """What a segment holds; ``source`` then stands before its records.

    Raises:
        JournalCorrupt: Not a segment.
        NewerRelease: Of a format this program does not know.
    """
    return _read_header(HashingSource(source))


def read(source: Source) -> Iterator[list[Entry]]:
    """The records in order, proven, in pages.

    Raises:
        JournalCorrupt: Something is not as it was written. What was yielded before is proven.
        NewerRelease: See ``read_header``.
    """
    hashing = HashingSource(source)
    header = _read_header(hashing)
    chain, txid, rest = header.before_chain, Txid(header.first_txid - 1), b""
    try:
        while True:
            tag, data = unpack_group(hashing)
            if tag == _END:
                break
            rows, rest = split_rows(rest + data)
            for start in range(0, len(rows), _PAGE_RECORDS):
                page = rows[start : start + _PAGE_RECORDS]
                chain = verify_rows(chain, txid, page)
                txid = Txid(txid + len(page))
                yield [Entry(*row) for row in page]
    except ChecksumMismatch as error:
        raise _damaged(txid, f"the segment is damaged after it: {error.message}") from error
    sha256 = hashing.total.digest()
    if rest or txid != header.last_txid or data != chain or source.read(32) != sha256:
        raise _damaged(txid, "the segment does not end as it says")


def join_rows(rows: Sequence[Row]) -> bytes:
    """Rows as they stand in the groups of records."""
    pieces = []
    for row in rows:
        packed = _encode(tuple(row))
        pieces += [_LENGTH.pack(len(packed)), packed]
    return b"".join(pieces)


def split_rows(data: bytes) -> tuple[list[Row], bytes]:
    """The whole rows in ``data``, and what begins the next one.

    Raises:
        ChecksumMismatch: One does not decode.
    """
    rows: list[Row] = []
    at = 0
    while at + _LENGTH.size <= len(data):
        end = at + _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
        if end > len(data):
            break
        try:
            rows.append(_row.decode(data[at + _LENGTH.size : end]))
        except msgspec.DecodeError as error:
            raise ChecksumMismatch(f"a record does not decode: {error}") from error
        at = end
    return rows, data[at:]


def _read_header(source: Source) -> SegmentHeader:
    try:
        header = _header.decode(unpack_head(source, MAGIC))
    except (ChecksumMismatch, msgspec.DecodeError) as error:
        raise _damaged(
            Txid(0), f"this is not a segment of a journal, or its beginning is damaged: {error}"
        ) from error
    if header.format > FORMAT:
        raise NewerRelease(
            f"this is a segment of a journal of format {header.format}, newer than this program: upgrade it"
        )
    return header


def _damaged(txid: Txid, what: str) -> JournalCorrupt:
    return JournalCorrupt(f"journal record {txid}: {what}", txid=txid, damage="segment")
