"""Records to rows of the index, in order. Pure over ``Rows`` and what the projection remembers."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from esdfs.journal.entry import Entry
from esdfs.namenode.audit.changes import Change, tell
from esdfs.namenode.audit.rows import (
    LAST,
    U64,
    IndexMeta,
    Rows,
    place,
    place_key,
    principal_key,
    read_meta,
    write_meta,
)
from esdfs.namenode.event_codec import unpack
from esdfs.namenode.namespace.inodes import Inode

_encode: Final = msgspec.msgpack.Encoder().encode
decode_changes: Final = msgspec.msgpack.Decoder(list[Change]).decode


class Past(Protocol):
    """What the projection remembers of states that are over; see ``projection.snapshot``."""

    def place_at(self, inode: int, txid: int) -> tuple[int, str] | None:
        """Where an inode had its name after ``txid``, as far as that is known."""
        ...

    def entry_at(self, parent: int, name: str, txid: int) -> Inode | None:
        """An entry as it was after ``txid``; None also when that is no longer known."""
        ...


class Builder:
    """Adds records to an index, each the one after the last.

    Args:
        past: Of a state that has all records that are added.
    """

    def __init__(self, rows: Rows, past: Past) -> None:
        self._rows, self._past = rows, past
        self._meta = read_meta(rows)

    @property
    def meta(self) -> IndexMeta:
        """How far the index is."""
        return self._meta

    def add(self, entries: Sequence[Entry]) -> None:
        """Add records. What is between the last one and ``entries`` is a gap, which is noted."""
        for entry in entries:
            if entry.txid != self._meta.last_txid + 1:
                # Whatever moved in the gap, only the projection knows.
                self._meta = replace(self._meta, first_txid=entry.txid, rewound_txid=entry.txid)
            self._add(entry)
            self._meta = replace(self._meta, last_txid=entry.txid, chain=entry.chain)
        write_meta(self._rows, self._meta)

    def _add(self, entry: Entry) -> None:
        rows, at = self._rows, U64.pack(entry.txid)
        told = [
            tell(event, _PlacesThen(self, entry.txid))
            for event in unpack(entry.kind, entry.version, entry.payload).events
        ]
        rows.put("rec", at, _encode([one.change for one in told]))
        about: dict[int, set[int]] = {}
        below: dict[int, set[int]] = {}
        for change, others, above in told:
            for inode in {change.inode, *others} - {0}:
                about.setdefault(inode, set()).add(change.kind)
            for directory in above:
                below.setdefault(directory, set()).add(change.kind)
        for inode, kinds in about.items():
            rows.put("self", U64.pack(inode) + at, bytes(sorted(kinds)))
        for directory, kinds in below.items():
            rows.put("below", U64.pack(directory) + at, bytes(sorted(kinds)))
        all_kinds = sorted({one.change.kind for one in told} | {entry.kind})
        if entry.principal:
            rows.put("who", principal_key(entry.principal) + at, bytes(all_kinds))
        for kind in all_kinds:
            rows.put("kind", bytes([kind]) + at, b"")

    # --- places -------------------------------------------------------------------------------

    def place(self, inode: int, txid: int) -> tuple[int, str] | None:
        """The last place of an inode before the end of record ``txid``."""
        key = U64.pack(inode)
        for found, value in self._rows.down("placed", key, key + LAST):
            if U64.unpack_from(found, 8)[0] < self._meta.rewound_txid:
                break
            if value:
                return place(value)
        return self._past.place_at(inode, txid - 1) or self._past.place_at(inode, txid)

    def put_place(self, inode: int, parent: int, name: str, txid: int) -> None:
        """It is there from ``txid`` on."""
        key, at = place_key(parent, name), U64.pack(txid)
        self._rows.put("placed", U64.pack(inode) + at, key)
        self._rows.put("at", key + b"\x00" + U64.pack(inode), at)

    def end_place(self, inode: int, txid: int) -> None:
        """It has no name from ``txid`` on."""
        self._rows.put("placed", U64.pack(inode) + U64.pack(txid), b"")

    def entry_before(self, parent: int, name: str, txid: int) -> Inode | None:
        """As it was before record ``txid``."""
        return self._past.entry_at(parent, name, txid - 1)

    def rewound(self, txid: int) -> None:
        """Places given before ``txid`` may not be true any more."""
        self._meta = replace(self._meta, rewound_txid=txid)


class _PlacesThen:
    """``Places`` while one record is told."""

    def __init__(self, builder: Builder, txid: int) -> None:
        self._builder, self._txid = builder, txid

    def place(self, inode: int) -> tuple[int, str] | None:
        return self._builder.place(inode, self._txid)

    def put_place(self, inode: int, parent: int, name: str) -> None:
        self._builder.put_place(inode, parent, name, self._txid)

    def end_place(self, inode: int) -> None:
        self._builder.end_place(inode, self._txid)

    def entry_before(self, parent: int, name: str) -> Inode | None:
        return self._builder.entry_before(parent, name, self._txid)

    def rewound(self) -> None:
        self._builder.rewound(self._txid)
