"""/files: opening, writing, publishing, describing and removing files."""

import msgspec
from falcon.asgi import Request, Response

from esdfs.errors import InvalidRequest, IsADirectory
from esdfs.namenode.commands import (
    AbortFile,
    AddBlocks,
    CompleteFile,
    CreateFile,
    Delete,
    SetAttributes,
    WrittenBlock,
)
from esdfs.namenode.frames import RenewLeases
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import normalise
from esdfs.namenode.rest import answers, bodies, request
from esdfs.namenode.rest.edge import DEFAULT_GROUP, Edge, answer, stamp, tag, unchanged
from esdfs.namenode.rest.ports import View


class Files:
    """/files?path=: what a path names."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """A file or directory by path."""
        path = request.path_param(req)
        as_of = await self._edge.moment(req)
        with self._edge.reader.snapshot(as_of) as view:
            _describe(self._edge, req, resp, as_of, view, path, view.resolve(path))


class File:
    """/files/{file_id}."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response, file_id: str) -> None:
        """A file or directory by id."""
        number = request.identifier(file_id, "file_id")
        as_of = await self._edge.moment(req)
        with self._edge.reader.snapshot(as_of) as view:
            _describe(self._edge, req, resp, as_of, view, *view.by_id(number))

    async def on_patch(self, req: Request, resp: Response, file_id: str) -> None:
        """Change attributes."""
        number = request.identifier(file_id, "file_id")
        body = await request.read_body(req)
        wanted = request.parse(bodies.attributes, body)
        command = SetAttributes(
            file_id=number,
            mode=request.octal_mode(wanted.mode) if isinstance(wanted.mode, str) else None,
            owner=request.check_name("owner", wanted.owner) if isinstance(wanted.owner, str) else None,
            group=request.check_name("group", wanted.group) if isinstance(wanted.group, str) else None,
            replication=wanted.replication if isinstance(wanted.replication, int) else None,
            mtime_us=request.time_us(wanted.mtime, "mtime") if isinstance(wanted.mtime, str) else None,
            if_version=self._edge.version_to_match(req, lambda view: view.by_id(number)[1]),
        )
        done = await self._edge.execute(req, resp, body, [command])
        status = self._edge.status_after(done.txid, lambda view: view.by_id(number))
        resp.set_header("ETag", tag(status.txid))
        answer(resp, status)

    async def on_delete(self, req: Request, resp: Response, file_id: str) -> None:
        """Remove a file; directories are refused."""
        number = request.identifier(file_id, "file_id")
        command = Delete(
            file_id=number,
            only="file",
            if_version=self._edge.version_to_match(req, lambda view: view.by_id(number)[1]),
        )
        done = await self._edge.execute(req, resp, b"", [command])
        answer(resp, {"txid": done.txid})


class FileUpload:
    """/files/upload: the first step of writing."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response) -> None:
        """Open a file under a lease, with its first blocks."""
        body = await request.read_body(req)
        wanted = request.parse(bodies.upload, body)
        path = normalise(wanted.path)
        create_only = request.known_version(req)
        if create_only not in {None, 0}:
            raise InvalidRequest("If-None-Match takes only * here", field="If-None-Match")
        command = CreateFile(
            path=path,
            lease=request.check_name("lease", wanted.lease) or self._edge.rng.uuid(),
            overwrite=wanted.overwrite and create_only is None,
            parents=wanted.parents,
            replication=wanted.replication,
            block_size_bytes=wanted.block_size_bytes,
            mode=request.octal_mode(wanted.mode),
            owner=request.principal(req),
            group=DEFAULT_GROUP,
            blocks=wanted.blocks,
            exclude=wanted.exclude,
            if_version=self._edge.version_to_match(req, lambda view: view.resolve(path)),
        )
        result = (await self._edge.execute(req, resp, body, [command])).results[0]
        resp.status = "201 Created"
        resp.set_header("Location", f"/files/{result.inode}")
        answer(
            resp,
            {
                "file_id": str(result.inode),
                "lease": result.lease,
                "block_size_bytes": result.block_size_bytes,
                "replication": result.replication,
                "blocks": self._edge.new_blocks(result),
            },
        )


class FileBlocks:
    """/files/{file_id}/blocks."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response, file_id: str) -> None:
        """Allocate more blocks, or others in place of failed ones."""
        number = request.identifier(file_id, "file_id")
        body = await request.read_body(req)
        wanted = request.parse(bodies.more_blocks, body)
        command = AddBlocks(
            file_id=number,
            lease=wanted.lease,
            count=wanted.count,
            exclude=wanted.exclude,
            abandon=[request.identifier(block_id, "abandon") for block_id in wanted.abandon],
        )
        done = await self._edge.execute(req, resp, body, [command])
        answer(resp, {"blocks": self._edge.new_blocks(done.results[0])})


class FileComplete:
    """/files/{file_id}/complete: the last step of writing."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response, file_id: str) -> None:
        """Publish."""
        number = request.identifier(file_id, "file_id")
        body = await request.read_body(req)
        wanted = request.parse(bodies.complete, body)
        command = CompleteFile(
            file_id=number,
            lease=wanted.lease,
            blocks=[_written(block) for block in wanted.blocks],
            crc32c=request.crc(wanted.crc32c, "crc32c"),
            mtime_us=0 if wanted.mtime is None else request.time_us(wanted.mtime, "mtime"),
        )
        done = await self._edge.execute(req, resp, body, [command])
        status = self._edge.status_after(done.txid, lambda view: view.by_id(number))
        resp.set_header("ETag", tag(status.txid))
        answer(resp, status)


class FileAbort:
    """/files/{file_id}/abort."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response, file_id: str) -> None:
        """Give the open file up; nothing of it was ever visible."""
        number = request.identifier(file_id, "file_id")
        body = await request.read_body(req)
        wanted = request.parse(bodies.lease_only, body)
        await self._edge.execute(req, resp, body, [AbortFile(number, wanted.lease)])
        answer(resp, {})


class FileLease:
    """/files/{file_id}/lease."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response, file_id: str) -> None:
        """Say that the file is still being written."""
        number = request.identifier(file_id, "file_id")
        wanted = request.parse(bodies.lease_only, await request.read_body(req))
        told = await self._edge.ask(resp, RenewLeases([(number, wanted.lease)]))
        answer(resp, msgspec.msgpack.decode(told.result, type=dict[str, int]))


class FileDownload:
    """/files/download/{file_id}: what a reader needs."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response, file_id: str) -> None:
        """A file with all its blocks and their replicas, best first."""
        number = request.identifier(file_id, "file_id")
        as_of = await self._edge.moment(req)
        with self._edge.reader.snapshot(as_of) as view:
            path, inode = view.by_id(number)
            stamp(resp, as_of or view.applied_txid, view.epoch)
        if inode.is_directory:
            raise IsADirectory(f"{path} is a directory: list it with GET /directories{path}", path=path)
        if not unchanged(req, resp, inode.version):
            answer(resp, answers.download(path, inode, self._edge.locate(inode.blocks)))


def _describe(
    edge: Edge, req: Request, resp: Response, as_of: int | None, view: View, path: str, inode: Inode
) -> None:
    stamp(resp, as_of or view.applied_txid, view.epoch)
    if unchanged(req, resp, inode.version):
        return
    status = answers.status(path, inode)
    if "blocks" in req.params and request.flag(req, "blocks") and not inode.is_directory:
        status.located = edge.locate(inode.blocks)
    answer(resp, status)


def _written(block: bodies.Written) -> WrittenBlock:
    return WrittenBlock(
        request.identifier(block.block_id, "block_id"),
        block.generation,
        block.length_bytes,
        block.stored_bytes,
        request.crc(block.crc32c, "crc32c"),
        block.replicas,
        block.compressed,
    )
