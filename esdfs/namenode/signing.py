"""The NameNode's signing key, and what it has vouched for. The one door to ``cryptography``.

``signing.key`` (mode 600) and ``signing.pub`` are made with the directory, or when first needed. Statements
are appended to ``signed.jsonl``, outside the database they speak of.
"""

import os
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from esdfs.errors import InvalidRequest
from esdfs.journal.statements import SignedStatement, Statement, decode_lines, encode_line

KEY_FILE: Final = "signing.key"
PUBLIC_FILE: Final = "signing.pub"
STATEMENTS_FILE: Final = "signed.jsonl"
_PREFIX: Final = "esdfs-ed25519 "
_KEY_BYTES: Final = 32


class PublicKey:
    """Tells whether a signature is by its holder."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @property
    def key_id(self) -> str:
        """16 hex digits that stand for it."""
        return sha256(self.raw).hexdigest()[:16]

    def __str__(self) -> str:
        return _PREFIX + self.raw.hex()

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is of ``data``, by this key."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def vouches(self, signed: SignedStatement) -> bool:
        """Whether a statement is by this key and as it was signed."""
        try:
            signature = bytes.fromhex(signed.signature)
        except ValueError:
            return False
        return self.signed(signed.statement.signed_bytes(), signature)


class SigningKey:
    """The private half."""

    def __init__(self, raw: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(raw)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """64 bytes; the same for the same data (RFC 8032)."""
        return self._key.sign(data)

    def vouch(self, statement: Statement) -> SignedStatement:
        """Sign a statement; its ``key_id`` must be this key's."""
        return SignedStatement(statement, self.sign(statement.signed_bytes()).hex())


def load_key(directory: Path) -> SigningKey:
    """The key of the NameNode in ``directory``, made if there is none yet. Durable on return.

    Raises:
        InvalidRequest: What is there is no key, or cannot be read.
    """
    file = directory / KEY_FILE
    try:
        text = file.read_text(encoding="ascii").strip() if file.exists() else _make(directory)
        return SigningKey(bytes.fromhex(text))
    except OSError as error:
        raise InvalidRequest(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidRequest(
            f"{file} is not a signing key: restore it, or remove it to get a new one"
        ) from error


def _make(directory: Path) -> str:
    text = Ed25519PrivateKey.generate().private_bytes_raw().hex()
    begun = directory / f"{KEY_FILE}.{os.getpid()}"
    descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(begun, directory / KEY_FILE)  # not over one that another process made meanwhile
    except FileExistsError:
        text = (directory / KEY_FILE).read_text(encoding="ascii").strip()
    begun.unlink()
    (directory / PUBLIC_FILE).write_text(f"{SigningKey(bytes.fromhex(text)).public}\n", encoding="ascii")
    return text


def parse_public_key(given: str) -> PublicKey:
    """A public key, as ``journal pubkey`` prints it: the text itself, or a file that holds it.

    Raises:
        InvalidRequest: Neither.
    """
    text = given
    if not given.startswith(_PREFIX) and Path(given).is_file():
        text = Path(given).read_text(encoding="ascii", errors="replace")
    try:
        raw = bytes.fromhex(text.strip().removeprefix(_PREFIX.strip()).strip())
    except ValueError:
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise InvalidRequest(
            f"{given} is no public key: give what `esdfs journal pubkey` prints, or a file of it"
        )
    return PublicKey(raw)


class Statements:
    """All that a NameNode has vouched for, oldest first."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / STATEMENTS_FILE

    def append(self, signed: SignedStatement) -> None:
        """Keep one. Durable on return.

        Raises:
            OSError: The disk is full, or broken.
        """
        with self._file.open("ab") as out:
            if out.tell() and not self._file.read_bytes().endswith(b"\n"):
                out.write(b"\n")  # a crash cut the last one short
            out.write(encode_line(signed))
            out.flush()
            os.fsync(out.fileno())

    def all(self) -> list[SignedStatement]:
        """Every one.

        Raises:
            InvalidRequest: The file is damaged.
        """
        if not self._file.exists():
            return []
        try:
            return decode_lines(self._file.read_bytes())
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"{self._file} is damaged: {error}") from error
