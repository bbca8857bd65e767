"""/directories: making, listing and removing directories."""

from falcon.asgi import Request, Response

from esdfs.errors import NotADirectory
from esdfs.namenode.commands import Delete, MakeDirectory
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import normalise
from esdfs.namenode.rest import answers, bodies, request
from esdfs.namenode.rest.answers import Listing
from esdfs.namenode.rest.edge import DEFAULT_GROUP, Edge, answer, stamp, tag
from esdfs.namenode.rest.ports import View


class Directories:
    """/directories."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response) -> None:
        """Make a directory: 201, or 200 if it existed and ``parents`` was set."""
        body = await request.read_body(req)
        wanted = request.parse(bodies.new_directory, body)
        path = normalise(wanted.path)
        command = MakeDirectory(
            path, wanted.parents, request.octal_mode(wanted.mode), request.principal(req), DEFAULT_GROUP
        )
        done = await self._edge.execute(req, resp, body, [command])
        result = done.results[0]

        def made(view: View) -> tuple[str, Inode]:
            return path, view.resolve(path)

        status = self._edge.status_after(done.txid, made)
        # A repeated request that changed nothing has no result: it existed then, too.
        resp.status = "200 OK" if result.existed or not result.inode else "201 Created"
        resp.set_header("Location", f"/files/{status.file_id}")
        resp.set_header("ETag", tag(status.txid))
        answer(resp, status)


class Directory:
    """/directories/{path}: one directory; the empty path is the root."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response, path: str) -> None:
        """One page of its entries, by name."""
        path = request.url_path(req, path)
        limit = request.limit(req)
        after = request.text(req, "after") if "after" in req.params else ""
        as_of = await self._edge.moment(req)
        with self._edge.reader.snapshot(as_of) as view:
            txid = as_of or view.applied_txid
            stamp(resp, txid, view.epoch)
            inode = view.resolve(path)
            if not inode.is_directory:
                raise NotADirectory(f"not a directory: {path}", path=path)
            # One more than asked for tells whether there is a next page.
            found = view.children(inode.inode, after, limit + 1)
        more = len(found) > limit
        if more:
            found.pop()
        prefix = "/" if path == "/" else path + "/"
        entries = [answers.status(prefix + name, entry) for name, entry in found]
        answer(resp, Listing(path, entries, found[-1][0] if more else None, txid))

    async def on_delete(self, req: Request, resp: Response, path: str) -> None:
        """Remove it: empty, or with ``recursive=true`` with all below it."""
        path = request.url_path(req, path)
        command = Delete(
            path=path,
            recursive=request.flag(req, "recursive"),
            only="directory",
            if_version=self._edge.version_to_match(req, lambda view: view.resolve(path)),
        )
        done = await self._edge.execute(req, resp, b"", [command])
        answer(resp, {"txid": done.txid})
