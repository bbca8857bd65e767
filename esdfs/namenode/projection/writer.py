"""``Tables`` on one LMDB write transaction: the speculative state. Aborting it is the undo."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec.structs import replace

from esdfs.errors import NewerRelease
from esdfs.namenode.events import (
    ClusterFormatted,
    CursorMoved,
    DataNodeAdded,
    DataNodeStateSet,
    Event,
    RetentionSet,
    SnapshotCreated,
    VotersChanged,
)
from esdfs.namenode.features import at_record, beyond
from esdfs.namenode.namespace.evolve import evolve
from esdfs.namenode.namespace.inodes import Cursor, Inode, Work, WorkItem
from esdfs.namenode.namespace.view import View
from esdfs.namenode.projection import contents, layout
from esdfs.namenode.projection.decoding import Decoded, decode
from esdfs.namenode.projection.layout import END, TWO_U64, U32, U64, Meta
from esdfs.namenode.projection.past import PastView
from esdfs.namenode.projection.purging import Purge
from esdfs.namenode.projection.remembering import RememberingView
from esdfs.namenode.projection.views import Dbs

_encode = msgspec.msgpack.Encoder().encode
_work = msgspec.msgpack.Decoder(Work).decode
_work_item = msgspec.msgpack.Decoder(WorkItem).decode


class Writer(RememberingView):
    """The present, being changed record by record; see ``Tables`` for what each change means.

    Attributes:
        released: Blocks that no version names any more: garbage once this is committed.
        rewanted: Blocks of which another number of copies is wanted once this is committed.
    """

    def __init__(self, env: Any, txn: Any, dbs: Dbs, meta: Meta, *, level_max: int) -> None:
        super().__init__(txn, dbs, meta)
        self._level_max = level_max
        self._env = env
        self._hist = dbs[b"hist"]
        self._ino = dbs[b"ino"]
        self._work = dbs[b"work"]
        self._changed = self._unwritten.changed
        self.released: list[int] = []
        self.rewanted: list[int] = []

    # --- records ------------------------------------------------------------------------------

    def apply_row(self, row: Sequence[Any]) -> tuple[Event, ...]:
        """Fold one committed journal row (the columns of ``Entry``) in; returns its events.

        Raises:
            NewerRelease: It is of a kind, a version or a feature level unknown here. Never skip it: stop.
        """
        return self.apply(decode(row))

    def apply(self, record: Decoded) -> tuple[Event, ...]:
        """Fold one committed record in; returns its events. Raises as ``apply_row``."""
        txid, epoch, ts_us, client_id, seq, answer, chain, events = record
        try:
            self.begin_record(txid, epoch, ts_us)
            for event in events:
                evolve(self, event, txid=txid, ts_us=ts_us)
        except NewerRelease as error:
            raise at_record(error, txid) from error
        if client_id:
            self.remember(client_id, seq, answer)
        self._meta.chain = chain
        return events

    def begin_record(self, txid: int, epoch: int, ts_us: int) -> None:
        """All changes from here on belong to transaction ``txid``."""
        meta = self._meta
        assert txid == meta.applied_txid + 1, f"record {txid} does not follow {meta.applied_txid}"
        if ts_us > meta.ts_us and meta.applied_txid:
            # Timestamps never go back: this lands at the table's end.
            self._unwritten.at_ends[b"times"].append((U64.pack(meta.ts_us), U64.pack(meta.applied_txid)))
        self._txid = txid
        meta.applied_txid = txid
        meta.epoch = epoch
        meta.ts_us = ts_us

    def sealed(self, chain: bytes) -> None:
        """The journal's chain value after the last record begun."""
        self._meta.chain = chain

    # --- speculation --------------------------------------------------------------------------

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part that may be undone alone: an exception inside leaves no trace of it."""
        self.write_all()
        outer, kept = self._txn, replace(self._meta)
        released, rewanted = len(self.released), len(self.rewanted)
        self._txn = self._env.begin(write=True, parent=outer)
        try:
            yield
        except BaseException:
            self._txn.abort()
            self._txn, self._meta = outer, kept
            self._unwritten.forget()
            del self.released[released:]
            del self.rewanted[rewanted:]
            self._blocked = frozenset(top for _, top in kept.unfinished)
            raise
        self.write_all()
        self._txn.commit()
        self._txn = outer

    def commit(self) -> None:
        """Make everything visible to readers at once. Not durable: the journal is."""
        self.write_all()
        self._txn.put(b"meta", _encode(self._meta), db=self._dbs[b"meta"])
        self._txn.commit()

    def abort(self) -> None:
        """Forget everything since the transaction began."""
        self._txn.abort()

    # --- Tables -------------------------------------------------------------------------------

    def format(self, cluster: ClusterFormatted) -> None:
        """See ``Tables.format``."""
        self._require_level(cluster.feature_level)
        self._txn.put(b"cluster", _encode(cluster), db=self._dbs[b"meta"])

    def add_entry(self, parent: int, name: str, inode: Inode) -> None:
        """See ``Tables.add_entry``."""
        key = layout.entry_key(parent, name)
        added = self._txn.put(key, layout.pack_entry(inode), db=self._cur, overwrite=False)
        assert added, f"txid {self._txid} adds an entry that exists"
        self._changed.append(U64.pack(self._txid) + key)
        self._txn.put(U64.pack(inode.inode), key, db=self._ino)

    def put_entry(self, parent: int, name: str, inode: Inode) -> None:
        """See ``Tables.put_entry``."""
        key = layout.entry_key(parent, name)
        value = self._retire(key)
        self._txn.put(key, layout.pack_entry(inode), db=self._cur)
        if value[8:16] != U64.pack(inode.inode):
            self._lose_name(value, key)
            self._txn.put(U64.pack(inode.inode), key, db=self._ino)

    def move_entry(self, source: tuple[int, str], target: tuple[int, str], inode: Inode) -> None:
        """See ``Tables.move_entry``."""
        source_key, target_key = layout.entry_key(*source), layout.entry_key(*target)
        value = self._retire(source_key)
        moved = value[8:16]
        assert moved == U64.pack(inode.inode), f"txid {self._txid} moves inode {inode.inode}, finds another"
        self._txn.delete(source_key, db=self._cur)
        if self._txn.get(target_key, db=self._cur) is not None:
            self._lose_name(self._retire(target_key), target_key)
        else:
            self._changed.append(U64.pack(self._txid) + target_key)
        self._txn.put(target_key, layout.pack_entry(inode), db=self._cur)
        self._note_place(value, source_key)
        self._txn.put(moved, target_key, db=self._ino)

    def remove_entry(self, parent: int, name: str) -> None:
        """See ``Tables.remove_entry``."""
        key = layout.entry_key(parent, name)
        self._lose_name(self._retire(key), key)
        self._txn.delete(key, db=self._cur)

    def _retire(self, key: bytes) -> bytes:
        """Copy an entry into history; returns what it was."""
        value: bytes | None = self._txn.get(key, db=self._cur)
        assert value is not None, f"txid {self._txid} changes an entry that is not there"
        self._changed.append(U64.pack(self._txid) + key)
        if U64.unpack_from(value)[0] != self._txid:
            self._txn.put(key + END + value[:8], U64.pack(self._txid) + value[8:], db=self._hist)
        else:
            # A version made and replaced within one transaction was never visible.
            self.drop_version(value)
        return value

    def _lose_name(self, value: bytes, key: bytes) -> None:
        inode = value[8:16]
        self._txn.delete(inode, db=self._ino)
        self._note_place(value, key)
        if U64.unpack_from(value)[0] == self._txid and layout.entry_id(value)[1]:
            # No version of it tells that it ended, so what is below it is noted here.
            self._txn.put(U64.pack(self._txid) + inode, b"", db=self._dbs[b"dead"])

    def _note_place(self, value: bytes, key: bytes) -> None:
        """Note where an inode was until this transaction, unless it came there within it."""
        txid = U64.pack(self._txid)
        if value[:8] == txid and not self._was_at(key, value[8:16]):
            return
        # The first place it leaves is where it was before: one it came to meanwhile does not count.
        self._txn.put(value[8:16] + txid, key, db=self._dbs[b"moved"], overwrite=False)

    def _was_at(self, key: bytes, inode: bytes) -> bool:
        found = self.version_at(key, self._txid - 1)
        return found is not None and found[0][8:16] == inode

    def drop_version(self, value: bytes) -> None:
        """A version, as in ``cur`` or ``hist``, is gone: let go of its blocks if no other names them."""
        blocks = layout.blocks_in(value)
        if blocks and contents.unshare(self._txn, self._dbs, blocks[0].block_id):
            for block in blocks:
                self.remove_block(block.block_id)
                self.released.append(block.block_id)

    def share_blocks(self, inode: Inode) -> None:
        """See ``Tables.share_blocks``."""
        if inode.blocks:
            contents.share(self._txn, self._dbs, inode.blocks[0].block_id)

    def note_sharer(self, inode: Inode) -> None:
        """See ``Tables.note_sharer``."""
        contents.note_sharer(self._txn, self._dbs, inode)

    def want_copies(self, inode: Inode, copies: int) -> None:
        """See ``Tables.want_copies``."""
        for block in inode.blocks:
            record = self.block(block.block_id)
            assert record is not None, f"file {inode.inode} names block {block.block_id}, which is unknown"
            self.put_block(block.block_id, record._replace(replication=copies))
            self.rewanted.append(block.block_id)

    # --- longer work --------------------------------------------------------------------------

    def begin_work(self, top: int) -> None:
        """See ``Tables.begin_work``."""
        if self.work(self._txid) is None:
            self._put_work(self._txid, Work(top, 1))
        self._set_unfinished((*self._meta.unfinished, (self._txid, top)))

    def work(self, began_txid: int) -> Work | None:
        """See ``Tables.work``."""
        value = self._txn.get(TWO_U64.pack(began_txid, 0), db=self._work)
        return None if value is None else _work(value)

    def add_step(self, began_txid: int, step: WorkItem) -> None:
        """See ``Tables.add_step``."""
        work = self.work(began_txid)
        assert work is not None, f"txid {began_txid} began nothing that is not finished"
        self._txn.put(TWO_U64.pack(began_txid, work.next_seq), _encode(step), db=self._work)
        self._put_work(began_txid, replace(work, next_seq=work.next_seq + 1))

    def first_step(self, began_txid: int) -> tuple[int, WorkItem] | None:
        """See ``Tables.first_step``."""
        cursor = self._txn.cursor(self._work)
        if not cursor.set_range(TWO_U64.pack(began_txid, 1)):
            return None
        began, number = TWO_U64.unpack(cursor.key())
        return (number, _work_item(cursor.value())) if began == began_txid else None

    def put_step(self, began_txid: int, number: int, step: WorkItem | None) -> None:
        """See ``Tables.put_step``."""
        key = TWO_U64.pack(began_txid, number)
        if step is None:
            self._txn.delete(key, db=self._work)
        else:
            self._txn.put(key, _encode(step), db=self._work)

    def end_work(self, began_txid: int) -> None:
        """See ``Tables.end_work``."""
        self._txn.delete(TWO_U64.pack(began_txid, 0), db=self._work)
        self._set_unfinished(tuple(one for one in self._meta.unfinished if one[0] != began_txid))

    def _put_work(self, began_txid: int, work: Work) -> None:
        self._txn.put(TWO_U64.pack(began_txid, 0), _encode(work), db=self._work)

    def _set_unfinished(self, unfinished: tuple[tuple[int, int], ...]) -> None:
        self._meta.unfinished = unfinished
        self._blocked = frozenset(top for _, top in unfinished)

    def source(self, txid: int) -> View:
        """See ``Tables.source``."""
        return PastView(self, txid)

    @contextmanager
    def acting_for(self, began_txid: int) -> Iterator[None]:
        """See ``Tables.acting_for``."""
        txid, self._txid = self._txid, began_txid
        try:
            yield
        finally:
            self._txid = txid

    def named(self, parent: int, name: str) -> int | None:
        """See ``Tables.named``."""
        value = self._txn.get(layout.entry_key(parent, name), db=self._cur)
        return None if value is None else layout.entry_id(value)[0]

    def rewind_entry(self, parent: int, name: str, then: Inode | None) -> None:
        """See ``Tables.rewind_entry``."""
        key = layout.entry_key(parent, name)
        value = self._txn.get(key, db=self._cur)
        version = 0 if value is None else U64.unpack_from(value)[0]
        if version in {0 if then is None else then.version, self._txid}:
            return
        if value is not None:
            inode = U64.unpack_from(self._retire(key), 8)[0]
            if then is None or then.inode != inode:
                self._give_up_name(inode, key)
        if then is None:
            self._txn.delete(key, db=self._cur)
            return
        self._changed.append(U64.pack(self._txid) + key)
        self.share_blocks(then)
        self._txn.put(key, layout.pack_entry(replace(then, version=self._txid)), db=self._cur)
        self._take_name_back(U64.pack(then.inode), key)

    def _take_name_back(self, inode: bytes, key: bytes) -> None:
        # Its name until now may be given up in a later record only, or be out of sight.
        place = self._txn.get(inode, db=self._ino)
        if place is not None and place != key and self.feature_level() >= layout.LEVEL_PLACES:
            self._txn.put(inode + U64.pack(self._txid), place, db=self._dbs[b"moved"], overwrite=False)
        self._txn.put(inode, key, db=self._ino)

    def _give_up_name(self, inode: int, key: bytes) -> None:
        # In a rewind the inode may have got its older name back already.
        if self._txn.get(U64.pack(inode), db=self._ino) == key:
            self._txn.delete(U64.pack(inode), db=self._ino)
        self._txn.put(U64.pack(inode) + U64.pack(self._txid), key, db=self._dbs[b"moved"])

    # --- history kept -------------------------------------------------------------------------

    def put_retention(self, event: RetentionSet) -> None:
        """See ``Tables.put_retention``."""
        self._txn.put(b"retention", _encode(event), db=self._dbs[b"meta"])

    def move_horizon(self, oldest_txid: int) -> None:
        """See ``Tables.move_horizon``."""
        self._meta.oldest_txid = max(self._meta.oldest_txid, oldest_txid)
        self._txn.put(b"horizon", U64.pack(self._meta.oldest_txid), db=self._dbs[b"meta"])

    def put_pin(self, event: SnapshotCreated) -> None:
        """See ``Tables.put_pin``."""
        self._txn.put(event.name.encode(), _encode(event), db=self._dbs[b"pin"])

    def remove_pin(self, name: str) -> None:
        """See ``Tables.remove_pin``."""
        pin = self.pin(name)
        assert pin is not None, f"txid {self._txid} deletes snapshot {name}, which is not there"
        self._txn.delete(name.encode(), db=self._dbs[b"pin"])
        self._txn.put(U64.pack(pin.txid), b"", db=self._dbs[b"drain"])

    def purge(self, steps_max: int) -> None:
        """See ``Tables.purge``."""
        self.write_all()
        Purge(self, self.drop_version).run(steps_max)

    def put_cursor(self, event: CursorMoved, ts_us: int) -> None:
        """See ``Tables.put_cursor``."""
        cursor = Cursor(event.name, event.txid, event.principal, ts_us)
        self._txn.put(event.name.encode(), _encode(cursor), db=self._dbs[b"cursor"])

    def remove_cursor(self, name: str) -> None:
        """See ``Tables.remove_cursor``."""
        self._txn.delete(name.encode(), db=self._dbs[b"cursor"])

    # --- the cluster --------------------------------------------------------------------------

    def add_datanode(self, event: DataNodeAdded) -> None:
        """See ``Tables.add_datanode``."""
        self._txn.put(U32.pack(event.number), _encode(event), db=self._dbs[b"dn"])
        self._txn.put(event.node_id.encode(), U32.pack(event.number), db=self._dbs[b"dnid"])

    def put_datanode_state(self, event: DataNodeStateSet) -> None:
        """See ``Tables.put_datanode_state``."""
        self._txn.put(U32.pack(event.number), _encode(event), db=self._dbs[b"dnstate"])

    def put_voters(self, event: VotersChanged) -> None:
        """See ``Tables.put_voters``."""
        self._txn.put(b"voters", _encode(event), db=self._dbs[b"meta"])

    def put_feature_level(self, level: int) -> None:
        """See ``Tables.put_feature_level``."""
        self._require_level(level)
        self._txn.put(b"level", U32.pack(level), db=self._dbs[b"meta"])

    def _require_level(self, level: int) -> None:
        if level > self._level_max:
            raise beyond(level, self._level_max)

    def used_inodes(self, below: int) -> None:
        """See ``Tables.used_inodes``."""
        meta = self._meta
        meta.next_inode = max(meta.next_inode, below)

    def used_blocks(self, first: int, below: int) -> None:
        """See ``Tables.used_blocks``."""
        meta = self._meta
        if first > meta.next_block_id:
            self._txn.put(U64.pack(meta.next_block_id), U64.pack(first), db=self._dbs[b"skip"])
        meta.next_block_id = max(meta.next_block_id, below)
