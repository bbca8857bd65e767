"""/quorum: which NameNodes vote, who leads, and an operator's changes to both."""

import msgspec
from falcon.asgi import Request, Response

from esdfs.namenode.frames import AddVoter, QuorumChange, QuorumStatus, RemoveVoter, TransferLeadership
from esdfs.namenode.rest import bodies, request
from esdfs.namenode.rest.edge import Edge, answer


class Quorum:
    """/quorum."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """The quorum as the leader knows it; with ``consistency=stale`` as this NameNode does."""
        told = await self._edge.ask(resp, QuorumStatus(req.get_param("consistency") == "stale"))
        answer(resp, msgspec.msgpack.decode(told.result))


class QuorumTransfer:
    """/quorum/transfer."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response) -> None:
        """Have another NameNode lead; answers who does then."""
        wanted = request.parse(bodies.transfer, await request.read_body(req) or b"{}")
        await _change(self._edge, resp, TransferLeadership(wanted.to))


class QuorumVoters:
    """/quorum/voters."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response) -> None:
        """Let an observer that has caught up vote; answers the voters when that is committed."""
        wanted = request.parse(bodies.new_voter, await request.read_body(req))
        await _change(self._edge, resp, AddVoter(wanted.node_id))


class QuorumVoter:
    """/quorum/voters/{node_id}."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_delete(self, req: Request, resp: Response, node_id: str) -> None:
        """Let a voter vote no more; answers the voters when that is committed."""
        del req
        await _change(self._edge, resp, RemoveVoter(node_id))


async def _change(edge: Edge, resp: Response, wanted: QuorumChange) -> None:
    told = await edge.ask(resp, wanted)
    answer(resp, msgspec.msgpack.decode(told.result))
