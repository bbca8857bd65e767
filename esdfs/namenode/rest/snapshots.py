"""/snapshots: states that stay readable behind the window."""

from typing import Any

from falcon.asgi import Request, Response

from esdfs.errors import NotFound
from esdfs.namenode.commands import CreateSnapshot, DeleteSnapshot
from esdfs.namenode.events import SnapshotCreated
from esdfs.namenode.namespace.paths import normalise
from esdfs.namenode.rest import answers, bodies, request
from esdfs.namenode.rest.edge import Edge, answer, stamp
from esdfs.namenode.rest.history import read_some


class Snapshots:
    """/snapshots."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """All of them, by name."""
        await self._edge.moment(req)
        with self._edge.reader.snapshot() as view:
            pins = view.pins()
            stamp(resp, view.applied_txid, view.epoch)
        answer(resp, {"snapshots": await _described(self._edge, pins)})

    async def on_post(self, req: Request, resp: Response) -> None:
        """Keep a state under a name."""
        body = await request.read_body(req)
        wanted = request.parse(bodies.new_snapshot, body)
        as_of = 0 if wanted.as_of is None else self._edge.txid_of(str(wanted.as_of))
        path = normalise(wanted.path)
        done = await self._edge.execute(req, resp, body, [CreateSnapshot(wanted.name, path, as_of)])
        resp.status = "201 Created"
        answer(resp, {"name": wanted.name, "txid": done.results[0].txid, "path": path})


class Snapshot:
    """/snapshots/{name}."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        """One of them."""
        await self._edge.moment(req)
        with self._edge.reader.snapshot() as view:
            pin = view.pin(name)
            stamp(resp, view.applied_txid, view.epoch)
        if pin is None:
            raise NotFound(f"no snapshot is called {name}: see esdfs snapshot list", name=name)
        (described,) = await _described(self._edge, [pin])
        answer(resp, described)

    async def on_delete(self, req: Request, resp: Response, name: str) -> None:
        """Let go of it; what only it kept is forgotten soon."""
        done = await self._edge.execute(req, resp, b"", [DeleteSnapshot(name)])
        answer(resp, {"txid": done.txid})


async def _described(edge: Edge, pins: list[SnapshotCreated]) -> list[dict[str, Any]]:
    wanted = {pin.txid for pin in pins}
    entries = await edge.in_journal(lambda journal: read_some(journal, wanted))
    return [
        {
            "name": pin.name,
            "txid": pin.txid,
            "path": pin.path,
            "file_id": str(pin.inode),
            # None: the record is no longer in the journal; the state is kept all the same.
            "ts": answers.iso(entries[pin.txid].ts_us) if pin.txid in entries else None,
        }
        for pin in pins
    ]
