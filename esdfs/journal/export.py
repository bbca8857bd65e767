"""A journal in one file, which is proven without the cluster it came from. Pure: rows in, bytes out.

Big-endian::

    8   magic, ``ESDFEX01``
    4   length of the header; 4  its CRC32C; the header (msgpack of ``ExportHeader``)
    then groups (``groups``) tagged
    2   signed statements, one JSON a line (``statements``)
    1   which put together are the records in order, as in an archive segment (``segments``)
    255 the end: msgpack [chain of the last record, SHA-256 of all before this group, key id, signature of it]

The signature at the end is of the whole file; it is empty when the exporter had no key. Of a file that is not
redacted a statement about the last record proves as much.

A redacted export holds tokens in the place of names, users, groups and addresses: equal ones stay equal
within one export. The chain values are those of the journal, so that a record which its owner discloses later
is proven by the value before it; the tokens themselves are vouched for by the signature alone.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from esdfs.errors import ChecksumMismatch, JournalCorrupt, NewerRelease
from esdfs.ids import Txid
from esdfs.journal.chain import verify_order, verify_rows
from esdfs.journal.entry import Base
from esdfs.journal.groups import (
    GroupBuffer,
    HashingSource,
    Source,
    pack_group,
    pack_head,
    unpack_group,
    unpack_head,
)
from esdfs.journal.segments import Row, join_rows, split_rows
from esdfs.journal.statements import SignedStatement, decode_lines, encode_line

FORMAT: Final = 1
MAGIC: Final = b"ESDFEX01"
SEAL_CONTEXT: Final = b"esdfs journal export 1\n"

_RECORDS, _STATEMENTS, _END = 1, 2, 255
_PAGE_RECORDS: Final = 1000


class ExportHeader(msgspec.Struct, frozen=True, array_like=True):
    """What an export holds: ``first_txid`` to ``last_txid``, after a record with ``before_chain``.

    Attributes:
        redacted: Names are tokens.
        release: Of the program that wrote it.
    """

    format: int
    cluster_id: str
    first_txid: int
    last_txid: int
    before_epoch: int
    before_chain: bytes
    before_ts_us: int
    redacted: bool
    release: str


class End(msgspec.Struct, frozen=True, array_like=True):
    """How an export ends."""

    chain: bytes
    sha256: bytes
    key_id: str
    signature: bytes

    def signed_bytes(self) -> bytes:
        """What the signature is of."""
        return SEAL_CONTEXT + self.chain + self.sha256


class Sealed(NamedTuple):
    """Who seals a file, and how: ``sign`` makes 64 bytes of what it is given, or none."""

    key_id: str
    sign: Any


UNSIGNED: Final = Sealed("", lambda _: b"")

_encode: Final = msgspec.msgpack.Encoder().encode
_header: Final = msgspec.msgpack.Decoder(ExportHeader).decode
_end: Final = msgspec.msgpack.Decoder(End).decode


def encode(
    header: ExportHeader,
    pages: Iterable[Sequence[Row]],
    statements: Iterable[SignedStatement],
    sealed: Sealed = UNSIGNED,
) -> Iterator[bytes]:
    """The file in pieces. ``pages`` hold the records of the header; they are verified unless redacted.

    Raises:
        JournalCorrupt: For the first record that is not the one that was sealed, or is missing. What was
            yielded before must be thrown away.
    """
    total = hashlib.sha256()
    packed = _encode(header)
    chain, txid = header.before_chain, Txid(header.first_txid - 1)

    def pieces() -> Iterator[bytes]:
        nonlocal chain, txid
        yield pack_head(MAGIC, packed)
        lines = GroupBuffer(_STATEMENTS)
        yield from lines.add(b"".join(map(encode_line, statements)))
        yield from lines.rest()
        groups = GroupBuffer(_RECORDS)
        for page in pages:
            chain = page[-1][11] if header.redacted else verify_rows(chain, txid, page)
            txid = Txid(txid + len(page))
            yield from groups.add(join_rows(page))
        yield from groups.rest()
        if txid != header.last_txid:
            raise JournalCorrupt(f"journal record {txid + 1}: missing", txid=txid + 1, damage="gap")

    for piece in pieces():
        total.update(piece)
        yield piece
    end = End(chain, total.digest(), sealed.key_id, b"")
    end = End(chain, total.digest(), sealed.key_id, sealed.sign(end.signed_bytes()))
    yield pack_group(_END, _encode(end))


class Export:
    """An export being read, from its beginning to its end, once.

    Attributes:
        header: What it says it holds.
        statements: Known when ``pages`` has given its first page.
        end: Known when it is read to its end.
    """

    def __init__(self, source: Source) -> None:
        self._source = HashingSource(source)
        self.header = _read_header(self._source)
        self.statements: list[SignedStatement] = []
        self.end: End | None = None

    @property
    def base(self) -> Base:
        """What the first record continues."""
        header = self.header
        return Base(
            header.before_epoch,  # type: ignore[arg-type]  # as read: a plain number
            Txid(header.first_txid - 1),
            header.before_chain,
            header.before_ts_us,
        )

    def pages(self) -> Iterator[list[Row]]:
        """The records in order, proven, in pages. Of a redacted export only their order is.

        Raises:
            JournalCorrupt: The first record that is not as it was written; what was yielded before is proven.
        """
        chain, txid = self.header.before_chain, Txid(self.header.first_txid - 1)
        epoch, ts_us = self.header.before_epoch, self.header.before_ts_us
        rest = lines = b""
        begun = False
        try:
            while True:
                before = self._source.total.digest()
                tag, data = unpack_group(self._source)
                if tag == _STATEMENTS and not begun:
                    lines += data
                    continue
                if not begun:
                    begun, self.statements = True, decode_lines(lines)
                if tag == _END:
                    break
                rows, rest = split_rows(rest + _records(tag, data))
                for start in range(0, len(rows), _PAGE_RECORDS):
                    page = rows[start : start + _PAGE_RECORDS]
                    chain = self._proven(chain, txid, page)
                    epoch, ts_us = verify_order(epoch, ts_us, page)
                    txid = Txid(txid + len(page))
                    yield page
            self.end = _end(data)
        except (ChecksumMismatch, msgspec.DecodeError) as error:
            raise _damaged(txid, f"the file is damaged after it: {error}") from error
        if rest or txid != self.header.last_txid or self.end.chain != chain or self.end.sha256 != before:
            raise _damaged(txid, "the file does not end as it says")
        if self._source.read(1):
            raise _damaged(txid, "something follows the file's end")

    def _proven(self, chain: bytes, txid: Txid, page: Sequence[Row]) -> bytes:
        if not self.header.redacted:
            return verify_rows(chain, txid, page)
        for number, row in enumerate(page, txid + 1):
            if row[0] != number:
                raise JournalCorrupt(
                    f"journal record {number}: missing; {row[0]} stands in its place",
                    txid=number,
                    damage="gap",
                )
        return bytes(page[-1][11])


def _records(tag: int, data: bytes) -> bytes:
    if tag != _RECORDS:
        raise ChecksumMismatch("a group of the file is out of place")
    return data


def _read_header(source: Source) -> ExportHeader:
    try:
        header = _header(unpack_head(source, MAGIC))
    except (ChecksumMismatch, msgspec.DecodeError) as error:
        raise _damaged(
            Txid(0), f"this is not an exported journal, or its beginning is damaged: {error}"
        ) from error
    if header.format > FORMAT:
        raise NewerRelease(
            f"this is an exported journal of format {header.format}, newer than this program: upgrade it"
        )
    return header


def _damaged(txid: Txid, what: str) -> JournalCorrupt:
    return JournalCorrupt(f"journal record {txid}: {what}", txid=txid, damage="export")
