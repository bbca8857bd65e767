"""/audit: who changed what, when, from where; newest first, read off an index."""

from typing import Any, Final, NamedTuple

from falcon.asgi import Request, Response

from esdfs.errors import InvalidRequest, NotFound
from esdfs.journal.entry import Entry
from esdfs.namenode.audit.changes import STRUCTURAL, Change, touches
from esdfs.namenode.audit.questions import Question, changes_at, find, inodes_at, seen_from
from esdfs.namenode.audit.reading import AuditReader
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import normalise, parse_point
from esdfs.namenode.rest import request
from esdfs.namenode.rest.edge import Edge, answer, stamp
from esdfs.namenode.rest.feed import wanted_kinds
from esdfs.namenode.rest.ports import ProjectionReader, View
from esdfs.namenode.rest.records import change_as_json, record

_DEFAULT_LIMIT: Final = 100
_STEPS_MAX: Final = 20_000
"""Rows of the index looked at for one page."""
_NAMENODE: Final = "esdfs"


class Found(NamedTuple):
    """One page.

    Attributes:
        entries: (txid, its record if that is still kept, what it was about).
        before: Chain values that the records continue, by txid.
        next: What to ask for next; None = that is all.
    """

    entries: list[tuple[int, Entry | None, list[Change]]]
    before: dict[int, bytes]
    next: int | None
    complete_from: int
    complete_to: int


class Audit:
    """/audit."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """Records about a path, by a person, of a time or of a kind: all that is given must hold."""
        path = request.text(req, "path")
        path = normalise(path) if path else ""
        limit = request.limit(req, _DEFAULT_LIMIT)
        after = request.number(req, "after", request.ID_MAX, lowest=1)
        below = request.flag(req, "recursive")
        question = Question(
            principal=request.check_name("principal", request.text(req, "principal")),
            kinds=wanted_kinds(req),
            below=below,
        )
        if below and not path:
            raise InvalidRequest("recursive needs a path: add ?path=/…", field="recursive")
        await self._edge.moment(req)
        question = question._replace(
            since=self._point(req, "since", 1), until=min(self._point(req, "until", after), after - 1)
        )
        reader = self._edge.reader
        found = await self._edge.in_audit(lambda audit: look(audit, reader, path, question, limit))
        with reader.snapshot() as view:
            stamp(resp, view.applied_txid, view.epoch)
        answer(
            resp,
            {
                "records": [_as_json(*one, before=found.before.get(one[0])) for one in found.entries],
                "next": found.next,
                "complete_from": found.complete_from,
                "complete_to": found.complete_to,
            },
        )

    def _point(self, req: Request, name: str, default: int) -> int:
        """The first (``since``) or last (``until``) txid that the query's point in time stands for."""
        given = request.text(req, name)
        if not given:
            return default
        try:
            at = parse_point(given, self._edge.clock.wall_us())
        except OverflowError:
            raise InvalidRequest(f"{name} is out of range: {given[:80]!r}", field=name) from None
        if at.txid is not None:
            return int(min(at.txid, request.ID_MAX))
        assert at.ts_us is not None, "a point is a txid or a time"
        with self._edge.reader.snapshot() as view:
            if name == "until":
                return view.txid_at(at.ts_us) if at.ts_us >= 0 else 0
            return view.txid_at(at.ts_us - 1) + 1 if at.ts_us > 0 else 1


def look(audit: AuditReader, reader: ProjectionReader, path: str, question: Question, limit: int) -> Found:
    """One page of an answer; reads as many records of the journal as it has, and the sums before them."""
    with audit.complete() as (rows, until), reader.snapshot() as view:
        inodes: tuple[int, ...] = ()
        if path:
            inodes = inodes_at(
                rows,
                path.split("/")[1:] if path != "/" else [],
                lambda parent, name: _inode(view.entry_at(parent, name, until)),
            ) or _named(view, path)
        question = question._replace(
            inodes=inodes,
            until=min(question.until, until),
            place_of=view.place_at,
        )
        numbers, following = find(rows, question, limit=limit, steps_max=_STEPS_MAX)
        found, too_far = audit.records.pick(numbers)
        shown = numbers[: len(numbers) - len(too_far)]
        if too_far:
            following = shown[-1]
        entries = [(txid, found.get(txid), _about(changes_at(rows, txid), question, path)) for txid in shown]
        before = audit.records.chains_before(found.values())
        return Found(entries, before, following, seen_from(rows), until)


def _inode(found: Inode | None) -> int | None:
    return None if found is None else found.inode


def _named(view: View, path: str) -> tuple[int, ...]:
    """What the namespace says had this path: linked trees are not told inode by inode."""
    try:
        return tuple({version.inode.inode for version in view.history(path)})
    except NotFound:
        raise NotFound(f"nothing was ever at {path} in the records kept", path=path) from None


def _about(changes: list[Change], question: Question, path: str) -> list[Change]:
    """Of a record of several events, those that the question is about."""
    if not question.inodes:
        mine = [one for one in changes if not question.kinds or one.kind in question.kinds]
    elif question.below:
        mine = [one for one in changes if one.inode in question.inodes or touches(one, path)]
    else:
        mine = [
            one
            for one in changes
            if one.inode in question.inodes
            or one.replaces_tree
            or (one.is_directory and one.kind in STRUCTURAL)
        ]
    return mine or changes


def _as_json(
    txid: int, entry: Entry | None, changes: list[Change], *, before: bytes | None
) -> dict[str, Any]:
    told = {"changes": [change_as_json(one) for one in changes]}
    if entry is None:
        return {"txid": txid, **told}
    is_own = entry.principal == _NAMENODE and not entry.peer
    return {
        **record(entry),
        # Nobody proves who they are yet: a name is what the request said, but for the NameNode's own.
        "principal_is": "namenode" if is_own else "claimed",
        "request": f"{entry.client_id.hex()}/{entry.seq}" if entry.client_id else None,
        "previous_chain": None if before is None else before.hex(),
        **told,
    }
