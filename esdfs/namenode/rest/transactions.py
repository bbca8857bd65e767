"""/rename, /restore and /transactions: changes that are about more than one entry."""

from typing import Any

from falcon.asgi import Request, Response

from esdfs.namenode.commands import AddBlocks, Command, CreateFile, MakeDirectory, Rename, Restore
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import normalise
from esdfs.namenode.rest import bodies, request
from esdfs.namenode.rest.answers import CommandResult
from esdfs.namenode.rest.edge import DEFAULT_GROUP, Edge, answer, tag
from esdfs.namenode.rest.ports import View


class Renames:
    """/rename."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response) -> None:
        """Move a file or directory; answers what is at the target then."""
        body = await request.read_body(req)
        wanted = request.parse(bodies.move, body)
        source, target = normalise(wanted.source), normalise(wanted.target)
        version = self._edge.version_to_match(req, lambda view: view.resolve(source))
        command = Rename(source, target, wanted.overwrite, version)
        await _execute_onto(self._edge, req, resp, body, command, target)


class Restores:
    """/restore."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response) -> None:
        """Bring a past version back; answers what is at the target then."""
        body = await request.read_body(req)
        wanted = request.parse(bodies.bring, body)
        path = normalise(wanted.path)
        target = normalise(wanted.target) if wanted.target else path
        as_of = self._edge.txid_of(str(wanted.as_of))
        command = Restore(path, as_of, target, wanted.overwrite)
        await _execute_onto(self._edge, req, resp, body, command, target)


class Transactions:
    """/transactions."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response) -> None:
        """Carry out commands, all or none, as one transaction."""
        body = await request.read_body(req)
        wanted = request.parse(bodies.transaction, body)
        owner = request.principal(req)
        commands = [
            bodies.checked(command, f"commands[{index}]", owner, DEFAULT_GROUP)
            for index, command in enumerate(wanted.commands)
        ]
        done = await self._edge.execute(req, resp, body, commands)
        results = [
            _result(self._edge, command, result)
            for command, result in zip(commands, done.results, strict=True)
        ]
        answer(resp, {"txid": done.txid, "results": results})


async def _execute_onto(
    edge: Edge, req: Request, resp: Response, body: bytes, command: Command, target: str
) -> None:
    done = await edge.execute(req, resp, body, [command])

    def moved(view: View) -> tuple[str, Inode]:
        return target, view.resolve(target)

    status = edge.status_after(done.txid, moved)
    resp.set_header("ETag", tag(status.txid))
    answer(resp, status)


def _result(edge: Edge, command: Command, result: CommandResult) -> dict[str, Any]:
    match command:
        case CreateFile():
            return {
                "file_id": str(result.inode),
                "lease": result.lease,
                "block_size_bytes": result.block_size_bytes,
                "replication": result.replication,
                "blocks": edge.new_blocks(result),
            }
        case AddBlocks():
            return {"blocks": edge.new_blocks(result)}
        case MakeDirectory():
            # A repeated request that changed nothing has no result: it existed then, too.
            there = {"file_id": str(result.inode)} if result.inode else {}
            return there | {"existed": result.existed or not result.inode}
        case _:
            return {"file_id": str(result.inode)} if result.inode else {}
