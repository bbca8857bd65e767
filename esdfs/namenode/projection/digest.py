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


if __name__ == "__main__":
    reader = open_reader(Path(sys.argv[1]))
    txid, value = digest(reader)
    print(json.dumps({"txid": txid, "digest": value}))  # noqa: T201 - what this program is for
