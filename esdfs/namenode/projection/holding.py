"""The present as one write transaction sees it: what its tables say, and what it holds back from them."""

from collections.abc import Sequence
from typing import Any

from esdfs.namenode.namespace.inodes import BlockRecord, OpenFile
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import U64, Meta
from esdfs.namenode.projection.unwritten import Unwritten
from esdfs.namenode.projection.views import Dbs, PresentView


class HoldingView(PresentView):
    """``PresentView`` in which `Unwritten` counts. What walks a table has everything written first."""

    def __init__(self, txn: Any, dbs: Dbs, meta: Meta) -> None:
        super().__init__(txn, dbs, meta)
        self._unwritten = Unwritten()

    def write_all(self) -> None:
        """Have the tables hold everything: needed before a cursor walks one of those held back from."""
        self._unwritten.write(self._txn, self._dbs)

    def open_file(self, inode: int) -> OpenFile | None:
        """See ``Present.open_file``."""
        held = self._unwritten.open
        return held[inode] if inode in held else super().open_file(inode)

    def open_files(self) -> list[OpenFile]:
        """See ``PresentView.open_files``."""
        self.write_all()
        return super().open_files()

    def open_at(self, parent: int, name: str) -> int | None:
        """See ``Present.open_at``."""
        key, held = layout.entry_key(parent, name), self._unwritten.open_at
        return held[key] if key in held else super().open_at(parent, name)

    def block(self, block_id: int) -> BlockRecord | None:
        """See ``Present.block``."""
        held = self._unwritten.blocks
        return held[block_id] if block_id in held else super().block(block_id)

    def blocks_after(self, block_id: int, limit: int) -> tuple[Sequence[int], Sequence[BlockRecord]]:
        """See ``PresentView.blocks_after``."""
        self.write_all()
        return super().blocks_after(block_id, limit)

    def result(self, client_id: bytes, seq: int) -> bytes | None:
        """See ``PresentView.result``."""
        return self._unwritten.results.get(client_id + U64.pack(seq)) or super().result(client_id, seq)

    def txid_at(self, ts_us: int) -> int:
        """See ``PresentView.txid_at``."""
        self.write_all()
        return super().txid_at(ts_us)

    def changes(self, until: int, *, after: tuple[int, int, str], limit: int) -> list[tuple[int, int, str]]:
        """See ``Tables.changes``."""
        self.write_all()
        return super().changes(until, after=after, limit=limit)

    def put_open(self, file: OpenFile) -> None:
        """See ``Tables.put_open``."""
        # Numbers are given out in order, and used up after this.
        is_new = file.inode >= self._meta.next_inode
        self._unwritten.put_open(layout.entry_key(file.parent, file.name), file, is_new=is_new)

    def remove_open(self, file: OpenFile) -> None:
        """See ``Tables.remove_open``."""
        self._unwritten.remove_open(layout.entry_key(file.parent, file.name), file)

    def put_block(self, block_id: int, record: BlockRecord) -> None:
        """See ``Tables.put_block``."""
        self._unwritten.blocks[block_id] = record

    def remove_block(self, block_id: int) -> None:
        """See ``Tables.remove_block``."""
        self._unwritten.blocks[block_id] = None
