"""/journal/key, /journal/signed, /journal/anchors: what this NameNode vouches for."""

from falcon.asgi import Request, Response

from esdfs.errors import FutureTxid, NotFound
from esdfs.ids import Txid
from esdfs.journal.statements import Statement
from esdfs.namenode.rest import request
from esdfs.namenode.rest.edge import Edge, answer, stamp
from esdfs.namenode.signing import Statements, load_key


class JournalKey:
    """/journal/key."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """The public key of this NameNode: get it once, by a way you trust."""
        del req
        public = load_key(self._edge.settings.path).public
        answer(
            resp, {"node_id": self._edge.settings.node_id, "key_id": public.key_id, "public_key": str(public)}
        )


class JournalSigned:
    """/journal/signed?txid=."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """A signed statement of the journal's hash at a txid: the newest committed one if none is given.

        Keep it where the cluster's administrator cannot reach it.
        """
        await self._edge.moment(req)
        with self._edge.reader.snapshot() as view:
            head, cluster = view.applied_txid, view.cluster()
            stamp(resp, head, view.epoch)
        txid = request.number(req, "txid", head, lowest=1)
        if txid > head or cluster is None:
            raise FutureTxid(f"txid {txid} is not there yet: the newest is {head}")
        found = await self._edge.in_journal(lambda journal: journal.read(Txid(txid - 1), limit=1))
        if not found or found[0].txid != txid:
            raise NotFound(f"record {txid} is no longer in this NameNode's journal", txid=txid)
        key = load_key(self._edge.settings.path)
        statement = Statement(
            cluster_id=cluster.cluster_id,
            txid=txid,
            epoch=found[0].epoch,
            chain=found[0].chain.hex(),
            ts_us=self._edge.clock.wall_us(),
            key_id=key.public.key_id,
        )
        answer(resp, key.vouch(statement))


class JournalAnchors:
    """/journal/anchors."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """What this NameNode vouched for at its checkpoints, from a txid on, oldest first."""
        first = request.number(req, "from", 1, lowest=1)
        limit = request.limit(req)
        signed = [each for each in Statements(self._edge.settings.path).all() if each.statement.txid >= first]
        answer(resp, {"statements": signed[:limit], "more": len(signed) > limit})
