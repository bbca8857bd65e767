"""The namespace's read ports on an LMDB transaction: the present, and any moment of the past."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, takewhile
from operator import itemgetter
from typing import Any, Final, TypeVar

import msgspec

from esdfs.errors import Compacted, FutureTxid
from esdfs.ids import ROOT
from esdfs.namenode.events import (
    ClusterFormatted,
    DataNodeAdded,
    DataNodeStateSet,
    RetentionSet,
    SnapshotCreated,
    VoterEntry,
    VotersChanged,
)
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord, Cursor, Inode, OpenFile
from esdfs.namenode.namespace.view import View
from esdfs.namenode.projection import contents, layout
from esdfs.namenode.projection.layout import END, U32, U64, Meta
from esdfs.namenode.projection.past import PastView, require_whole
from esdfs.namenode.projection.pins import PinnedView
from esdfs.namenode.upcasters import LEVEL_OLDEST

T = TypeVar("T")

_open_file = msgspec.msgpack.Decoder(OpenFile).decode
_cluster = msgspec.msgpack.Decoder(ClusterFormatted).decode
_datanode_state = msgspec.msgpack.Decoder(DataNodeStateSet).decode
_datanode = msgspec.msgpack.Decoder(DataNodeAdded).decode
_voters = msgspec.msgpack.Decoder(VotersChanged).decode
_meta = msgspec.msgpack.Decoder(Meta).decode
_retention = msgspec.msgpack.Decoder(RetentionSet).decode
_pin = msgspec.msgpack.Decoder(SnapshotCreated).decode
_cursor = msgspec.msgpack.Decoder(Cursor).decode

DEFAULT_RETENTION: Final = RetentionSet(window_s=7 * 86_400, records_max=0)
"""Until somebody sets another."""

Dbs = dict[bytes, Any]
"""LMDB's named databases, by table name."""


def read_meta(txn: Any, dbs: Dbs) -> Meta:
    """Where the projection stands in this transaction."""
    value = txn.get(b"meta", db=dbs[b"meta"])
    return Meta() if value is None else _meta(value)


class PresentView:
    """``Present`` on one LMDB transaction.

    Args:
        txn: A transaction; the view is valid as long as it is.
        dbs: All tables.
    """

    def __init__(self, txn: Any, dbs: Dbs, meta: Meta) -> None:
        self._txn = txn
        self._dbs = dbs
        self._cur = dbs[b"cur"]
        self._meta = meta
        self._blocked = frozenset(top for _, top in meta.unfinished)

    def _require_whole(self, parent: int) -> None:
        require_whole(self._meta.unfinished, parent, self._meta.applied_txid)

    @property
    def meta(self) -> Meta:
        """Where this state stands in the journal."""
        return self._meta

    def child(self, parent: int, name: str) -> Inode | None:
        """See ``View.child``."""
        if self._blocked:
            self._require_whole(parent)
        value = self._txn.get(layout.entry_key(parent, name), db=self._cur)
        return None if value is None else layout.unpack_entry(value)

    def child_id(self, parent: int, name: str) -> tuple[int, bool] | None:
        """See ``View.child_id``."""
        if self._blocked:
            self._require_whole(parent)
        value = self._txn.get(layout.entry_key(parent, name), db=self._cur)
        return None if value is None else layout.entry_id(value)

    def children(self, parent: int, *, after: str, limit: int) -> list[tuple[str, Inode]]:
        """See ``View.children``."""
        if self._blocked:
            self._require_whole(parent)
        return [
            (name.decode(), layout.unpack_entry(value))
            for name, value in islice(self.entries(parent, after.encode()), limit)
        ]

    def entries(self, parent: int, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Raw (name, value) of ``cur`` below ``parent`` with a name above ``after``."""
        prefix = U64.pack(parent)
        cursor = self._txn.cursor(self._cur)
        # A name holds no NUL, so this key lies just above `after` itself.
        if not cursor.set_range(prefix + after + END if after else prefix):
            return
        for key, value in cursor:
            if not key.startswith(prefix):
                return
            yield key[8:], value

    def place_of(self, inode: int) -> tuple[int, str] | None:
        """See ``View.place_of``."""
        value = self._txn.get(U64.pack(inode), db=self._dbs[b"ino"])
        return None if value is None else layout.place(value)

    def cluster(self) -> ClusterFormatted:
        """See ``Present.cluster``."""
        value = self._txn.get(b"cluster", db=self._dbs[b"meta"])
        assert value is not None, "the journal's first record was not applied"
        return _cluster(value)

    def voters(self) -> tuple[VoterEntry, ...]:
        """The NameNodes that vote; empty in a journal that was formatted for one and never said so."""
        value = self._txn.get(b"voters", db=self._dbs[b"meta"])
        return () if value is None else _voters(value).voters

    def feature_level(self) -> int:
        """See ``Present.feature_level``."""
        value = self._txn.get(b"level", db=self._dbs[b"meta"])
        if value is not None:
            return int(U32.unpack(value)[0])
        return self.cluster().feature_level if self._meta.applied_txid else LEVEL_OLDEST

    def past(self, txid: int) -> View:
        """See ``Present.past``."""
        meta = self._meta
        if txid < meta.oldest_txid:
            return self._pinned(txid)
        if txid > meta.applied_txid:
            raise FutureTxid(f"txid {txid} is not there yet: the newest is {meta.applied_txid}")
        return PastView(self, txid)

    def _pinned(self, txid: int) -> View:
        oldest_txid = self._meta.oldest_txid
        pins = [pin for pin in self.pins() if pin.txid == txid]
        if not pins:
            raise Compacted(f"history before txid {oldest_txid} is compacted", oldest_txid=oldest_txid)
        whole = PastView(self, txid)
        return whole if any(pin.inode == ROOT for pin in pins) else PinnedView(whole, pins, oldest_txid)

    def readable(self, since: int, until: int) -> Iterator[int]:
        """Moments of since <= txid < until (0 = now) that can be read: the window's first, then pins'."""
        oldest_txid = self._meta.oldest_txid
        if not until or until > oldest_txid:
            yield max(since, oldest_txid)
        else:
            yield from sorted({pin.txid for pin in self.pins() if since <= pin.txid < until})

    def applied_txid(self) -> int:
        """See ``Present.applied_txid``."""
        return self._meta.applied_txid

    def tables(self) -> tuple[Any, Dbs]:
        """The transaction and the tables, for the other modules of this package."""
        return self._txn, self._dbs

    def retention(self) -> RetentionSet:
        """How much history is kept."""
        value = self._txn.get(b"retention", db=self._dbs[b"meta"])
        return DEFAULT_RETENTION if value is None else _retention(value)

    def _named(self, name: str, table: bytes) -> bytes | None:
        """What has this name; nothing has an empty one, and LMDB raises on a key without bytes."""
        found: bytes | None = self._txn.get(name.encode(), db=self._dbs[table]) if name else None
        return found

    def pin(self, name: str) -> SnapshotCreated | None:
        """The snapshot of this name."""
        value = self._named(name, b"pin")
        return None if value is None else _pin(value)

    def pins(self) -> list[SnapshotCreated]:
        """All snapshots, by name."""
        return [_pin(value) for _, value in self._txn.cursor(self._dbs[b"pin"])]

    def cursor(self, name: str) -> Cursor | None:
        """See ``Present.cursor``."""
        value = self._named(name, b"cursor")
        return None if value is None else _cursor(value)

    def cursors(self) -> list[Cursor]:
        """See ``Present.cursors``."""
        return [_cursor(value) for _, value in self._txn.cursor(self._dbs[b"cursor"])]

    def last_txid(self) -> int:
        """See ``Present.last_txid``."""
        return self._meta.applied_txid

    def oldest_txid(self) -> int:
        """See ``Present.oldest_txid``."""
        return self._meta.oldest_txid

    def unfinished(self) -> tuple[tuple[int, int], ...]:
        """(txid, top) of the restores that are under way; see ``Work``."""
        return self._meta.unfinished

    def changes(self, until: int, *, after: tuple[int, int, str], limit: int) -> list[tuple[int, int, str]]:
        """See ``Tables.changes``."""
        txid, parent, name = after
        cursor = self._txn.cursor(self._dbs[b"chg"])
        start = U64.pack(txid) + layout.entry_key(parent, name)
        # A name holds no NUL: this lies just above the key, also above the root's, whose name is empty.
        if not cursor.set_range(start + END):
            return []
        beyond = U64.pack(until + 1)
        return [
            (U64.unpack_from(key)[0], *layout.place(key[8:]))
            for key in islice(
                takewhile(lambda key: key < beyond, cursor.iternext(keys=True, values=False)), limit
            )
        ]

    def open_file(self, inode: int) -> OpenFile | None:
        """See ``Present.open_file``."""
        value = self._txn.get(U64.pack(inode), db=self._dbs[b"open"])
        return None if value is None else _open_file(value)

    def open_files(self) -> list[OpenFile]:
        """All files being written."""
        return [_open_file(value) for _, value in self._txn.cursor(self._dbs[b"open"])]

    def open_at(self, parent: int, name: str) -> int | None:
        """See ``Present.open_at``."""
        value = self._txn.get(layout.entry_key(parent, name), db=self._dbs[b"openp"])
        return None if value is None else U64.unpack(value)[0]

    def block(self, block_id: int) -> BlockRecord | None:
        """See ``Present.block``."""
        value = self._txn.get(U64.pack(block_id), db=self._dbs[b"blk"])
        return None if value is None else layout.unpack_block(value)

    def blocks(self, block_ids: Iterable[int]) -> Sequence[BlockRecord | None]:
        """The same of many, in one look."""
        return self._of_blocks(block_ids, layout.unpack_blocks)

    def generations(self, block_ids: Iterable[int]) -> Sequence[int | None]:
        """Of these blocks; None = there is no such block."""
        return self._of_blocks(block_ids, layout.generations)

    def _of_blocks(
        self, block_ids: Iterable[int], unpack: Callable[[Iterable[bytes]], Sequence[T]]
    ) -> Sequence[T | None]:
        keys = [*map(U64.pack, block_ids)]
        pairs = self._txn.cursor(self._dbs[b"blk"]).getmulti(keys)
        known = unpack([value for _, value in pairs])
        if len(pairs) == len(keys):
            return known
        found = dict(zip([key for key, _ in pairs], known, strict=True))
        return [found.get(key) for key in keys]

    def blocks_after(self, block_id: int, limit: int) -> tuple[Sequence[int], Sequence[BlockRecord]]:
        """At most ``limit`` blocks with an id above ``block_id``, in order: their ids, and they."""
        cursor = self._txn.cursor(self._dbs[b"blk"])
        page = [*islice(cursor, limit)] if cursor.set_range(U64.pack(block_id + 1)) else []
        ids = layout.block_ids([key for key, _ in page])
        return ids, layout.unpack_blocks([value for _, value in page])

    def sharers(self, inode: Inode) -> list[Inode] | None:
        """See ``Present.sharers``."""
        return contents.sharers(self, inode)

    def number_of(self, node_id: str) -> int | None:
        """See ``Present.number_of``."""
        value = self._named(node_id, b"dnid")
        return None if value is None else U32.unpack(value)[0]

    def datanode(self, number: int) -> DataNodeAdded | None:
        """The DataNode with this number."""
        value = self._txn.get(U32.pack(number), db=self._dbs[b"dn"])
        return None if value is None else _datanode(value)

    def datanodes(self) -> list[DataNodeAdded]:
        """Every DataNode that ever registered."""
        return [_datanode(value) for _, value in self._txn.cursor(self._dbs[b"dn"])]

    def datanode_state(self, number: int) -> DataNodeStateSet | None:
        """See ``Present.datanode_state``."""
        value = self._txn.get(U32.pack(number), db=self._dbs[b"dnstate"])
        return None if value is None else _datanode_state(value)

    def datanode_states(self) -> list[DataNodeStateSet]:
        """What operators want of DataNodes, by number; those of which nobody ever said are not there."""
        return [_datanode_state(value) for _, value in self._txn.cursor(self._dbs[b"dnstate"])]

    def next_datanode_number(self) -> int:
        """The number the next new DataNode gets."""
        cursor = self._txn.cursor(self._dbs[b"dn"])
        return U32.unpack(cursor.key())[0] + 1 if cursor.last() else 1

    def next_inode(self) -> int:
        """See ``Present.next_inode``."""
        return self._meta.next_inode

    def allocated(self) -> Allocated:
        """See ``Present.allocated``."""
        skipped = self._txn.cursor(self._dbs[b"skip"])
        return Allocated(
            self._meta.next_block_id,
            tuple([(U64.unpack(first)[0], U64.unpack(below)[0]) for first, below in skipped]),
        )

    def result(self, client_id: bytes, seq: int) -> bytes | None:
        """What a request was answered: msgpack [request_hash, txid, [result…]]."""
        found: bytes | None = self._txn.get(client_id + U64.pack(seq), db=self._dbs[b"results"])
        return found

    def txid_at(self, ts_us: int) -> int:
        """The last transaction stamped at or before ``ts_us``; 0 when all are later."""
        if ts_us >= self._meta.ts_us:
            return self._meta.applied_txid
        cursor = self._txn.cursor(self._dbs[b"times"])
        found = cursor.set_range(U64.pack(ts_us + 1))
        if not (cursor.prev() if found else cursor.last()):
            return 0
        txid: int = U64.unpack(cursor.value())[0]
        return txid

    # --- history ------------------------------------------------------------------------------

    def version_at(self, key: bytes, txid: int) -> tuple[bytes, int] | None:
        """(value, version) of the entry ``key`` as it was after ``txid``."""
        value = self._txn.get(key, db=self._cur)
        if value is not None:
            version = U64.unpack_from(value)[0]
            if version <= txid:
                return value, version
        cursor = self._txn.cursor(self._dbs[b"hist"])
        prefix = key + END
        found = cursor.set_range(prefix + U64.pack(txid + 1))
        if not (cursor.prev() if found else cursor.last()):
            return None
        at = cursor.key()
        if len(at) != len(prefix) + 8 or not at.startswith(prefix):
            return None
        value = cursor.value()
        if U64.unpack_from(value)[0] <= txid:
            return None
        return value, U64.unpack_from(at, len(prefix))[0]

    def entries_at(self, parent: int, after: bytes, txid: int, limit: int) -> list[tuple[bytes, bytes, int]]:
        """(name, value, version) of at most ``limit`` entries that were so after ``txid``, in order of names.

        One name is in at most one of the two tables: its versions' intervals do not overlap.
        """
        prefix, end, wanted = U64.pack(parent), U64.pack(parent + 1), U64.pack(txid)
        # Values begin with a txid and go on: this tells which are above `txid` without cutting each.
        later = U64.pack(txid + 1)
        still: list[tuple[bytes, bytes, int]] = []
        cursor = self._txn.cursor(self._cur)
        if cursor.set_range(prefix + after + END if after else prefix):
            for key, value in cursor:
                if key >= end or len(still) == limit:
                    break
                if value < later:
                    still.append((key[8:], value, int.from_bytes(value[:8], "big")))
        past: list[tuple[bytes, bytes, int]] = []
        cursor = self._txn.cursor(self._dbs[b"hist"])
        # Above every version of `after` itself: 0x01 sorts after the NUL that ends it.
        if cursor.set_range(prefix + after + b"\x01" if after else prefix):
            for key, value in cursor:
                if key >= end or len(past) == limit:
                    break
                if value > later and (version := key[-8:]) <= wanted:
                    past.append((key[8:-9], value, int.from_bytes(version, "big")))
        if still and past:
            still += past
            still.sort(key=itemgetter(0))
            return still[:limit]
        return still or past

    def versions(self, parent: int, name: str) -> Iterator[tuple[Inode, int]]:
        """(inode, until txid; 0 = now) of every version of an entry, newest first."""
        key = layout.entry_key(parent, name)
        value = self._txn.get(key, db=self._cur)
        if value is not None:
            yield layout.unpack_entry(value), 0
        cursor = self._txn.cursor(self._dbs[b"hist"])
        prefix = key + END
        found = cursor.set_range(key + b"\x01")
        more = cursor.prev() if found else cursor.last()
        while more and cursor.key().startswith(prefix):
            value = cursor.value()
            version = U64.unpack_from(cursor.key(), len(prefix))[0]
            yield layout.unpack_past(value, version), U64.unpack_from(value)[0]
            more = cursor.prev()

    def place_at(self, inode: int, txid: int) -> tuple[int, str] | None:
        """Where an inode had its name after ``txid``, if it existed then."""
        cursor = self._txn.cursor(self._dbs[b"moved"])
        prefix = U64.pack(inode)
        if cursor.set_range(prefix + U64.pack(txid + 1)) and cursor.key().startswith(prefix):
            return layout.place(cursor.value())
        return self.place_of(inode)

    def places(self, inode: int) -> list[tuple[int, str]]:
        """Every place an inode ever had, oldest first."""
        cursor = self._txn.cursor(self._dbs[b"moved"])
        prefix = U64.pack(inode)
        found: list[tuple[int, str]] = []
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not key.startswith(prefix):
                    break
                found.append(layout.place(value))
        now = self.place_of(inode)
        return found if now is None else [*found, now]
