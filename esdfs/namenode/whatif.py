"""History judged by another policy: what quotas would have refused, what a shorter retention would have lost.

The replay goes on as history went: each record is judged against what really happened before it, not against
what the policy would have made of it. Memory grows with the number of contents ever written.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from esdfs.ids import ROOT
from esdfs.namenode import events as ev
from esdfs.namenode.events import Event
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import join
from esdfs.namenode.namespace.view import View, path_of
from esdfs.namenode.namespace.walk import walk_subtree
from esdfs.namenode.projection.differing import Place, changed_places
from esdfs.namenode.projection.writer import Writer

_US: Final = 1_000_000
_DAY_US: Final = 86_400 * _US
_Files: TypeAlias = dict[Place, tuple[str, Inode]]

_MOVES_FILES: Final = (
    ev.FileCompleted,
    ev.FileLinked,
    ev.Deleted,
    ev.Renamed,
    ev.SubtreeLinked,
    ev.TreeLinked,
    ev.NamespaceRewound,
)


class _Source(NamedTuple):
    path: str
    inode: int
    txid: int


class Quota(msgspec.Struct, frozen=True):
    """A limit on the files at and below ``path``; None = without limit."""

    path: str
    max_bytes: int | None = None
    max_files: int | None = None


class Policy(msgspec.Struct, frozen=True):
    """What history is judged by; ``window_s``, ``records_max`` as in ``RetentionSet``, 0 = no limit."""

    quotas: tuple[Quota, ...] = ()
    window_s: int = 0
    records_max: int = 0

    @property
    def forgets(self) -> bool:
        """Whether there is any bound on history."""
        return bool(self.window_s or self.records_max)


class Refusal(msgspec.Struct, frozen=True):
    """A record that a quota would have refused; ``over_*``: by how much it went beyond the limit."""

    txid: int
    ts_us: int
    principal: str
    peer: str
    path: str
    over_bytes: int
    over_files: int


class QuotaReport(msgspec.Struct):
    """One quota. ``peak_*`` with the first record and time they were reached at."""

    path: str
    max_bytes: int | None
    max_files: int | None
    size_bytes: int = 0
    files: int = 0
    peak_bytes: int = 0
    peak_bytes_txid: int = 0
    peak_bytes_us: int = 0
    peak_files: int = 0
    peak_files_txid: int = 0
    peak_files_us: int = 0
    refused: int = 0
    first: Refusal | None = None


class RefusedRestore(msgspec.Struct, frozen=True):
    """A record whose source would have been forgotten: ``oldest_txid`` was the first left."""

    txid: int
    ts_us: int
    principal: str
    peer: str
    kind: str
    path: str
    source_txid: int
    oldest_txid: int


class Kept(msgspec.Struct, frozen=True):
    """History after record ``txid``, the last of its day (or of all).

    Attributes:
        history_bytes: Of file contents that no name has any more, each once, had nothing been forgotten.
        let_go_bytes: Of those, what the policy would have forgotten by then, were there no snapshots.
        oldest_txid, oldest_us: The first moment that could still have been restored.
    """

    txid: int
    ts_us: int
    history_bytes: int
    let_go_bytes: int
    oldest_txid: int
    oldest_us: int


class Report(msgspec.Struct):
    """What would have differed. ``unjudged``: records at the end of a restore that is not finished there."""

    txid: int
    ts_us: int
    records: int
    unjudged: int
    quotas: list[QuotaReport]
    restores: int
    refused_restores: list[RefusedRestore]
    days: list[Kept]


class Record(msgspec.Struct, frozen=True):
    """The columns of a journal row that matter here, and its events."""

    txid: int
    ts_us: int
    principal: str
    peer: str
    events: tuple[Event, ...]


class WhatIf:
    """Running totals of a policy. Feed it every record from txid 1 on, each after it was applied."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._quotas = [QuotaReport(q.path, q.max_bytes, q.max_files) for q in policy.quotas]
        self._waiting: list[Record] = []
        self._times_us = array("q")
        self._judged = 0
        self._pins: dict[str, ev.SnapshotCreated] = {}
        self._restores = 0
        self._refused: list[RefusedRestore] = []
        self._days: list[Kept] = []
        self._names: Counter[int] = Counter()
        # By first block: (txid it ended at, bytes), in the order they ended.
        self._ended: dict[int, tuple[int, int]] = {}
        self._let_go: dict[int, int] = {}
        self._ended_bytes = self._let_go_bytes = 0

    def applied(self, writer: Writer, record: Record) -> None:
        """Judge ``record``, the last one applied to ``writer``; while a restore is unfinished, later."""
        assert record.txid == len(self._times_us) + 1, f"{record.txid} is not the next record"
        self._times_us.append(record.ts_us)
        self._waiting.append(record)
        if writer.unfinished():
            return
        for one in self._waiting:
            self._judge(writer, one)
        self._waiting.clear()

    def report(self, writer: Writer) -> Report:
        """Up to the last record judged."""
        last = self._judged
        if last and self._policy.forgets:
            self._days.append(self._kept(writer, last))
        return Report(
            last,
            self._times_us[last - 1] if last else 0,
            last,
            len(self._waiting),
            self._quotas,
            self._restores,
            self._refused,
            self._days,
        )

    def _judge(self, writer: Writer, record: Record) -> None:
        if self._policy.forgets:
            before = self._judged
            if before and self._times_us[before - 1] // _DAY_US != record.ts_us // _DAY_US:
                self._days.append(self._kept(writer, before))
            for event in record.events:
                self._look_back(writer, record, event)
        self._judged = record.txid
        if any(isinstance(event, _MOVES_FILES) for event in record.events):
            gone, come = _files_changed(writer, record.txid)
            for quota in self._quotas:
                _charge(quota, record, gone, come)
            if self._policy.forgets:
                self._account(record.txid, gone, come)

    # --- retention ----------------------------------------------------------------------------

    def _horizon(self, writer: Writer, last_txid: int, now_us: int) -> int:
        """The first readable txid, as ``wanted_horizon`` has it."""
        window_us, horizon = self._policy.window_s * _US, 1
        if 0 < window_us < now_us:
            horizon = max(horizon, writer.txid_at(now_us - window_us))
        if self._policy.records_max:
            horizon = max(horizon, last_txid - self._policy.records_max)
        return horizon

    def _look_back(self, writer: Writer, record: Record, event: Event) -> None:
        if isinstance(event, ev.SnapshotDeleted):
            self._pins.pop(event.name, None)
            return
        source = _source(writer, event)
        if source is None or _readable_at(writer, event, source, record.txid - 1):
            if isinstance(event, ev.SnapshotCreated):
                self._pins[event.name] = event
            return
        self._restores += 1
        oldest_txid = self._horizon(writer, record.txid - 1, record.ts_us)
        if _readable_from(writer, event, source, oldest_txid) or self._pinned(writer, event, source):
            if isinstance(event, ev.SnapshotCreated):
                self._pins[event.name] = event
            return
        self._refused.append(
            RefusedRestore(
                record.txid,
                record.ts_us,
                record.principal,
                record.peer,
                type(event).__name__,
                source.path,
                source.txid,
                oldest_txid,
            )
        )

    def _pinned(self, writer: Writer, event: Event, source: _Source) -> bool:
        return any(
            _is_at(source.path, pin.path) and _readable_at(writer, event, source, pin.txid)
            for pin in self._pins.values()
        )

    def _account(self, txid: int, gone: _Files, come: _Files) -> None:
        sizes: dict[int, int] = {}
        for files, step in ((gone, -1), (come, 1)):
            for _, inode in files.values():
                if inode.blocks:
                    sizes[inode.blocks[0].block_id] = inode.size_bytes
                    self._names[inode.blocks[0].block_id] += step
        for content, size_bytes in sizes.items():
            if self._names[content]:
                if content in self._ended:
                    self._ended_bytes -= self._ended.pop(content)[1]
                self._let_go_bytes -= self._let_go.pop(content, 0)
            else:
                del self._names[content]
                self._ended[content] = (txid, size_bytes)
                self._ended_bytes += size_bytes

    def _kept(self, writer: Writer, txid: int) -> Kept:
        now_us = self._times_us[txid - 1]
        horizon = self._horizon(writer, txid, now_us)
        while self._ended:
            content = next(iter(self._ended))
            ended_txid, size_bytes = self._ended[content]
            if ended_txid > horizon:
                break
            del self._ended[content]
            self._ended_bytes -= size_bytes
            self._let_go[content] = size_bytes
            self._let_go_bytes += size_bytes
        total = self._ended_bytes + self._let_go_bytes
        return Kept(txid, now_us, total, self._let_go_bytes, horizon, self._times_us[horizon - 1])


def _charge(quota: QuotaReport, record: Record, gone: _Files, come: _Files) -> None:
    size_bytes, files = quota.size_bytes, quota.files
    for side, sign in ((gone, -1), (come, 1)):
        for path, inode in side.values():
            if _is_at(path, quota.path):
                quota.size_bytes += sign * inode.size_bytes
                quota.files += sign
    if quota.size_bytes > quota.peak_bytes:
        quota.peak_bytes = quota.size_bytes
        quota.peak_bytes_txid, quota.peak_bytes_us = record.txid, record.ts_us
    if quota.files > quota.peak_files:
        quota.peak_files = quota.files
        quota.peak_files_txid, quota.peak_files_us = record.txid, record.ts_us
    over_bytes = _over(size_bytes, quota.size_bytes, quota.max_bytes)
    over_files = _over(files, quota.files, quota.max_files)
    if not over_bytes and not over_files:
        return
    quota.refused += 1
    if quota.first is None:
        before = {path: inode.size_bytes for path, inode in gone.values()}
        path = min(
            path
            for path, inode in come.values()
            if _is_at(path, quota.path) and before.get(path, -1) < inode.size_bytes
        )
        quota.first = Refusal(
            record.txid, record.ts_us, record.principal, record.peer, path, over_bytes, over_files
        )


def _over(before: int, after: int, limit: int | None) -> int:
    """By how much growth went beyond the limit; what shrinks is never refused."""
    return 0 if limit is None or after <= before else max(after - limit, 0)


def _files_changed(writer: Writer, txid: int) -> tuple[_Files, _Files]:
    """The files that record ``txid`` may have changed, with their paths: as they were before, and after."""
    before, after = writer.source(txid - 1), writer.source(txid)
    places = [place for place in changed_places(writer, txid - 1, txid) if place[0]]
    return _files_at(before, after, places), _files_at(after, before, places)


def _files_at(view: View, other: View, places: Sequence[Place]) -> _Files:
    found: _Files = {}
    for place in places:
        inode = view.child(*place)
        above = None if inode is None else path_of(view, place[0])
        if inode is None or above is None:
            continue
        if not inode.is_directory:
            found[place] = (join(above, place[1]), inode)
            continue
        there = other.child(*place)
        if there is None or there.inode != inode.inode:
            found.update(_files_below(view, join(above, place[1]), inode))
    return found


def _files_below(view: View, top_path: str, top: Inode) -> Iterator[tuple[Place, tuple[str, Inode]]]:
    paths = {top.inode: top_path}
    for parent, name, inode in walk_subtree(view, top):
        if parent is None:
            continue
        path = join(paths[parent], name)
        if inode.is_directory:
            paths[inode.inode] = path
        else:
            yield (parent, name), (path, inode)


def _source(writer: Writer, event: Event) -> _Source | None:
    """The past state that an event brought back or pinned, with its path then."""
    match event:
        case ev.FileLinked() | ev.SubtreeLinked() | ev.TreeLinked():
            inode, txid = event.source_inode, event.source_txid
            return _Source(path_of(writer.source(txid), inode) or event.name, inode, txid)
        case ev.NamespaceRewound(to_txid):
            return _Source("/", ROOT, to_txid)
        case ev.SnapshotCreated():
            return _Source(event.path, event.inode, event.txid)
        case _:
            return None


def _readable_from(writer: Writer, event: Event, source: _Source, oldest_txid: int) -> bool:
    return source.txid >= oldest_txid or _readable_at(writer, event, source, oldest_txid)


def _readable_at(writer: Writer, event: Event, source: _Source, txid: int) -> bool:
    """Whether what was brought back is in the state after ``txid``. Of a file, the version is: it lasted."""
    if not isinstance(event, ev.FileLinked):
        return txid == source.txid
    view = writer.source(txid)
    place = view.place_of(source.inode)
    found = None if place is None else view.child(*place)
    return found is not None and (found.inode, found.version) == (source.inode, source.txid)


def _is_at(path: str, top: str) -> bool:
    return top in {"/", path} or path.startswith(f"{top}/")
