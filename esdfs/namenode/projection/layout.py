"""Keys and values of the projection's tables, byte by byte. Pure.

Integers are big-endian, so that byte order is numeric order. Names are UTF-8 and hold no control
character, so a NUL ends one unambiguously.

========== ================================== ====================================================
table      key                                value
========== ================================== ====================================================
cur        parent 8 ‖ name                    valid_from 8 ‖ inode 8 ‖ kind 1 ‖ tail (msgpack)
hist       parent 8 ‖ name ‖ 00 ‖ from 8      until 8 ‖ inode 8 ‖ kind 1 ‖ tail
ino        inode 8                            parent 8 ‖ name
moved      inode 8 ‖ until 8                  parent 8 ‖ name
open       inode 8                            OpenFile (msgpack)
openp      parent 8 ‖ name                    inode 8
blk        block 8                            inode 8 ‖ generation 8 ‖ length 8 ‖ target 1 ‖ complete 1
dn         number 4                           DataNodeAdded (msgpack)
dnstate    number 4                           DataNodeStateSet (msgpack)
dnid       node id                            number 4
results    client 16 ‖ seq 8                  [request_hash, txid, [result…]] (msgpack)
results_at ts 8 ‖ txid 8                      client 16 ‖ seq 8
times      ts 8                               last txid stamped so
chg        txid 8 ‖ parent 8 ‖ name           nothing: the entry was made, changed or removed then
work       txid 8 ‖ 0 8                       Work (msgpack): what that record began and is not finished
work       txid 8 ‖ seq 8                     WorkItem (msgpack): a step of it, in order
pin        name                               SnapshotCreated (msgpack)
cursor     name                               Cursor (msgpack)
refs       first block 8                      versions in cur and hist that name these blocks 8; no row = one
shared     first block 8 ‖ inode 8            nothing: another file than they were written for names them
held       pin txid 8 ‖ key of hist           nothing: behind the horizon; the newest pin that shows it
dead       until 8 ‖ inode 8                  nothing: what is below this directory in cur ended then
drain      pin txid 8                         key of held: a pin there was deleted, and we are here
skip       block 8                            block 8: no id from the first to before the second was given out
meta       "meta", "cluster", "voters"        Meta, ClusterFormatted, VotersChanged (msgpack)
meta       "retention", "horizon"             RetentionSet (msgpack); the oldest txid kept 8
meta       "purged"                           key of chg: what ended before it was forgotten, or is held
meta       "level"                            the feature level 4, once it was raised
========== ================================== ====================================================

``from`` is inclusive and ``until`` exclusive: an entry was so for from <= txid < until.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import msgspec

from esdfs.blocks import Block
from esdfs.namenode.namespace.inodes import BlockRecord, Inode

FORMAT: Final = 2
"""Of everything on this page; another one found on disk means: rebuild."""

LEVEL_PLACES: Final = 5
"""The feature level from which ``moved`` keeps the place that an inode left before it came somewhere and left
again within one transaction, and the one it has until a restore takes it away in a later record. Below it the
tables are what they were, to the digest; some past inodes are found by their path only."""

TABLES: Final = (
    b"meta",
    b"cur",
    b"hist",
    b"ino",
    b"moved",
    b"open",
    b"openp",
    b"blk",
    b"dn",
    b"dnid",
    b"results",
    b"results_at",
    b"times",
    b"chg",
    b"work",
    b"pin",
    b"cursor",
    b"refs",
    b"held",
    b"dead",
    b"drain",
    b"dnstate",
    b"skip",
    b"shared",
)

U64: Final = struct.Struct(">Q")
U32: Final = struct.Struct(">I")
TWO_U64: Final = struct.Struct(">QQ")
_ENTRY: Final = struct.Struct(">QQB")
_BLOCK: Final = struct.Struct(">QQQB?")
_record = partial(tuple.__new__, BlockRecord)
_PLACE: Final = struct.Struct(">Q")
END: Final = b"\x00"
_DIRECTORY, _FILE = 1, 2


class Meta(msgspec.Struct, array_like=True):
    """Where the projection stands; committed together with everything it describes.

    Attributes:
        unfinished: (txid, top) of each ``Work``.
    """

    format: int = FORMAT
    applied_txid: int = 0
    epoch: int = 0
    chain: bytes = bytes(32)
    ts_us: int = 0
    next_inode: int = 1
    next_block_id: int = 1
    oldest_txid: int = 1
    oldest_result_us: int = 0
    unfinished: tuple[tuple[int, int], ...] = ()


_encode = msgspec.msgpack.Encoder().encode
# The fields of ``Inode`` from its mode on, in their order.
_directory_tail = msgspec.msgpack.Decoder(tuple[int, str, str, int]).decode
_file_tail = msgspec.msgpack.Decoder(tuple[int, str, str, int, int, int, int, int, tuple[Block, ...]]).decode


def entry_key(parent: int, name: str) -> bytes:
    """Key of ``cur`` and ``openp``; value of ``ino`` and ``moved``."""
    return _PLACE.pack(parent) + name.encode()


def place(value: bytes) -> tuple[int, str]:
    """(parent, name) back from ``entry_key``."""
    return U64.unpack_from(value)[0], value[8:].decode()


def pack_entry(inode: Inode) -> bytes:
    """Value of ``cur``."""
    if inode.is_directory:
        # What `_directory_tail` decodes.
        tail = _encode((inode.mode, inode.owner, inode.group, inode.mtime_us))
        return _ENTRY.pack(inode.version, inode.inode, _DIRECTORY) + tail
    tail = _encode(
        (
            inode.mode,
            inode.owner,
            inode.group,
            inode.mtime_us,
            inode.size_bytes,
            inode.replication,
            inode.block_size_bytes,
            inode.crc32c,
            inode.blocks,
        )
    )
    return _ENTRY.pack(inode.version, inode.inode, _FILE) + tail


def unpack_entry(value: bytes) -> Inode:
    """The inode in a value of ``cur``."""
    version, _, _ = _ENTRY.unpack_from(value)
    return unpack_past(value, version)


def unpack_past(value: bytes, version: int) -> Inode:
    """The inode in a value of ``hist``, whose version stands in the key."""
    number = int.from_bytes(value[8:16], "big")
    # By place: names cost a third of it, and a listing makes thousands.
    if value[16] == _DIRECTORY:
        return Inode(number, version, True, *_directory_tail(value[17:]))
    return Inode(number, version, False, *_file_tail(value[17:]))


def entry_id(value: bytes) -> tuple[int, bool]:
    """(inode, is_directory) of a value of ``cur`` or ``hist``, without unpacking the rest."""
    return int.from_bytes(value[8:16], "big"), value[16] == _DIRECTORY


def blocks_in(value: bytes) -> tuple[Block, ...]:
    """The blocks that a value of ``cur`` or ``hist`` names."""
    return () if value[16] == _DIRECTORY else _file_tail(value[17:])[-1]


def pack_block(record: BlockRecord) -> bytes:
    """Value of ``blk``."""
    return _BLOCK.pack(*record)


def unpack_block(value: bytes) -> BlockRecord:
    """Back from ``pack_block``."""
    return _record(_BLOCK.unpack(value))


def unpack_blocks(values: Iterable[bytes]) -> list[BlockRecord]:
    """The same of many, without a frame of Python for each: reports and scans look at all there are."""
    return [*map(_record, _BLOCK.iter_unpack(b"".join(values)))]


def generations(values: Iterable[bytes]) -> tuple[int, ...]:
    """Of these values of ``blk``."""
    packed = b"".join([value[8:16] for value in values])
    return struct.unpack(f">{len(packed) // 8}Q", packed)


def block_ids(keys: Sequence[bytes]) -> tuple[int, ...]:
    """What the keys of ``blk`` stand for."""
    return struct.unpack(f">{len(keys)}Q", b"".join(keys))
