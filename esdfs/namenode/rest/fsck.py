"""/fsck: each file's blocks held against the replicas that were reported."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from falcon.asgi import Request, Response

from esdfs.errors import InvalidPath, NotFound
from esdfs.namenode.frames import Recheck
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import join, normalise
from esdfs.namenode.rest import request
from esdfs.namenode.rest.answers import counts
from esdfs.namenode.rest.edge import Edge, answer, stamp
from esdfs.namenode.rest.ports import DataNodeRow, Replica, View

ENTRIES_MAX: Final = 20_000
"""Of one answer: a page of mostly directories ends early rather than late."""

_SLICE: Final = 100
_LIST: Final = 500
_WORST: Final = ("healthy", "under-replicated", "corrupt", "missing")


class Checked(msgspec.Struct):
    """One file's state, and what is wrong with it."""

    path: str
    file_id: str
    blocks: int
    state: str
    problems: list[str]


class Fsck:
    """/fsck?path=."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """One page of the files at and below a path, in order; ``totals`` are of this page."""
        top = normalise(request.text(req, "path") or "/")
        limit = request.limit(req)
        after = request.text(req, "after")
        resume = _below(top, normalise(after)) if after else []
        await self._edge.moment(req)
        nodes = self._edge.locations.datanodes()
        files: list[Checked] = []
        totals = dict.fromkeys(("files", "blocks", "size_bytes", *_WORST), 0)
        upto: str | None = None
        with self._edge.reader.snapshot() as view:
            stamp(resp, view.applied_txid, view.epoch)
            entries = walk(view, top, view.resolve(top), resume)
            for seen, (path, inode) in enumerate(entries, 1):
                if not inode.is_directory:
                    replicas = {b.block_id: self._edge.locations.replicas(b.block_id) for b in inode.blocks}
                    checked = check(path, inode, replicas, nodes)
                    files.append(checked)
                    totals["files"] += 1
                    totals["blocks"] += checked.blocks
                    totals["size_bytes"] += inode.size_bytes
                    totals[checked.state] += 1
                if len(files) == limit or seen == ENTRIES_MAX:
                    upto = path
                    break
                if seen % _SLICE == 0:
                    await asyncio.sleep(0)
            if upto is not None and next(entries, None) is None:
                upto = None
        answer(resp, {"files": files, "next": upto, "totals": totals})


class FsckRepair:
    """/fsck/repair."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """How far the leader is."""
        del req
        await self._ask(resp, begin=False)

    async def on_post(self, req: Request, resp: Response) -> None:
        """Have the leader look at every block now; what can be mended is, as always, but at once."""
        del req
        await self._ask(resp, begin=True)

    async def _ask(self, resp: Response, *, begin: bool) -> None:
        told = await self._edge.ask(resp, Recheck(begin))
        answer(resp, msgspec.msgpack.decode(told.result))


def check(
    path: str, inode: Inode, replicas: Mapping[int, Sequence[Replica]], nodes: Mapping[int, DataNodeRow]
) -> Checked:
    """A file's state: that of its worst block."""
    problems = []
    worst = 0
    for block in inode.blocks:
        good, bad = 0, 0
        for replica in replicas[block.block_id]:
            good += counts(replica, block, nodes.get(replica.number))
            bad += replica.corrupt
        if bad:
            problems.append(f"block {block.block_id}: {bad} corrupt {'copy' if bad == 1 else 'copies'}")
        if good >= inode.replication:
            continue
        if good:
            worst = max(worst, 1)
            problems.append(f"block {block.block_id}: {good} of {inode.replication} copies")
        else:
            worst = max(worst, 2 if bad else 3)
            problems.append(f"block {block.block_id}: no good copy on any reachable DataNode")
    return Checked(path, str(inode.inode), len(inode.blocks), _WORST[worst], problems)


def walk(view: View, path: str, inode: Inode, resume: Sequence[str] = ()) -> Iterator[tuple[str, Inode]]:
    """What is at and below ``path``, each directory before its entries, by name.

    ``resume`` are the names from ``path`` down to the entry to go on after; empty = from the start.
    """
    if not resume:
        yield path, inode
    if not inode.is_directory:
        return
    # Directories are gone through one name at a time, so a stack as deep as the tree is enough.
    stack: list[tuple[str, int, str, Iterator[tuple[str, Inode]]]] = []
    here_path, here, after = path, inode.inode, ""
    for name in resume:
        stack.append((here_path, here, name, _entries(view, here, name)))
        here_path = join(here_path, name)
        try:
            found = view.resolve(here_path)
        except NotFound:
            break
        if not found.is_directory:
            break
        here = found.inode
    else:
        stack.append((here_path, here, after, _entries(view, here, after)))
    while stack:
        here_path, _, _, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        name, child = entry
        child_path = join(here_path, name)
        yield child_path, child
        if child.is_directory:
            stack.append((child_path, child.inode, "", _entries(view, child.inode, "")))


def _entries(view: View, directory: int, after: str) -> Iterator[tuple[str, Inode]]:
    while page := view.children(directory, after, _LIST):
        yield from page
        after = page[-1][0]


def _below(top: str, path: str) -> list[str]:
    prefix = top if top == "/" else top + "/"
    if path == top:
        return []
    if not path.startswith(prefix):
        raise InvalidPath(
            f"after must be a path below {top}: pass `next` of the previous page", field="after"
        )
    return path[len(prefix) :].split("/")
