"""/balance: moving blocks from full DataNodes to empty ones."""

import msgspec
from falcon.asgi import Request, Response

from esdfs.namenode import frames
from esdfs.namenode.rest import bodies, request
from esdfs.namenode.rest.edge import Edge, answer


class Balance:
    """/balance. Only the leader gives orders: it answers, others send there."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """How uneven the DataNodes are, and how far balancing is."""
        del req
        await self._ask(resp, frames.Balance("status"))

    async def on_post(self, req: Request, resp: Response) -> None:
        """Begin, or go on with other numbers; answered at once. It is forgotten when another node leads."""
        wanted = request.parse(bodies.balance, await request.read_body(req) or b"{}")
        await self._ask(resp, frames.Balance("start", wanted.threshold, wanted.bandwidth or 0))

    async def on_delete(self, req: Request, resp: Response) -> None:
        """Begin no further moves; repeatable."""
        del req
        await self._ask(resp, frames.Balance("stop"))

    async def _ask(self, resp: Response, wanted: frames.Balance) -> None:
        told = await self._edge.ask(resp, wanted)
        answer(resp, msgspec.msgpack.decode(told.result))
