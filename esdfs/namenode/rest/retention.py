"""/retention: how much history is kept, how much there is, and what it costs."""

from typing import Final

from falcon.asgi import Request, Response

from esdfs.namenode.commands import SetRetention
from esdfs.namenode.projection.costs_command import command
from esdfs.namenode.rest import bodies, request
from esdfs.namenode.rest.edge import JSON, Edge, answer, stamp

_DEPTH_MAX: Final = 128


class Retention:
    """/retention."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """What is set, and where the past begins."""
        await self._edge.moment(req)
        self._answer(resp)

    async def on_put(self, req: Request, resp: Response) -> None:
        """Set another window; what it no longer covers is forgotten soon."""
        body = await request.read_body(req)
        wanted = request.parse(bodies.retain, body)
        await self._edge.execute(req, resp, body, [SetRetention(wanted.window_s, wanted.records_max)])
        self._answer(resp)

    def _answer(self, resp: Response) -> None:
        with self._edge.reader.snapshot() as view:
            retention, standing = view.retention(), view.standing(self._edge.clock.wall_us())
            stamp(resp, view.applied_txid, view.epoch)
        kept = {"window_s": retention.window_s, "records_max": retention.records_max}
        answer(resp, kept | standing._asdict())


class RetentionReport:
    """/retention/report."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """What history costs: computed from one state, in a process of its own."""
        depth = request.number(req, "depth", 1, highest=_DEPTH_MAX)
        await self._edge.moment(req)
        resp.data = await self._edge.beside(
            command(self._edge.settings.path, depth, self._edge.clock.wall_us())
        )
        resp.content_type = JSON
