"""What a write transaction holds back until it is committed.

Most of what is noted about a file being written is gone again when it is complete: within one transaction of
a replay it never needs to reach a table. What only ever lands at a table's end is written in one go.
"""

from operator import itemgetter
from typing import Any, Final

import msgspec

from esdfs.namenode.namespace.inodes import BlockRecord, OpenFile
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import U64

_encode: Final = msgspec.msgpack.Encoder().encode
_first: Final = itemgetter(0)


class Unwritten:
    """Newer than the tables, until ``write``. None stands for a row that is not, or no longer, there.

    Attributes:
        open, open_at, blocks: By the key of the table they belong to.
        results: Remembered answers.
        at_ends: (table, key, value) of rows that follow all there are, in order.
        changed: Keys of ``chg``.
    """

    __slots__ = ("_new", "at_ends", "blocks", "changed", "open", "open_at", "results")

    def __init__(self) -> None:
        self.open: dict[int, OpenFile | None] = {}
        self.open_at: dict[bytes, int | None] = {}
        self.blocks: dict[int, BlockRecord | None] = {}
        self.results: dict[bytes, bytes] = {}
        self.at_ends: dict[bytes, list[tuple[bytes, bytes]]] = {b"results_at": [], b"times": []}
        self.changed: list[bytes] = []
        self._new: set[int] = set()

    def put_open(self, key: bytes, file: OpenFile, *, is_new: bool) -> None:
        """A file being written, or its new state; ``key`` is that of ``openp``."""
        if is_new and key not in self.open_at:
            self._new.add(file.inode)
        self.open[file.inode] = file
        self.open_at[key] = file.inode

    def remove_open(self, key: bytes, file: OpenFile) -> None:
        """It is no longer being written; no trace is left of one that the tables never had."""
        if file.inode in self._new:
            self._new.discard(file.inode)
            del self.open[file.inode], self.open_at[key]
        else:
            self.open[file.inode] = self.open_at[key] = None

    def write(self, txn: Any, dbs: dict[bytes, Any]) -> None:
        """Into the tables, all of it."""
        _write_all(txn, dbs[b"open"], [(U64.pack(key), file) for key, file in self.open.items()], _encode)
        _write_all(txn, dbs[b"openp"], list(self.open_at.items()), U64.pack)
        blocks = [(U64.pack(key), record) for key, record in self.blocks.items()]
        _write_all(txn, dbs[b"blk"], blocks, layout.pack_block)
        if self.results:
            txn.cursor(dbs[b"results"]).putmulti(sorted(self.results.items(), key=_first))
        for table, rows in self.at_ends.items():
            if rows:
                txn.cursor(dbs[table]).putmulti(rows, append=True)
        if self.changed:
            self._write_changed(txn.cursor(dbs[b"chg"]))
        self.forget()

    def _write_changed(self, cursor: Any) -> None:
        rows = sorted(set(self.changed))
        # What a restore goes on with is noted at the transaction that began it: before the table's end.
        append = not cursor.last() or cursor.key() < rows[0]
        cursor.putmulti([(row, b"") for row in rows], append=append)

    def forget(self) -> None:
        """None of it was."""
        for held in (self.open, self.open_at, self.blocks, self.results, self.changed, self._new):
            held.clear()
        for rows in self.at_ends.values():
            rows.clear()


def _write_all(txn: Any, table: Any, rows: list[tuple[bytes, Any]], encode: Any) -> None:
    if not rows:
        return
    rows.sort(key=_first)
    for key, value in rows:
        if value is None:
            txn.delete(key, db=table)
    txn.cursor(table).putmulti([(key, encode(value)) for key, value in rows if value is not None])
