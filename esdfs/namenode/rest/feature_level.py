"""/quorum/feature-level: where a rolling upgrade stands, and its end."""

import msgspec
from falcon.asgi import Request, Response

from esdfs.namenode.frames import Upgrade
from esdfs.namenode.rest.edge import Edge, answer


class FeatureLevel:
    """/quorum/feature-level. Only the leader knows what the others read: it answers, others send there."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """The level, the next one, and who holds it back."""
        del req
        told = await self._edge.ask(resp, Upgrade())
        answer(resp, msgspec.msgpack.decode(told.result))

    async def on_post(self, req: Request, resp: Response) -> None:
        """Raise it; repeatable."""
        del req
        told = await self._edge.ask(resp, Upgrade(finalize=True))
        answer(resp, msgspec.msgpack.decode(told.result))
