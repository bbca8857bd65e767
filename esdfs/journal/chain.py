"""The canonical bytes of a record, and the chain of hashes that binds it to all before it. Pure.

Canonical form, version 1 (big-endian; lengths in bytes; strings in UTF-8)::

    offset  size  field
         0     8  txid            signed, as SQL's BIGINT
         8     8  epoch           signed
        16     8  ts_us           signed
        24     4  kind            unsigned
        28     4  version         unsigned
        32     8  seq             signed
        40     2  a = length of client_id
        42     2  b = length of principal
        44     2  c = length of peer
        46     4  d = length of payload
        50     a  client_id
      50+a     b  principal
    50+a+b     c  peer
  50+a+b+c     d  payload

All lengths stand before all strings, so two different records never have the same form. ``crc32c`` is the
CRC32C of it; ``chain`` is SHA-256(previous chain ‖ canonical form ‖ crc32c as 4 bytes).
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from struct import Struct
from struct import error as StructError  # noqa: N812 - `error` alone says nothing where it is caught
from typing import Any, Final

from esdfs.checksum import crc32c
from esdfs.errors import JournalCorrupt
from esdfs.ids import Epoch, Txid
from esdfs.journal.entry import Draft, Entry, Head

_HEADER: Final = Struct(">qqqIIqHHHI")
_CRC: Final = Struct(">I")


def canonical(
    txid: int,
    epoch: int,
    ts_us: int,
    kind: int,
    version: int,
    client_id: bytes,
    seq: int,
    principal: str,
    peer: str,
    payload: bytes,
) -> bytes:
    """The bytes that are summed: every column before ``crc32c``.

    Raises:
        struct.error: A number or a length is outside what the form can hold.
    """
    who, where = principal.encode(), peer.encode()
    header = _HEADER.pack(
        txid, epoch, ts_us, kind, version, seq, len(client_id), len(who), len(where), len(payload)
    )
    return b"".join((header, client_id, who, where, payload))


def link(previous: bytes, body: bytes, crc: int) -> bytes:
    """The chain value of a record with canonical form ``body``, after a record with ``previous``."""
    return sha256(previous + body + _CRC.pack(crc)).digest()


def continues(chain: bytes, entry: Entry) -> bool:
    """Whether ``entry`` was sealed after a record whose chain value is ``chain``."""
    body = canonical(*_columns(entry))
    return entry.crc32c == crc32c(body) and entry.chain == link(chain, body, entry.crc32c)


def seal(head: Head, epoch: Epoch, drafts: Sequence[Draft], *, not_before_us: int = 0) -> list[Entry]:
    """Give ``drafts`` their places after ``head``: dense txids, checksum, chain.

    ``not_before_us`` is the timestamp of the last record. A draft with an earlier one gets the one before
    it instead: wall clocks jump back, the journal's time does not.
    """
    assert epoch >= head.epoch, f"epoch {epoch} after {head.epoch}"
    txid, chain, floor_us = head.last_txid, head.chain, not_before_us
    entries = []
    for draft in drafts:
        txid = Txid(txid + 1)
        floor_us = max(floor_us, draft.ts_us)
        body = canonical(
            txid,
            epoch,
            floor_us,
            draft.kind,
            draft.version,
            draft.client_id,
            draft.seq,
            draft.principal,
            draft.peer,
            draft.payload,
        )
        crc = crc32c(body)
        chain = link(chain, body, crc)
        entries.append(
            Entry(
                txid,
                epoch,
                floor_us,
                draft.kind,
                draft.version,
                draft.client_id,
                draft.seq,
                draft.principal,
                draft.peer,
                draft.payload,
                crc,
                chain,
            )
        )
    return entries


def verify_rows(previous_chain: bytes, previous_txid: Txid, rows: Iterable[tuple[Any, ...]]) -> bytes:
    """Prove that raw ``rows`` (the columns of ``Entry``) follow on, and return the last chain value.

    Raises:
        JournalCorrupt: With ``txid``, the first record that is wrong or missing, and ``damage``:
            ``gap``, ``malformed``, ``crc`` or ``chain``.
    """
    chain, expected = previous_chain, previous_txid
    for row in rows:
        expected = Txid(expected + 1)
        try:
            txid, epoch, ts_us, kind, version, client_id, seq, principal, peer, payload, crc, stored = row
            if txid != expected:
                raise _damaged(expected, "gap", f"missing; {txid} stands in its place")
            who, where = principal.encode(), peer.encode()
            header = _HEADER.pack(
                txid, epoch, ts_us, kind, version, seq, len(client_id), len(who), len(where), len(payload)
            )
            body = b"".join((header, client_id, who, where, payload))
        except (ValueError, TypeError, AttributeError, StructError) as error:
            raise _damaged(expected, "malformed", f"not a record ({error})") from error
        if crc32c(body) != crc:
            raise _damaged(expected, "crc", "its bytes do not match its checksum")
        chain = sha256(chain + body + _CRC.pack(crc)).digest()
        if chain != stored:
            raise _damaged(expected, "chain", "it does not continue the record before it")
    return chain


def verify_order(epoch: int, ts_us: int, rows: Sequence[tuple[Any, ...]]) -> tuple[int, int]:
    """Prove that epochs and times of ``rows`` never go back, nor behind ``epoch`` and ``ts_us``.

    Returns those of the last row. The rows are of the types that ``verify_rows`` proved.

    Raises:
        JournalCorrupt: With ``txid`` and ``damage``, ``epoch`` or ``time``.
    """
    for row in rows:
        if row[1] < epoch:
            raise _damaged(row[0], "epoch", f"epoch {row[1]} after epoch {epoch}")
        if row[2] < ts_us:
            raise _damaged(row[0], "time", "its timestamp is before that of the record before it")
        epoch, ts_us = row[1], row[2]
    return epoch, ts_us


def _columns(entry: Entry) -> tuple[int, int, int, int, int, bytes, int, str, str, bytes]:
    return (
        entry.txid,
        entry.epoch,
        entry.ts_us,
        entry.kind,
        entry.version,
        entry.client_id,
        entry.seq,
        entry.principal,
        entry.peer,
        entry.payload,
    )


def _damaged(txid: Txid, damage: str, what: str) -> JournalCorrupt:
    return JournalCorrupt(f"journal record {txid}: {what}", txid=txid, damage=damage)
