"""/journal/head and /journal/digest: where the journal ends, and what it comes to."""

import msgspec
from falcon.asgi import Request, Response

from esdfs.namenode.frames import Status
from esdfs.namenode.rest.cursors import standing
from esdfs.namenode.rest.edge import JSON, Edge, answer

_HEAD_FIELDS = ("last_txid", "commit_txid", "oldest_txid", "epoch", "chain")


class JournalHead:
    """/journal/head."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """Where the journal ends, and the hash that stands for all of it."""
        del req
        told = await self._edge.ask(resp, Status())
        status = msgspec.msgpack.decode(told.result, type=dict[str, object])
        with self._edge.reader.snapshot() as view:
            history = {"history_oldest_txid": view.oldest_txid}
        head = {field: status[field] for field in _HEAD_FIELDS}
        answer(resp, head | history | {"cursors": (await standing(self._edge)).cursors})


class JournalDigest:
    """/journal/digest."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """One hash for the whole namespace, to hold a replay of the journal against."""
        await self._edge.moment(req)
        resp.data = await self._edge.digest()
        resp.content_type = JSON
