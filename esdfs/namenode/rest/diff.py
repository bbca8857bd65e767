"""/diff: what differs between two moments."""

from typing import Final

import msgspec
from falcon.asgi import Request, Response

from esdfs.errors import InvalidRequest, from_code
from esdfs.namenode.projection.differing_command import command, encoded
from esdfs.namenode.rest import request
from esdfs.namenode.rest.edge import JSON, Edge, stamp

_HERE_MAX: Final = 2_000
"""So many changes are compared in this worker, in some ten milliseconds; more, in a process of its own."""


class _Refusal(msgspec.Struct):
    code: str = ""
    message: str = ""
    details: dict[str, str | int | list[str]] = {}


class Diff:
    """/diff?from=&to=&path=."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """The net effect of going from one moment to another (default: now), at and below a path."""
        start = request.text(req, "from")
        if not start:
            raise InvalidRequest("from is missing: a txid, an ISO 8601 time or a duration ago", field="from")
        path = request.path_param(req) if "path" in req.params else "/"
        await self._edge.moment(req)
        before = self._edge.txid_of(start)
        end = request.text(req, "to")
        settings = self._edge.settings
        with self._edge.reader.snapshot() as view:
            after = self._edge.txid_of(end) if end else view.applied_txid
            stamp(resp, view.applied_txid, view.epoch)
            few = view.touched(before, after, _HERE_MAX + 1) <= _HERE_MAX
            if few:
                resp.data = encoded(view.difference(before, after, path), before, after)
        if not few:
            resp.data = await self._edge.beside(command(settings.path, before, after, path))
            refusal = msgspec.json.decode(resp.data, type=_Refusal)
            if refusal.code:
                raise from_code(refusal.code, refusal.message, refusal.details)
        resp.content_type = JSON
