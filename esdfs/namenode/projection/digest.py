"""One hash for a whole namespace: two projections are equal when their digests are.

Covers every table in key order, history and remembered results included, and where the journal stood.
It does not depend on how or in which batches the projection came about.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import Meta
from esdfs.namenode.projection.lmdb import ProjectionStore, raw_entries

_PAIR: Final = struct.Struct(">II")


def digest(store: ProjectionStore) -> tuple[int, str]:
    """(applied txid, hex SHA-256) of the committed state. Reads everything: seconds per million inodes."""
    return digest_of(raw_entries(store))


def digest_of(tables: Iterable[tuple[bytes, Iterator[tuple[bytes, bytes]]]]) -> tuple[int, str]:
    """The same, of tables however they are held."""
    total = hashlib.sha256(bytes([layout.FORMAT]))
    applied = 0
    for name, pairs in tables:
        total.update(name)
        for key, value in pairs:
            if key == b"meta" and name == b"meta":
                # Caches of what the tables already say are not part of the state.
                meta = msgspec.msgpack.decode(value, type=Meta)
                applied = meta.applied_txid
                total.update(applied.to_bytes(8, "big") + meta.chain)
            else:
                total.update(_PAIR.pack(len(key), len(value)) + key + value)
    return applied, total.hexdigest()
