"""/journal: a feed of everything, or of a part of the tree, that can be resumed anywhere."""

from typing import Any, Final, NamedTuple

from falcon.asgi import Request, Response

from esdfs.errors import Compacted, InvalidRequest, NotFound
from esdfs.journal.entry import Entry
from esdfs.namenode.audit.changes import Change
from esdfs.namenode.audit.questions import scan, seen_from
from esdfs.namenode.audit.reading import AuditReader
from esdfs.namenode.event_codec import kind_name
from esdfs.namenode.events import Kind
from esdfs.namenode.namespace.paths import check_name, normalise
from esdfs.namenode.rest import request
from esdfs.namenode.rest.edge import Edge, answer, stamp
from esdfs.namenode.rest.records import change_as_json, record

_DEFAULT_LIMIT: Final = 100
_WAIT_MS_MAX: Final = 30_000
_SCANNED_MAX: Final = 5_000
"""Records looked at in one call; the answer's ``next`` says where to go on."""

_KINDS: Final = {kind_name(kind): int(kind) for kind in Kind}


class _Wanted(NamedTuple):
    """What a request asks for.

    Attributes:
        path: "" = any.
        kinds: Empty = any.
        is_told: With what each record was about.
    """

    first: int
    limit: int
    path: str
    kinds: frozenset[int]
    is_told: bool


class _Page(NamedTuple):
    """Some of it; ``until`` is the last record there was."""

    records: list[tuple[Entry, tuple[Change, ...] | None]]
    next: int
    until: int
    oldest: int


class Journal:
    """/journal."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """Committed records from ``from`` (inclusive) on; waits up to ``wait_ms`` when there is none yet.

        The answer's ``next`` is where to go on, also when nothing was found; ``head`` is the last txid.
        """
        wait_ns = request.number(req, "wait_ms", 0, highest=_WAIT_MS_MAX) * 1_000_000
        deadline_ns = self._edge.clock.monotonic_ns() + wait_ns
        wanted = self._wanted(req)
        await self._edge.moment(req)
        if "cursor" in req.params:
            wanted = wanted._replace(first=self._from_cursor(req, wanted.first))
        page = await self._page(wanted)
        while not page.records and page.next > page.until:
            # Waiting changes nothing at all: what was looked at need not be looked at again.
            left_ns = deadline_ns - self._edge.clock.monotonic_ns()
            if left_ns <= 0 or not await self._edge.wait_applied(page.until + 1, left_ns):
                break
            wanted = wanted._replace(first=page.next)
            page = await self._page(wanted)
        with self._edge.reader.snapshot() as view:
            head = view.applied_txid
            stamp(resp, head, view.epoch)
        answer(
            resp,
            {
                "records": [_as_json(*found) for found in page.records],
                "next": page.next,
                "head": head,
                "oldest": page.oldest,
            },
        )

    def _wanted(self, req: Request) -> _Wanted:
        path = request.text(req, "path")
        kinds = wanted_kinds(req)
        is_told = bool(path or kinds or "cursor" in req.params or request.flag(req, "changes"))
        return _Wanted(
            request.number(req, "from", 1, lowest=1),
            request.limit(req, _DEFAULT_LIMIT),
            normalise(path) if path else "",
            kinds,
            is_told,
        )

    def _from_cursor(self, req: Request, first: int) -> int:
        """``from`` if it is given, else what comes after the cursor."""
        name = request.text(req, "cursor")
        check_name(name)
        with self._edge.reader.snapshot() as view:
            cursor = view.cursor(name)
        if cursor is None:
            raise NotFound(f"no cursor is named {name}: PUT /cursors/{name} makes it", cursor=name)
        return first if "from" in req.params else cursor.txid + 1

    async def _page(self, wanted: _Wanted) -> _Page:
        if wanted.is_told:
            return await self._edge.in_audit(lambda audit: _told(audit, wanted))
        # The journal may hold records that are not committed yet; the projection never does.
        head = self._edge.reader.applied_txid()
        return await self._edge.in_audit(lambda audit: _plain(audit, wanted, head))


def _plain(audit: AuditReader, wanted: _Wanted, head: int) -> _Page:
    limit = min(wanted.limit, head - wanted.first + 1)
    entries = audit.records.read(wanted.first, limit) if limit > 0 else []
    oldest = audit.records.oldest_txid()
    return _Page([(entry, None) for entry in entries], wanted.first + len(entries), head, oldest)


def _told(audit: AuditReader, wanted: _Wanted) -> _Page:
    records = audit.records
    with audit.complete() as (rows, until):
        oldest = max(records.oldest_txid(), seen_from(rows))
        if wanted.first < oldest:
            raise Compacted(
                f"records before txid {oldest} are no longer kept here: start from there", oldest_txid=oldest
            )
        matched, following = scan(
            rows,
            wanted.first,
            until=until,
            prefix=wanted.path,
            kinds=wanted.kinds,
            limit=wanted.limit,
            steps_max=_SCANNED_MAX,
        )
    entries = records.within(wanted.first, following - 1, [one.txid for one in matched]) if matched else {}
    if len(entries) < len(matched):
        oldest = records.oldest_txid()
        raise Compacted(
            f"records before txid {oldest} were removed meanwhile: start from there", oldest_txid=oldest
        )
    return _Page([(entries[one.txid], one.changes) for one in matched], following, until, oldest)


def _as_json(entry: Entry, changes: tuple[Change, ...] | None) -> dict[str, Any]:
    shown = record(entry)
    return shown if changes is None else shown | {"changes": [change_as_json(one) for one in changes]}


def wanted_kinds(req: Request) -> frozenset[int]:
    """The query's ``kind``, any number of times, or separated by commas."""
    names = [name for given in req.get_param_as_list("kind") or [] for name in given.split(",") if name]
    unknown = [name for name in names if name not in _KINDS]
    if unknown:
        raise InvalidRequest(
            f"no kind of event is named {unknown[0][:80]!r}; there are {', '.join(sorted(_KINDS))}",
            field="kind",
        )
    return frozenset(_KINDS[name] for name in names)
