"""What a NameNode's key vouches for: that the journal's hash at one txid was this. Pure: values and bytes.

Who holds such a statement can tell, with the public key and nothing else, whether a journal that claims to be
this one still has that hash: every record up to the txid is as it was. A statement is worth something when
it is kept where the journal's administrator cannot reach it. (RFC 9162 calls the same a signed tree head.)
"""

from contextlib import suppress
from typing import Final

import msgspec

CONTEXT: Final = b"esdfs journal statement 1\n"
"""Stands before what is signed, so that a signature means nothing elsewhere."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """The journal of a cluster had this hash at this txid.

    Attributes:
        chain: Of the record ``txid``, hex.
        state_digest: Of the projection after it, hex; "" = not told.
        layout_format: Of the tables digested; 0 = none.
        ts_us: The signer's clock.
        key_id: Which key; see ``key_id``.
    """

    cluster_id: str
    txid: int
    epoch: int
    chain: str
    ts_us: int
    key_id: str
    state_digest: str = ""
    layout_format: int = 0

    def signed_bytes(self) -> bytes:
        """What the signature is of: JSON with sorted keys, after ``CONTEXT``."""
        return CONTEXT + msgspec.json.encode(self, order="sorted")


class SignedStatement(msgspec.Struct, frozen=True):
    """A statement and its Ed25519 signature, hex. Its JSON, one a line, is how it travels and is kept."""

    statement: Statement
    signature: str


def encode_line(signed: SignedStatement) -> bytes:
    """As one line of a file."""
    return msgspec.json.encode(signed) + b"\n"


def decode_lines(data: bytes) -> list[SignedStatement]:
    """All statements of a file; a line that a crash cut short is left out.

    Raises:
        msgspec.DecodeError: Another line is none.
    """
    lines = data.split(b"\n")
    found = [_decode(line) for line in lines[:-1] if line.strip()]
    if lines[-1].strip():
        with suppress(msgspec.DecodeError):
            found.append(_decode(lines[-1]))
    return found


_decode: Final = msgspec.json.Decoder(SignedStatement).decode
