"""The ack floor: how far this node ever acknowledged, in a file beside its journal.

A database cannot tell a lost tail from a clean end; this file can. At every crash point its floor is at
most the journal's end, so a floor beyond the end means that acknowledged records are missing. Better kept
on another device than the journal.

Two slots, 4 KiB apart, are written in turn, so that a torn write leaves the one before it. A slot
(big-endian)::

    offset  size  field
         0     8  magic, ``ESDFLR01``
         8    24  owner: start of SHA-256(cluster id ‖ 0 ‖ storage id)
        32     8  epoch
        40     8  txid
        48     8  write number: of two sound slots the higher one counts
        56     4  CRC32C of the 56 bytes before
        60     4  zero
"""

import os
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Final

from esdfs.checksum import crc32c
from esdfs.errors import IdentityConflict, JournalUnavailable
from esdfs.ids import Epoch, Position, Txid
from esdfs.journal.entry import Identity

FILE: Final = "ack_floor"

_MAGIC: Final = b"ESDFLR01"
_BODY: Final = Struct(">8s24sqqq")
_SUM: Final = Struct(">I4x")
_SLOT_BYTES: Final = _BODY.size + _SUM.size
_STRIDE_BYTES: Final = 4096


class AckFloor:
    """The file, held open by the one process that writes it.

    Args:
        path: Created when missing; it then has no floor.
        identity: Whose journal it guards.

    Attributes:
        position: The floor; None when no slot can be read although there may be a journal: then nobody
            knows what this node acknowledged.

    Raises:
        IdentityConflict: The file guards another journal.
        JournalUnavailable: The file cannot be opened or read.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self._path = path
        self._owner = sha256(f"{identity.cluster_id}\0{identity.storage_id}".encode()).digest()[:24]
        self._failed = ""
        try:
            is_new = not path.exists()
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if is_new:
                _sync_directory(path.parent)
            slots = [self._read(0), self._read(1)]
        except OSError as error:
            raise JournalUnavailable(f"the ack floor {path} cannot be read ({error.strerror})") from error
        sound = [slot for slot in slots if slot is not None]
        self._written = 0
        self.position: Position | None = None
        if sound:
            self._written, self.position = max(sound)

    def write(self, position: Position) -> None:
        """Make ``position`` the floor, higher or lower than before. Durable on return.

        Raises:
            JournalUnavailable: Written or not, nobody knows. The process must exit; there is no retry.
        """
        if self._failed:
            raise JournalUnavailable(f"a write of the ack floor failed ({self._failed}): restart this node")
        if position == self.position:
            return
        body = _BODY.pack(_MAGIC, self._owner, position.epoch, position.txid, self._written + 1)
        slot = body + _SUM.pack(crc32c(body))
        try:
            written = os.pwrite(self._fd, slot, self._written % 2 * _STRIDE_BYTES)
            os.fdatasync(self._fd)
        except OSError as error:
            self._failed = error.strerror or "unknown error"
            raise JournalUnavailable(
                f"the ack floor {self._path} cannot be written ({self._failed}): restart this node"
            ) from error
        assert written == _SLOT_BYTES, f"{written} bytes of a slot written"
        self._written += 1
        self.position = position

    def close(self) -> None:
        """Release the file."""
        os.close(self._fd)

    def _read(self, index: int) -> tuple[int, Position] | None:
        slot = os.pread(self._fd, _SLOT_BYTES, index * _STRIDE_BYTES)
        if len(slot) < _SLOT_BYTES:
            return None
        body = slot[: _BODY.size]
        magic, owner, epoch, txid, number = _BODY.unpack(body)
        if magic != _MAGIC or _SUM.unpack_from(slot, _BODY.size)[0] != crc32c(body):
            return None
        if owner != self._owner:
            raise IdentityConflict(
                f"the ack floor {self._path} belongs to another journal: was a disk swapped?"
            )
        return number, Position(Epoch(epoch), Txid(txid))


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
