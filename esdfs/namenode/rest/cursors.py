"""/cursors: named readers of the journal, and how far each has got. Kept in the journal themselves."""

import asyncio
from typing import Any, Final, NamedTuple

import structlog
from falcon.asgi import Request, Response

from esdfs.errors import EsdfsError
from esdfs.namenode.audit.reading import AuditReader
from esdfs.namenode.commands import DropCursor, MoveCursor
from esdfs.namenode.frames import Execute
from esdfs.namenode.namespace.cursors import MOVE_EVERY_US
from esdfs.namenode.namespace.inodes import Cursor as Kept
from esdfs.namenode.namespace.paths import check_name
from esdfs.namenode.rest import bodies, request
from esdfs.namenode.rest.answers import iso
from esdfs.namenode.rest.edge import Edge, answer, stamp

_SOON: Final = 0.8
"""Of the time that records are held for a cursor: from there on it is warned of."""

_log = structlog.get_logger(__name__)


class Standing(NamedTuple):
    """Where the cursors are."""

    cursors: list[dict[str, Any]]
    head: int
    oldest: int


async def standing(edge: Edge) -> Standing:
    """Every cursor, how many records it has before it, and whether it is in time for them."""
    with edge.reader.snapshot() as view:
        cursors, head = view.cursors(), view.applied_txid
    if not cursors:
        return Standing([], head, await edge.in_audit(lambda audit: audit.records.oldest_txid()))
    now_us, hold_us = edge.clock.wall_us(), edge.settings.cursor_hold_s * 1_000_000

    def look(audit: AuditReader) -> Standing:
        oldest = audit.records.oldest_txid()
        waiting = audit.records.times([one.txid + 1 for one in cursors])
        soon_us = now_us - int(hold_us * _SOON)
        told = [
            _as_json(one, head, oldest, is_late=waiting.get(one.txid + 1, now_us) < soon_us)
            for one in cursors
        ]
        return Standing(told, head, oldest)

    return await edge.in_audit(look)


def _as_json(cursor: Kept, head: int, oldest: int, *, is_late: bool) -> dict[str, Any]:
    state = "compacted" if cursor.txid + 1 < oldest else "late" if is_late else "ok"
    return {
        "name": cursor.name,
        "txid": cursor.txid,
        "lag": max(head - cursor.txid, 0),
        "principal": cursor.principal,
        "moved": iso(cursor.moved_us),
        "state": state,
    }


class Cursors:
    """/cursors."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """All of them, by name."""
        await self._edge.moment(req)
        found = await standing(self._edge)
        with self._edge.reader.snapshot() as view:
            stamp(resp, view.applied_txid, view.epoch)
        answer(resp, {"cursors": found.cursors, "head": found.head, "oldest": found.oldest})


class Cursor:
    """/cursors/{name}."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._pending: dict[str, MoveCursor] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def on_put(self, req: Request, resp: Response, name: str) -> None:
        """Everything up to ``txid`` is dealt with: 200 = journaled, 202 = will be within a second.

        A crash in that second forgets it: the reader is given those records again.
        """
        check_name(name)
        body = await request.read_body(req)
        wanted = request.parse(bodies.cursor, body)
        move = MoveCursor(name, wanted.txid, reset=wanted.reset, coalesce=not wanted.reset)
        done = await self._edge.execute(req, resp, body, [move])
        known = done.results[0].txid or wanted.txid
        if known >= wanted.txid:
            self._pending.pop(name, None)
        elif not wanted.reset:
            self._later(req, move)
            resp.status = "202 Accepted"
        answer(resp, {"name": name, "txid": known, "pending_txid": max(known, wanted.txid)})

    async def on_delete(self, req: Request, resp: Response, name: str) -> None:
        """Forget it."""
        check_name(name)
        self._pending.pop(name, None)
        done = await self._edge.execute(req, resp, b"", [DropCursor(name)])
        answer(resp, {"name": name, "txid": done.txid})

    def _later(self, req: Request, move: MoveCursor) -> None:
        """Journal the newest position when a second has passed."""
        waiting = self._pending.get(move.name)
        if waiting is not None and waiting.txid >= move.txid:
            return
        self._pending[move.name] = MoveCursor(move.name, move.txid, belated=True)
        if waiting is None:
            who, peer = request.principal(req), request.peer(req)
            task = asyncio.get_running_loop().create_task(self._settle(move.name, who, peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _settle(self, name: str, principal: str, peer: str) -> None:
        await asyncio.sleep(MOVE_EVERY_US / 1_000_000)
        move = self._pending.pop(name, None)
        if move is None:
            return
        try:
            await self._edge.engine.call(Execute([move], principal, peer))
        except EsdfsError as error:  # the reader comes back with a later one, or reads those again
            _log.info("cursor not moved", cursor=name, txid=move.txid, why=error.message)
