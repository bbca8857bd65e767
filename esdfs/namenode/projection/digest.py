"""One hash for a whole namespace: two projections are equal when their digests are.

Covers every table in key order, history and remembered results included, and where the journal stood.
It does not depend on how or in which batches the projection came about.

``python -m esdfs.namenode.projection.digest DIR`` prints it for the NameNode in DIR, beside a running
engine: it reads everything, so it belongs in a process of its own.
"""

import hashlib
import json
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import Meta
from esdfs.namenode.projection.lmdb import ProjectionReader, ProjectionStore, open_reader, raw_entries

_PAIR: Final = struct.Struct(">II")


def digest(source: ProjectionStore | ProjectionReader) -> tuple[int, str]:
    """(applied txid, hex SHA-256) of the committed state. Reads everything: seconds per million inodes."""
    return digest_of(raw_entries(source))


def command(directory: Path) -> list[str]:
    """The argv that prints the digest of the NameNode in ``directory`` as ``{"txid", "digest"}``."""
    return [sys.executable, "-m", "esdfs.namenode.projection.digest", str(directory)]


class StateDigest:
    """The same, pair by pair: of each table with any its name, then its pairs in key order.

    A table that a later release adds and that is still empty changes nothing.
    """

    def __init__(self) -> None:
        self._total = hashlib.sha256(bytes([layout.FORMAT]))
        self._applied = 0
        self._begun = b""

    def table(self, name: bytes) -> None:
        """The pairs of ``name`` follow."""
        self._begun = name

    def pair(self, table: bytes, key: bytes, value: bytes, packed: bytes) -> None:
        """One pair; ``packed`` is its two lengths, 4 bytes each, and then both."""
        if self._begun:
            self._total.update(self._begun)
            self._begun = b""
        if key == b"meta" and table == b"meta":
            # Caches of what the tables already say are not part of the state.
            meta = msgspec.msgpack.decode(value, type=Meta)
            self._applied = meta.applied_txid
            self._total.update(self._applied.to_bytes(8, "big") + meta.chain)
        else:
            self._total.update(packed)

    def value(self) -> tuple[int, bytes]:
        """(applied txid, SHA-256)."""
        return self._applied, self._total.digest()


def digest_of(tables: Iterable[tuple[bytes, Iterator[tuple[bytes, bytes]]]]) -> tuple[int, str]:
    """The same, of tables however they are held."""
    state = StateDigest()
    for name, pairs in tables:
        state.table(name)
        for key, value in pairs:
            state.pair(name, key, value, _PAIR.pack(len(key), len(value)) + key + value)
    applied, digested = state.value()
    return applied, digested.hex()


if __name__ == "__main__":
    reader = open_reader(Path(sys.argv[1]))
    txid, value = digest(reader)
    print(json.dumps({"txid": txid, "digest": value}))  # noqa: T201 - what this program is for
