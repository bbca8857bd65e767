"""Which records a question is about, newest first, read off the index alone. Pure over ``Rows``."""

from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from esdfs.ids import ROOT
from esdfs.namenode.audit.building import decode_changes
from esdfs.namenode.audit.changes import STRUCTURAL, Change, touches
from esdfs.namenode.audit.rows import END, LAST, U64, Rows, place, place_key, principal_key, read_meta
from esdfs.namenode.events import Kind
from esdfs.namenode.namespace.paths import DEPTH_MAX

_TRANSACTION: Final = int(Kind.TRANSACTION)
_REWOUND: Final = frozenset({int(Kind.NAMESPACE_REWOUND)})
_BIRTHS: Final = frozenset(
    {
        int(Kind.DIRECTORY_MADE),
        int(Kind.FILE_OPENED),
        int(Kind.FILE_COMPLETED),
        int(Kind.FILE_LINKED),
        int(Kind.SUBTREE_LINKED),
        int(Kind.TREE_LINKED),
    }
)
_CURSOR_MOVED: Final = int(Kind.CURSOR_MOVED)
_INODES_MAX: Final = 10_000
"""Of those that ever had one name, and the places they had: the newest are looked at."""


Candidate: TypeAlias = tuple[int, bool]
"""A txid, and whether its record is one that is asked for."""


class Question(NamedTuple):
    """What is asked; all that is given must hold.

    Attributes:
        inodes: Records about these; empty = about anything.
        below: Also records about what was below these at the time.
        since, until: First and last txid, inclusive.
        place_of: (parent, name) of an inode after a txid, for those that no event gave their place.
        kinds: Any of these; empty = any.
    """

    inodes: tuple[int, ...] = ()
    below: bool = False
    principal: str = ""
    kinds: frozenset[int] = frozenset()
    since: int = 1
    until: int = 0
    place_of: Callable[[int, int], tuple[int, str] | None] = lambda _, __: None


_INTO_TREES: Final = STRUCTURAL | {int(Kind.FILE_LINKED)}
"""Kinds of events about a directory after which what was below it is elsewhere, or nowhere."""


def inodes_at(
    rows: Rows, names: list[str], now: Callable[[int, str], int | None] = lambda _, __: None
) -> tuple[int, ...]:
    """Every inode that ever had this path, as far as the index saw it given: newest place first.

    The directories above are those that are there ``now`` (the inode of a parent and a name), else those that
    had their name last.
    """
    here = ROOT
    for depth, name in enumerate(names):
        present = now(here, name)
        prefix = place_key(here, name) + END
        found = [
            (U64.unpack(txid)[0], U64.unpack_from(key, len(prefix))[0])
            for key, txid in rows.up("at", prefix, prefix + LAST)
        ]
        inodes = [inode for _, inode in sorted(found, reverse=True)[:_INODES_MAX]]
        if present is not None:
            inodes = list(dict.fromkeys((present, *inodes)))
        if not inodes:
            return ()
        if depth == len(names) - 1:
            return tuple(inodes)
        here = inodes[0]
    return (ROOT,)


def find(rows: Rows, question: Question, *, limit: int, steps_max: int) -> tuple[list[int], int | None]:
    """(the newest ``limit`` records, newest first; below which txid to go on, None = nowhere).

    Costs a few look-ups for each record found, and at most ``steps_max`` for those that only some of the
    question's conditions hold for; with those used up it ends early.
    """
    found: list[int] = []
    last = 0
    for steps, (txid, matches) in enumerate(_candidates(rows, question)):
        if len(found) == limit or steps == steps_max:
            return found, last
        if matches:
            found.append(txid)
        last = txid
    return found, None


def _candidates(rows: Rows, question: Question) -> Iterator[Candidate]:
    if question.inodes:
        found = _about(rows, question)
    elif question.principal:
        prefix = principal_key(question.principal)
        return _down(rows, "who", prefix, question.since, question.until, question.kinds)
    elif question.kinds:
        streams = [
            _down(rows, "kind", bytes([kind]), question.since, question.until, frozenset())
            for kind in sorted(question.kinds)
        ]
        return _once(streams)
    else:
        return _down(rows, "rec", b"", question.since, question.until, frozenset())
    if not question.principal:
        return found
    prefix = principal_key(question.principal)
    return (
        (txid, matches and rows.get("who", prefix + U64.pack(txid)) is not None) for txid, matches in found
    )


def _about(rows: Rows, question: Question) -> Iterator[Candidate]:
    since, until, kinds = question.since, question.until, question.kinds
    if question.below and ROOT in question.inodes:
        return _candidates(rows, question._replace(inodes=(), principal=""))
    streams: list[Iterator[Candidate]] = []
    for inode in question.inodes:
        streams.append(_down(rows, "self", U64.pack(inode), since, until, kinds))
        if question.below:
            streams.append(_down(rows, "below", U64.pack(inode), since, until, kinds))
        streams += _from_above(rows, question, inode, since, until, depth=0)
        streams.append(_rewinds(rows, question, inode))
    return _once(streams)


def _rewinds(rows: Rows, question: Question, inode: int) -> Iterator[Candidate]:
    """Rewinds of the whole namespace since an inode was first heard of."""
    kinds = _REWOUND & question.kinds if question.kinds else _REWOUND
    key = U64.pack(inode)
    first = next((U64.unpack_from(found, 8)[0] for found, _ in rows.up("self", key, key + LAST)), 1)
    since = max(question.since, first)
    return (one for one in _down(rows, "self", U64.pack(ROOT), since, question.until, kinds) if one[1])


def _from_above(
    rows: Rows, question: Question, inode: int, since: int, until: int, *, depth: int
) -> list[Iterator[Candidate]]:
    """What was done to the directories above an inode while it was below them, if that moved or ended it."""
    structural = _INTO_TREES & question.kinds if question.kinds else _INTO_TREES
    if not structural or depth > DEPTH_MAX or inode == ROOT:
        return []
    streams: list[Iterator[Candidate]] = []
    for low, high, parent in _stays(rows, question, inode, since, until):
        streams.append(_down(rows, "self", U64.pack(parent), low, high, structural))
        streams += _from_above(rows, question, parent, low, high, depth=depth + 1)
    return streams


def _stays(
    rows: Rows, question: Question, inode: int, since: int, until: int
) -> Iterator[tuple[int, int, int]]:
    """(first txid, last txid, parent) of each time an inode was in one place, newest first."""
    key, end = U64.pack(inode), until
    rewound = read_meta(rows).rewound_txid
    is_newest, is_born = True, False
    for found, value in islice(rows.down("placed", key, key + LAST), _INODES_MAX):
        began = U64.unpack_from(found, 8)[0]
        if is_newest and began < rewound <= end:
            # A rewind tells nobody's place: since then it is where it is now.
            if (there := question.place_of(inode, end)) is not None:
                yield max(since, rewound), end, there[0]
            end = rewound - 1
        is_newest = False
        is_born = bool(value) and not _BIRTHS.isdisjoint(rows.get("self", found) or b"")
        low = max(since, began + 1)
        if value and low <= end:
            yield low, end, place(value)[0]
        # What ended the stay is the inode's own record.
        end = min(end, began - 1)
        if end < since:
            return
    if not is_born and (there := question.place_of(inode, end)) is not None:
        yield since, end, there[0]  # it came with a tree


def _down(
    rows: Rows, table: str, prefix: bytes, since: int, until: int, kinds: frozenset[int]
) -> Iterator[Candidate]:
    if since > until:
        return
    low, high = prefix + U64.pack(since), prefix + U64.pack(until)
    for key, value in rows.down(table, low, high):
        yield U64.unpack_from(key, len(prefix))[0], not kinds or not kinds.isdisjoint(value)


def _once(streams: list[Iterator[Candidate]]) -> Iterator[Candidate]:
    """All of them, newest first; of one txid, the one that matches if any does."""
    previous = 0
    for candidate in merge(*streams, reverse=True):
        if candidate[0] != previous:
            yield candidate
        previous = candidate[0]


# --- a feed ---------------------------------------------------------------------------------------


class Matched(NamedTuple):
    """A record of a filtered feed, and what of it was asked for."""

    txid: int
    changes: tuple[Change, ...]


def scan(
    rows: Rows, first: int, *, until: int, prefix: str, kinds: frozenset[int], limit: int, steps_max: int
) -> tuple[list[Matched], int]:
    """(records from ``first`` on that match, the first txid not looked at).

    Of paths below ``prefix`` (normalised; "" = any path, and records about none), of any of ``kinds`` (empty
    = any but moves of cursors: a reader that notes how far it got would else have that to read). At most
    ``limit`` are found, at most ``steps_max`` looked at.
    """
    found: list[Matched] = []
    last = min(until, first + steps_max - 1)
    for key, value in rows.up("rec", U64.pack(first), U64.pack(last)):
        told = decode_changes(value)
        changes = tuple(
            change
            for change in told
            if _is_kind(change, kinds, len(told)) and (not prefix or touches(change, prefix))
        )
        if changes:
            found.append(Matched(U64.unpack(key)[0], changes))
            if len(found) == limit:
                return found, found[-1].txid + 1
    return found, max(first, last + 1)


def _is_kind(change: Change, kinds: frozenset[int], count: int) -> bool:
    if not kinds:
        return change.kind != _CURSOR_MOVED
    return change.kind in kinds or (count > 1 and _TRANSACTION in kinds)


def changes_at(rows: Rows, txid: int) -> list[Change]:
    """What a record was about; empty when the index did not see it."""
    value = rows.get("rec", U64.pack(txid))
    return [] if value is None else decode_changes(value)


def seen_from(rows: Rows) -> int:
    """The first record that questions are answered of completely."""
    return read_meta(rows).first_txid
