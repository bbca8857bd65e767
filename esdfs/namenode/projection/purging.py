"""Forgetting versions that ended before the horizon and that no snapshot shows: a function of the tables.

A version that was so for from <= txid < until is of the window when until lies above the horizon.
The index of changes names every such end in order, so what is to be looked at next is one position in it.
Versions below a directory that was removed have no end of their own: they are in ``cur`` still and are found
through ``dead``. What a snapshot shows is noted under the newest one that does (``held``); its deletion
(``drain``) looks at them again.
"""

from collections.abc import Callable
from functools import cached_property
from itertools import islice
from typing import Final

from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import END, TWO_U64, U64
from esdfs.namenode.projection.pins import Pins
from esdfs.namenode.projection.views import PresentView

_BLOCKS_PER_STEP: Final = 100


class Backlog:
    """What is waiting to be forgotten."""

    def __init__(self, view: PresentView) -> None:
        self._view = view
        self._txn, self._dbs = view.tables()

    def is_empty(self) -> bool:
        """Whether nothing is left to do now; cheap."""
        if self._view.unfinished():
            return True  # what a restore still reads must stay
        return not (
            self.first_end() is not None
            or self.first_dead() is not None
            or self.first("drain") is not None
            or self.is_index_to_trim()
            or self.are_times_to_trim()
        )

    def first(self, table: str) -> bytes | None:
        """The first key of a table."""
        cursor = self._txn.cursor(self._dbs[table.encode()])
        return cursor.key() if cursor.first() else None

    def purged(self) -> bytes:
        """The key of ``chg`` before which everything was looked at."""
        return self._txn.get(b"purged", db=self._dbs[b"meta"]) or b""

    def first_end(self) -> bytes | None:
        """The next change at or before the horizon."""
        cursor = self._txn.cursor(self._dbs[b"chg"])
        if not cursor.set_range(self.purged() or U64.pack(0)):
            return None
        key: bytes = cursor.key()
        return key if U64.unpack_from(key)[0] <= self._view.oldest_txid() else None

    def first_dead(self) -> tuple[int, int] | None:
        """(until, inode) of a directory that was removed at or before the horizon."""
        key = self.first("dead")
        if key is None:
            return None
        until_txid, inode = TWO_U64.unpack(key)
        return (until_txid, inode) if until_txid <= self._view.oldest_txid() else None

    def is_index_to_trim(self) -> bool:
        """Whether the first change is behind all that can be compared or gone back to."""
        key = self.first("chg")
        if key is None or key >= self.purged():
            return False
        return bool(U64.unpack_from(key)[0] <= self._pinned_txid)

    @cached_property
    def _pinned_txid(self) -> int:
        return min((pin.txid for pin in self._view.pins()), default=self._view.oldest_txid())

    def are_times_to_trim(self) -> bool:
        """Whether the second of the known times is still at or before the horizon."""
        cursor = self._txn.cursor(self._dbs[b"times"])
        if not cursor.first() or not cursor.next():
            return False
        return bool(U64.unpack(cursor.value())[0] <= self._view.oldest_txid())


class Purge:
    """Steps of forgetting, within one record.

    Args:
        view: The state being changed, all its changes noted in ``chg``.
        drop: Told each version that is gone, as in ``cur`` or ``hist``.
    """

    def __init__(self, view: PresentView, drop: Callable[[bytes], None]) -> None:
        self._view = view
        self._drop = drop
        self._backlog = Backlog(view)
        self._txn, dbs = view.tables()
        self._cur, self._hist, self._ino = dbs[b"cur"], dbs[b"hist"], dbs[b"ino"]
        self._moved, self._held, self._dead = dbs[b"moved"], dbs[b"held"], dbs[b"dead"]
        self._drain, self._chg, self._times = dbs[b"drain"], dbs[b"chg"], dbs[b"times"]
        self._meta = dbs[b"meta"]
        self._pins = Pins(view, view.pins())
        self._blocks = 0

    def run(self, steps_max: int) -> None:
        """Take about ``steps_max`` steps, or all there are."""
        if self._view.unfinished():
            return
        taken = 0
        while taken + self._pins.asked + self._blocks // _BLOCKS_PER_STEP < steps_max and self._step():
            taken += 1

    def _step(self) -> bool:
        """One step; whether there was any."""
        if (end := self._backlog.first_end()) is not None:
            self._end_version(end)
        elif (dead := self._backlog.first_dead()) is not None:
            self._end_below(*dead)
        elif (drained := self._backlog.first("drain")) is not None:
            self._look_again(drained)
        elif self._backlog.is_index_to_trim():
            self._txn.delete(self._backlog.first("chg"), db=self._chg)
        elif self._backlog.are_times_to_trim():
            self._txn.delete(self._backlog.first("times"), db=self._times)
        else:
            return False
        return True

    # --- versions that ended ------------------------------------------------------------------

    def _end_version(self, change: bytes) -> None:
        """Look at what a change ended."""
        self._txn.put(b"purged", change + END, db=self._meta)
        until, key = change[:8], change[8:]
        found = self._before(key, until)
        if found is None or found[1][:8] != until:
            return  # it only began something
        history_key, value = found
        inode, is_directory = layout.entry_id(value)
        if is_directory and not is_back(self._view, U64.unpack(until)[0], inode):
            self._txn.put(until + U64.pack(inode), b"", db=self._dead)
        self._keep_or_forget(history_key, value)

    def _before(self, key: bytes, until: bytes) -> tuple[bytes, bytes] | None:
        """(key, value) of the newest version of an entry in ``hist`` that began before ``until``."""
        cursor = self._txn.cursor(self._hist)
        prefix = key + END
        found = cursor.set_range(prefix + until)
        if not (cursor.prev() if found else cursor.last()):
            return None
        at: bytes = cursor.key()
        if len(at) != len(prefix) + 8 or not at.startswith(prefix):
            return None
        return at, cursor.value()

    def _keep_or_forget(self, history_key: bytes, value: bytes) -> None:
        pin_txid = self._shown_by(history_key, value)
        if pin_txid is None:
            self._forget(history_key, value)
        else:
            self._txn.put(U64.pack(pin_txid) + history_key, b"", db=self._held)

    def _shown_by(self, history_key: bytes, value: bytes) -> int | None:
        inode, _ = layout.entry_id(value)
        begun, ended = U64.unpack(history_key[-8:])[0], U64.unpack_from(value)[0]
        return self._pins.newest_that_shows(history_key[:-9], inode, begun, ended)

    def _forget(self, history_key: bytes, value: bytes) -> None:
        self._txn.delete(history_key, db=self._hist)
        self._forget_version(history_key[:-9], value[:8], value)

    def _forget_version(self, key: bytes, until: bytes, value: bytes) -> None:
        self._forget_place(key, value[8:16], until)
        self._blocks += len(layout.blocks_in(value))
        self._drop(value)

    def _forget_place(self, key: bytes, inode: bytes, until: bytes) -> None:
        """Forget that an inode was at ``key``, unless another version of it there is left."""
        cursor = self._txn.cursor(self._moved)
        if not cursor.set_range(inode + until):
            return
        row: bytes = cursor.key()
        if not row.startswith(inode):
            return  # that is where it is now
        if cursor.value() != key and self._view.feature_level() >= layout.LEVEL_PLACES:
            return  # it came here and left within one transaction
        came = cursor.key()[8:] if cursor.prev() and cursor.key().startswith(inode) else bytes(8)
        left = self._before(key, row[8:])
        if left is None or left[1][8:16] != inode or left[1][:8] <= came:
            self._txn.delete(row, db=self._moved)

    # --- what was below a directory that was removed --------------------------------------------

    def _end_below(self, until_txid: int, directory: int) -> None:
        """One entry of a removed directory ends with it."""
        if is_back(self._view, until_txid, directory):
            self._txn.delete(TWO_U64.pack(until_txid, directory), db=self._dead)
            return
        name, value = next(islice(self._view.entries(directory, b""), 1), (b"", b""))
        until = U64.pack(until_txid)
        if not value:
            self._txn.delete(until + U64.pack(directory), db=self._dead)
            return
        key, inode = U64.pack(directory) + name, value[8:16]
        self._txn.delete(key, db=self._cur)
        if self._txn.get(inode, db=self._ino) == key:
            self._txn.delete(inode, db=self._ino)
        if layout.entry_id(value)[1]:
            self._txn.put(until + inode, b"", db=self._dead)
        if value[:8] >= until:
            # Nobody ever saw it: it was made within that transaction, or brought back out of sight.
            self._txn.put(inode + value[:8], key, db=self._moved, overwrite=False)
            self._forget_version(key, value[:8], value)
            return
        self._txn.put(inode + until, key, db=self._moved, overwrite=False)
        past = until + value[8:]
        history_key = key + END + value[:8]
        self._txn.put(history_key, past, db=self._hist)
        self._keep_or_forget(history_key, past)

    # --- what only deleted snapshots showed -----------------------------------------------------

    def _look_again(self, drained: bytes) -> None:
        """At the next version that was kept for a snapshot of this txid."""
        after: bytes = self._txn.get(drained, db=self._drain)
        cursor = self._txn.cursor(self._held)
        if not cursor.set_range(after + END if after else drained) or not cursor.key().startswith(drained):
            self._txn.delete(drained, db=self._drain)
            return
        held: bytes = cursor.key()
        history_key = held[8:]
        value = self._txn.get(history_key, db=self._hist)
        assert value is not None, f"a version is held for txid {U64.unpack(drained)[0]} that is not there"
        pin_txid = self._shown_by(history_key, value)
        if pin_txid is not None and U64.pack(pin_txid) == drained:
            self._txn.put(drained, held, db=self._drain)
            return
        self._txn.delete(held, db=self._held)
        if pin_txid is None:
            self._forget(history_key, value)
        else:
            self._txn.put(U64.pack(pin_txid) + history_key, b"", db=self._held)


def ends_after(view: PresentView, after_txid: int, until_txid: int) -> bool:
    """Whether any entry changed in a transaction above ``after_txid``, up to ``until_txid``."""
    txn, dbs = view.tables()
    cursor = txn.cursor(dbs[b"chg"])
    return bool(cursor.set_range(U64.pack(after_txid + 1)) and U64.unpack_from(cursor.key())[0] <= until_txid)


def is_back(view: PresentView, until_txid: int, inode: int) -> bool:
    """Whether an inode has, or had, a name after it lost one: it was renamed, or restored."""
    if view.place_of(inode) is not None:
        return True
    txn, dbs = view.tables()
    cursor = txn.cursor(dbs[b"moved"])
    found = cursor.set_range(TWO_U64.pack(inode, until_txid + 1))
    return bool(found and cursor.key().startswith(U64.pack(inode)))
