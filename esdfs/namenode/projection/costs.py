"""What history costs: contents that no present file names, by directory and by day. One pass over one state.

Versions share contents, so each content is told once: where and when the last version that names it ended.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from esdfs.blocks import Block
from esdfs.ids import ROOT
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import U64
from esdfs.namenode.projection.pins import Pins
from esdfs.namenode.projection.purging import is_back
from esdfs.namenode.projection.reachable import below
from esdfs.namenode.projection.views import PresentView

DAYS: Final = (1, 2, 3, 7, 14, 30)
"""The shorter windows that are worked out."""

DIRECTORIES_MAX: Final = 1_000
_DEPTH_MAX: Final = 256
_DAY_US: Final = 86_400_000_000
_UNKNOWN: Final = "/…"


class Bytes(msgspec.Struct):
    """Some contents, added up.

    Attributes:
        contents: How many.
        bytes: As files have them.
        raw_bytes: As DataNodes store them, all copies.
    """

    contents: int = 0
    bytes: int = 0
    raw_bytes: int = 0

    def add(self, bytes_: int, raw_bytes: int) -> None:
        """One more."""
        self.contents += 1
        self.bytes += bytes_
        self.raw_bytes += raw_bytes


class Line(Bytes, kw_only=True):
    """Those of one directory or day."""

    what: str


class Shorter(Bytes, kw_only=True):
    """What a window of so many days would free."""

    days: int


class Costs(msgspec.Struct, kw_only=True):
    """The whole report.

    Attributes:
        present: What present files name.
        history: What only past versions name.
        snapshots: Of ``history``: what the window no longer shows.
        directories: Of ``history``: by where the last version was; the most expensive first.
        days: Of ``history``: by when (UTC) the last version ended; the newest first.
        shorter: What would be freed, snapshots staying as they are.
    """

    txid: int
    oldest_txid: int
    window_s: int
    records_max: int
    present: Bytes
    history: Bytes
    snapshots: Bytes
    directories: list[Line]
    days: list[Line]
    shorter: list[Shorter]


class _Version(NamedTuple):
    key: bytes
    begun: int
    ended: int
    value: bytes


class _Content:
    __slots__ = ("blocks", "ended", "key", "pinned", "shown")

    def __init__(self, blocks: tuple[Block, ...]) -> None:
        self.blocks = blocks
        self.ended = 0
        self.key = b""
        self.pinned = False
        self.shown = False


def costs(view: PresentView, depth: int, now_us: int) -> Costs:
    """Read everything; seconds per million inodes.

    Args:
        view: One state.
        depth: How many components of a path a line of ``directories`` stands for.
        now_us: What the shorter windows are counted back from.
    """
    oldest_txid, retention = view.oldest_txid(), view.retention()
    present, live = Bytes(), set[int]()
    for blocks in _present(view):
        if blocks[0].block_id not in live:
            live.add(blocks[0].block_id)
            present.add(*_size(view, blocks))
    found = _contents(view, live)
    when = _Moments(view)
    directories: defaultdict[str, Bytes] = defaultdict(Bytes)
    days: defaultdict[str, Bytes] = defaultdict(Bytes)
    history, snapshots = Bytes(), Bytes()
    shorter = [(Shorter(days=days_), _horizon(view, now_us, days_)) for days_ in DAYS]
    for content in found:
        size = _size(view, content.blocks)
        history.add(*size)
        if not content.shown:
            snapshots.add(*size)
        parent, _ = layout.place(content.key)
        directories[_directory(view, parent, content.ended - 1, depth)].add(*size)
        days[when.day(content.ended)].add(*size)
        for saved, horizon in shorter:
            if content.ended <= horizon and not content.pinned:
                saved.add(*size)
    by_cost = sorted(directories.items(), key=lambda one: (-one[1].raw_bytes, one[0]))[:DIRECTORIES_MAX]
    return Costs(
        txid=view.meta.applied_txid,
        oldest_txid=oldest_txid,
        window_s=retention.window_s,
        records_max=retention.records_max,
        present=present,
        history=history,
        snapshots=snapshots,
        directories=[_line(what, size) for what, size in by_cost],
        days=[_line(what, size) for what, size in sorted(days.items(), reverse=True)],
        shorter=[saved for saved, _ in shorter],
    )


def _line(what: str, of: Bytes) -> Line:
    return Line(what=what, contents=of.contents, bytes=of.bytes, raw_bytes=of.raw_bytes)


def _horizon(view: PresentView, now_us: int, days: int) -> int:
    return max(view.oldest_txid(), view.txid_at(now_us - days * _DAY_US))


def _size(view: PresentView, blocks: Iterable[Block]) -> tuple[int, int]:
    logical = raw = 0
    for block in blocks:
        record = view.block(block.block_id)
        logical += block.length_bytes
        raw += block.stored_bytes * (0 if record is None else record.replication)
    return logical, raw


def _present(view: PresentView) -> Iterator[tuple[Block, ...]]:
    """What can be reached now."""
    for _, value in below(view, ROOT):
        if blocks := layout.blocks_in(value):
            yield blocks


def _past(view: PresentView) -> Iterator[_Version]:
    """Every version that ended; what was below a removed directory ended with it."""
    txn, dbs = view.tables()
    for history_key, value in txn.cursor(dbs[b"hist"]):
        ended = U64.unpack_from(value)[0]
        yield _Version(history_key[:-9], U64.unpack(history_key[-8:])[0], ended, value)
        inode, is_directory = layout.entry_id(value)
        if is_directory and not is_back(view, ended, inode):
            for key, lower in below(view, inode):
                begun = U64.unpack_from(lower)[0]
                if begun < ended:
                    yield _Version(key, begun, ended, lower)


def _contents(view: PresentView, live: set[int]) -> list[_Content]:
    found: dict[int, _Content] = {}
    pins, oldest_txid = Pins(view, view.pins()), view.oldest_txid()
    for version in _past(view):
        blocks = layout.blocks_in(version.value)
        if not blocks or blocks[0].block_id in live:
            continue
        content = found.setdefault(blocks[0].block_id, _Content(blocks))
        if version.ended > content.ended:
            content.ended, content.key = version.ended, version.key
        content.shown = content.shown or version.ended > oldest_txid
        inode, _ = layout.entry_id(version.value)
        content.pinned = content.pinned or (
            pins.newest_that_shows(version.key, inode, version.begun, version.ended) is not None
        )
    return list(found.values())


def _directory(view: PresentView, parent: int, txid: int, depth: int) -> str:
    """The first components of a directory's path as it was."""
    names: list[str] = []
    while parent != ROOT:
        place = view.place_at(parent, txid)
        if place is None or len(names) > _DEPTH_MAX:
            return _UNKNOWN
        parent = place[0]
        names.append(place[1])
    return "/" + "/".join(names[::-1][:depth])


class _Moments:
    """When transactions were."""

    def __init__(self, view: PresentView) -> None:
        txn, dbs = view.tables()
        rows: list[Any] = list(txn.cursor(dbs[b"times"]))
        self._times_us = [*(U64.unpack(key)[0] for key, _ in rows), view.meta.ts_us]
        self._txids = [*(U64.unpack(value)[0] for _, value in rows), view.meta.applied_txid]

    def day(self, txid: int) -> str:
        """The day of a transaction, UTC."""
        at = min(bisect_left(self._txids, txid), len(self._txids) - 1)
        return datetime.fromtimestamp(self._times_us[at] / 1e6, UTC).date().isoformat()
