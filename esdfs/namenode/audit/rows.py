"""Tables of the index, byte by byte, and the port they are read and written through. Pure.

Integers are big-endian. A NUL ends text: names and principals hold no control character.

======= ================================ =========================================================
table   key                              value
======= ================================ =========================================================
rec     txid 8                           what the record was about: [Change…] (msgpack)
self    inode 8 ‖ txid 8                 kinds of the events about that inode, a byte each
below   directory 8 ‖ txid 8             kinds of the events below it, but for the root's
who     principal ‖ 00 ‖ txid 8          kinds
kind    kind 1 ‖ txid 8                  nothing
placed  inode 8 ‖ txid 8                 parent 8 ‖ name: its place from then on; empty = none
at      parent 8 ‖ name ‖ 00 ‖ inode 8   the last txid 8 that gave the inode this place
meta    "meta"                           IndexMeta (msgpack)
======= ================================ =========================================================
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from struct import Struct
from typing import Final, Protocol

import msgspec

from esdfs.errors import JournalCorrupt

FORMAT: Final = 1
TABLES: Final = ("rec", "self", "below", "who", "kind", "placed", "at", "meta")
U64: Final = Struct(">Q")
END: Final = b"\x00"
LAST: Final = b"\xff" * 8

Pair = tuple[bytes, bytes]


class IndexMeta(msgspec.Struct, frozen=True, array_like=True):
    """How far an index is.

    Attributes:
        storage_id: Of the journal it is an index of.
        first_txid: Records from here on were all seen.
        last_txid: Up to here; ``chain`` is that record's.
        rewound_txid: Places given before it may no longer be true: ask the projection.
    """

    format: int = FORMAT
    storage_id: str = ""
    first_txid: int = 1
    last_txid: int = 0
    chain: bytes = b""
    rewound_txid: int = 0


class Rows(Protocol):
    """Sorted tables."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value."""
        ...

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set the value."""
        ...

    def down(self, table: str, low: bytes, high: bytes) -> Iterator[Pair]:
        """Pairs with ``low`` <= key <= ``high``, from the highest down."""
        ...

    def up(self, table: str, low: bytes, high: bytes) -> Iterator[Pair]:
        """The same from the lowest up."""
        ...


class MemoryRows:
    """Tables in memory: of the records that an index on disk has not seen yet."""

    def __init__(self) -> None:
        self._values: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}
        self._keys: dict[str, list[bytes]] = {table: [] for table in TABLES}

    def get(self, table: str, key: bytes) -> bytes | None:
        """See ``Rows.get``."""
        return self._values[table].get(key)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """See ``Rows.put``."""
        values = self._values[table]
        if key not in values:
            insort(self._keys[table], key)
        values[key] = value

    def down(self, table: str, low: bytes, high: bytes) -> Iterator[Pair]:
        """See ``Rows.down``."""
        keys, values = self._keys[table], self._values[table]
        for at in range(bisect_right(keys, high) - 1, bisect_left(keys, low) - 1, -1):
            yield keys[at], values[keys[at]]

    def up(self, table: str, low: bytes, high: bytes) -> Iterator[Pair]:
        """See ``Rows.up``."""
        keys, values = self._keys[table], self._values[table]
        for at in range(bisect_left(keys, low), bisect_right(keys, high)):
            yield keys[at], values[keys[at]]


class LayeredRows:
    """``over`` upon ``base``: what is in both is read from ``over``; only that is written."""

    def __init__(self, base: Rows, over: Rows) -> None:
        self._base, self._over = base, over

    def get(self, table: str, key: bytes) -> bytes | None:
        """See ``Rows.get``."""
        value = self._over.get(table, key)
        return self._base.get(table, key) if value is None else value

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """See ``Rows.put``."""
        self._over.put(table, key, value)

    def down(self, table: str, low: bytes, high: bytes) -> Iterator[Pair]:
        """See ``Rows.down``."""
        both = (self._over.down(table, low, high), self._base.down(table, low, high))
        return _once(merge(*both, key=itemgetter(0), reverse=True))

    def up(self, table: str, low: bytes, high: bytes) -> Iterator[Pair]:
        """See ``Rows.up``."""
        both = (self._over.up(table, low, high), self._base.up(table, low, high))
        return _once(merge(*both, key=itemgetter(0)))


def _once(pairs: Iterator[Pair]) -> Iterator[Pair]:
    previous: bytes | None = None
    for pair in pairs:
        if pair[0] != previous:
            yield pair
        previous = pair[0]


def read_meta(rows: Rows) -> IndexMeta:
    """How far the index is."""
    value = rows.get("meta", b"meta")
    return IndexMeta() if value is None else _meta(value)


def write_meta(rows: Rows, meta: IndexMeta) -> None:
    """Set it."""
    rows.put("meta", b"meta", _encode(meta))


def principal_key(principal: str) -> bytes:
    """The prefix of a principal's rows in ``who``.

    Raises:
        JournalCorrupt: The edge never lets such a name in.
    """
    if "\x00" in principal:
        raise JournalCorrupt(f"a principal holds a NUL: {principal!r}")
    return principal.encode() + END


def place_key(parent: int, name: str) -> bytes:
    """Value of ``placed``; with a NUL the prefix of ``at``."""
    return U64.pack(parent) + name.encode()


def place(value: bytes) -> tuple[int, str]:
    """(parent, name) back from it."""
    return U64.unpack_from(value)[0], value[8:].decode()


_encode: Final = msgspec.msgpack.Encoder().encode
_meta: Final = msgspec.msgpack.Decoder(IndexMeta).decode
