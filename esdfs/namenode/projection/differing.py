"""What differs between two moments: the net effect, whatever happened in between.

The index of changes names every entry that was touched, so the work grows with what happened between the two
moments and not with the namespace. An inode that has another name is *renamed*, not deleted and added; what
was touched and is as it was differs in nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple

import msgspec

from esdfs.errors import Compacted, NotADirectory, NotFound
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import join
from esdfs.namenode.namespace.view import INODE_MAX, View, path_of, resolve
from esdfs.namenode.namespace.walk import walk_subtree
from esdfs.namenode.projection.views import PresentView

Place = tuple[int, str]

_PAGE: Final = 1000
_COMPARED: Final = ("mode", "owner", "group", "mtime_us", "replication")


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a difference.

    Attributes:
        path: Where it is at the later moment; of what was deleted, where it was.
        from_path: Of what was renamed.
        fields: What else changed: ``content`` or names of attributes.
        size_bytes, size_before: Of files.
    """

    change: Literal["added", "modified", "deleted", "renamed"]
    type: Literal["file", "directory"]
    path: str
    file_id: str
    from_path: str = ""
    fields: tuple[str, ...] = ()
    size_bytes: int = 0
    size_before: int = 0


class _Side:
    """One of the two moments."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._paths: dict[int, str | None] = {1: "/"}

    def entry(self, place: Place) -> Inode | None:
        """What is there, if it can be reached from the root."""
        parent, name = place
        if parent and self.path_of(parent) is None:
            return None
        try:
            return self.view.child(parent, name)
        except Compacted:
            return None  # of a snapshot of a subtree, and not in it: not what was asked about

    def path_of(self, directory: int) -> str | None:
        if directory not in self._paths:
            try:
                self._paths[directory] = path_of(self.view, directory)
            except Compacted:
                self._paths[directory] = None
        return self._paths[directory]

    def path(self, place: Place) -> str:
        parent, name = place
        above = self.path_of(parent) if parent else None
        return "/" if above is None else join(above, name)


def changed_places(present: PresentView, since: int, until: int) -> list[Place]:
    """Every place that was touched after ``since`` up to ``until``, once each, in order."""
    found: dict[Place, None] = {}
    after = (since, INODE_MAX, "")
    while page := present.changes(until, after=after, limit=_PAGE):
        for change in page:
            found[change[1], change[2]] = None
        after = page[-1]
    return list(found)


def difference(present: PresentView, before: int, after: int, path: str = "/") -> list[Change]:
    """The net effect of going from the state after ``before`` to that after ``after``, by path.

    Either may be the earlier one. Of what happened only the part at and below ``path`` is told: what was, or
    is, there.

    Raises:
        Compacted, FutureTxid: See ``PresentView.past``.
        Restoring: One of the states is still being put together.
    """
    places = changed_places(present, *sorted((before, after)))
    states = present.past(before), present.past(after)
    for state in states:
        _require_known(state, path)
    found = [_change(pair) for pair in compare(*states, places) if pair.kind != "modified" or pair.fields]
    return sorted(
        (change for change in found if _is_at(change.path, path) or _is_at(change.from_path, path)),
        key=lambda change: (change.path, change.change),
    )


class Pair(NamedTuple):
    """What one entry was and is, with where.

    Attributes:
        was, now: None where there was, or is, nothing.
        fields: As in ``Change``; of what was rewritten with the same bytes and attributes there are none.
    """

    kind: Literal["added", "modified", "deleted", "renamed"]
    was: Inode | None
    was_path: str
    now: Inode | None
    now_path: str
    fields: tuple[str, ...] = ()


def _require_known(state: View, path: str) -> None:
    """Refuse to compare what a snapshot of a subtree does not show."""
    with suppress(NotFound, NotADirectory):
        top = resolve(state, path)
        if top.is_directory:
            state.children(top.inode, after="", limit=1)


def compare(before: View, after: View, places: Sequence[Place]) -> list[Pair]:
    """All that differs between two states which differ at ``places`` at most, in no order."""
    one, other = _Side(before), _Side(after)
    touched = set(places)
    gone: dict[int, tuple[Place, Inode]] = {}
    come: dict[int, tuple[Place, Inode]] = {}
    found: list[Pair] = []

    def rewritten(was: Inode, now: Inode, was_path: str, now_path: str) -> None:
        found.append(Pair("modified", was, was_path, now, now_path, _fields(was, now)))

    for place in places:
        was, now = one.entry(place), other.entry(place)
        if was is not None and now is not None and was.inode == now.inode:
            rewritten(was, now, one.path(place), other.path(place))
            continue
        if was is not None:
            gone[was.inode] = (place, was)
        if now is not None:
            come[now.inode] = (place, now)
    for number in [number for number in gone if number in come]:
        (left, was), (arrived, now) = gone.pop(number), come.pop(number)
        found.append(Pair("renamed", was, one.path(left), now, other.path(arrived), _fields(was, now)))
    # Another file in the place of one, as an overwrite leaves it.
    files = {place: now for place, now in come.values() if not now.is_directory}
    for place, was in list(gone.values()):
        over = None if was.is_directory else files.get(place)
        if over is not None:
            del gone[was.inode], come[over.inode]
            rewritten(was, over, one.path(place), other.path(place))
    lost = {at: inode for place, was in gone.values() for at, inode in _all_below(one, place, was, touched)}
    for place, now in come.values():
        for at, inode in _all_below(other, place, now, touched):
            # One of its kind at the same path, as the restore of a directory leaves it.
            there = lost.get(at)
            if there is None or there.is_directory != inode.is_directory:
                found.append(Pair("added", None, "", inode, at))
                continue
            del lost[at]
            rewritten(there, inode, at, at)
    found += [Pair("deleted", inode, at, None, "") for at, inode in lost.items()]
    return found


def _all_below(side: _Side, place: Place, top: Inode, touched: set[Place]) -> Iterator[tuple[str, Inode]]:
    """``top`` and what came or went with it: what was touched itself is told for itself."""
    paths = {top.inode: side.path(place)}
    yield paths[top.inode], top
    for parent, name, inode in walk_subtree(side.view, top):
        if parent is None or parent not in paths or (parent, name) in touched:
            continue
        here = join(paths[parent], name)
        if inode.is_directory:
            paths[inode.inode] = here
        yield here, inode


def _fields(was: Inode, now: Inode) -> tuple[str, ...]:
    same_bytes = (was.size_bytes, was.crc32c) == (now.size_bytes, now.crc32c)
    changed = [name for name in _COMPARED if getattr(was, name) != getattr(now, name)]
    return tuple(changed) if same_bytes else ("content", *changed)


def _change(pair: Pair) -> Change:
    inode = pair.was if pair.now is None else pair.now
    assert inode is not None, "a pair has one side at least"
    return Change(
        pair.kind,
        "directory" if inode.is_directory else "file",
        pair.now_path or pair.was_path,
        str(inode.inode),
        pair.was_path if pair.kind == "renamed" else "",
        pair.fields,
        inode.size_bytes,
        0 if pair.was is None or pair.now is None else pair.was.size_bytes,
    )


def _is_at(path: str, top: str) -> bool:
    return bool(path) and (top in {"/", path} or path.startswith(f"{top}/"))
