"""/journal and /audit: what happened, as recorded."""

import msgspec
from falcon.asgi import Request, Response

from esdfs.errors import Compacted, NotFound
from esdfs.ids import Txid
from esdfs.namenode.frames import Status
from esdfs.namenode.rest import request
from esdfs.namenode.rest.edge import JSON, Edge, answer, stamp
from esdfs.namenode.rest.history import read_some
from esdfs.namenode.rest.records import record

_DEFAULT_LIMIT = 100
_WAIT_MS_MAX = 30_000
_HEAD_FIELDS = ("last_txid", "commit_txid", "oldest_txid", "epoch", "chain")


class Journal:
    """/journal: a feed that can be resumed anywhere."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """Committed records from ``from`` (inclusive) on; waits up to ``wait_ms`` when there is none yet."""
        first = request.number(req, "from", 1, lowest=1)
        limit = request.limit(req, _DEFAULT_LIMIT)
        wait_ms = request.number(req, "wait_ms", 0, highest=_WAIT_MS_MAX)
        await self._edge.moment(req)
        if wait_ms:
            await self._edge.wait_applied(first, wait_ms * 1_000_000)
        with self._edge.reader.snapshot() as view:
            head = view.applied_txid
            stamp(resp, head, view.epoch)
        # The journal may hold records that are not committed yet; the projection never does.
        limit = min(limit, head - first + 1)
        entries = []
        if limit > 0:
            entries = await self._edge.in_journal(lambda journal: journal.read(Txid(first - 1), limit=limit))
        if limit > 0 and (not entries or entries[0].txid != first):
            oldest = await self._edge.in_journal(lambda journal: journal.oldest_txid())
            raise Compacted(
                f"records before txid {oldest} are no longer kept: start from there", oldest_txid=oldest
            )
        records = [record(entry) for entry in entries]
        answer(resp, {"records": records, "next": first + len(records), "head": head})


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
        answer(resp, {field: status[field] for field in _HEAD_FIELDS} | history)


class JournalDigest:
    """/journal/digest."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """One hash for the whole namespace, to hold a replay of the journal against."""
        await self._edge.moment(req)
        resp.data = await self._edge.digest()
        resp.content_type = JSON


class Audit:
    """/audit?path=."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """Records that made, changed, moved or removed what the path names or last named, newest first."""
        path = request.path_param(req)
        limit = request.limit(req, _DEFAULT_LIMIT)
        await self._edge.moment(req)
        with self._edge.reader.snapshot() as view:
            stamp(resp, view.applied_txid, view.epoch)
            versions = view.history(path, limit)
        if not versions:
            raise NotFound(f"nothing was ever at {path} in the history kept", path=path)
        touched = {version.txid for version in versions} | {version.until_txid for version in versions}
        newest = sorted(touched - {0}, reverse=True)[:limit]
        entries = await self._edge.in_journal(lambda journal: read_some(journal, set(newest)))
        answer(resp, {"records": [record(entries[txid]) for txid in newest if txid in entries]})
