"""/fsck/replicas: from what DataNodes hold back to what needs it."""

import asyncio
from array import array
from bisect import bisect_left
from collections import Counter
from typing import Final, NamedTuple

import msgspec
from falcon.asgi import Request, Response

from esdfs.blocks import Block
from esdfs.errors import InvalidRequest, NotFound
from esdfs.namenode.blocks.unplaced import Found, Page
from esdfs.namenode.frames import UnplacedReplicas
from esdfs.namenode.namespace.inodes import BlockRecord
from esdfs.namenode.rest import request
from esdfs.namenode.rest.edge import Edge, answer, stamp
from esdfs.namenode.rest.ports import View
from esdfs.namenode.rest.replica_states import STATES, Judged, Need, State, judge, judge_unplaced

_SLICE: Final = 50
_CALLS_MAX: Final = 64
_NUMBER_MAX: Final = 1 << 33

_page = msgspec.msgpack.Decoder(Page).decode


class Held(msgspec.Struct):
    """One replica.

    Attributes:
        node_id, address: Of its DataNode; address "" = not known here.
        why: Of any state but ``needed``.
        path: The present file its block was written for, if that still names it.
        length_bytes, crc32c: What the block must be (crc32c: of its logical bytes, 8 hex digits), if ``path``
            tells and this is its generation; null = not known here.
    """

    block_id: str
    generation: int
    node_id: str
    address: str
    state: State
    why: str
    path: str | None
    length_bytes: int | None = None
    crc32c: str | None = None


class Replicas(msgspec.Struct):
    """One page; ``totals`` are of the page. ``next``: what to pass as ``after``; None = this was the last."""

    replicas: list[Held]
    next: str | None
    totals: dict[str, int]


class _Place(NamedTuple):
    """Where a walk is.

    Attributes:
        began_txid: The namespace's when it began.
        block_id: Go on after it.
        number: Of the DataNode, once locations are done with; -1 before.
    """

    began_txid: int
    block_id: int = 0
    number: int = -1

    def __str__(self) -> str:
        return "-".join(map(str, self if self.number >= 0 else self[:2]))


class FsckReplicas:
    """/fsck/replicas."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._linked = _Linked()

    async def on_get(self, req: Request, resp: Response) -> None:
        """A page of what DataNodes hold: what locations tell, by block; then what only the engine knows.

        In this order a replica that becomes garbage meanwhile is told twice rather than never.
        """
        limit = request.limit(req)
        after = request.text(req, "after")
        place = _parse(after) if after else None
        await self._edge.moment(req)
        with self._edge.reader.snapshot() as view:
            stamp(resp, view.applied_txid, view.epoch)
            place = place or _Place(view.applied_txid)
            look = self._located if place.number < 0 else self._unplaced
            held, upto = await look(view, place, limit)
        counted = Counter(one.state for one in held)
        totals = {"replicas": len(held)} | {state: counted[state] for state in STATES}
        answer(resp, Replicas(held, None if upto is None else str(upto), totals))

    async def _located(self, view: View, place: _Place, limit: int) -> tuple[list[Held], _Place | None]:
        page = self._edge.locations.page(place.block_id, limit)
        nodes, allocated = self._edge.locations.datanodes(), view.allocated
        needs = _Needs(view)
        held: list[Held] = []
        for seen, (block_id, replicas) in enumerate(page, 1):
            record = view.block(block_id)
            path, block = needs.named_by(block_id, record)
            present = path is not None or (
                record is not None and (not record.complete or await self._is_linked(view, place, block_id))
            )
            need = Need(record, needs.copies(record), present)
            judged = judge(block_id, need, replicas, nodes, allocated)
            for replica, found in zip(replicas, judged, strict=True):
                one = self._held(view, replica.number, block_id, replica.generation, found, path)
                if block is not None and block.generation == replica.generation:
                    one.length_bytes, one.crc32c = block.length_bytes, f"{block.crc32c:08x}"
                held.append(one)
            if seen % _SLICE == 0:
                await asyncio.sleep(0)
        if len(page) < limit:
            return held, _Place(place.began_txid, 0, 0)
        return held, place._replace(block_id=page[-1][0])

    async def _unplaced(self, view: View, place: _Place, limit: int) -> tuple[list[Held], _Place | None]:
        held: list[Held] = []
        after = place.number, place.block_id
        for _ in range(_CALLS_MAX):
            # Each is a DataNode's, and short: the engine does other things in between.
            told = await self._edge.engine.call(UnplacedReplicas(after, limit - len(held)))
            page = _page(told.result)
            held += [self._told(view, found) for found in page.replicas]
            if page.next is None:
                return held, None
            after = page.next
            if len(held) == limit:
                break
        return held, _Place(place.began_txid, after[1], after[0])

    def _told(self, view: View, found: Found) -> Held:
        judged = judge_unplaced(found, view.allocated)
        return self._held(view, found.number, found.block_id, found.generation, judged, None)

    def _held(
        self, view: View, number: int, block_id: int, generation: int, judged: Judged, path: str | None
    ) -> Held:
        node = self._edge.locations.datanodes().get(number)
        if node is not None:
            name, address = node.node_id, node.address
        else:
            known = view.datanode(number)
            name, address = str(number) if known is None else known.node_id, ""
        return Held(str(block_id), generation, name, address, *judged, path)

    async def _is_linked(self, view: View, place: _Place, block_id: int) -> bool:
        await self._linked.read(view, place.began_txid)
        return block_id in self._linked


class _Needs:
    """Which present files name blocks; blocks of one file mostly come together."""

    def __init__(self, view: View) -> None:
        self._view = view
        settings = view.cluster()
        self._copies = settings.replication if settings else 0
        self._inode = 0
        self._path = ""
        self._blocks: dict[int, Block] = {}

    def copies(self, record: BlockRecord | None) -> int:
        """How many a block should have."""
        return 0 if record is None else record.replication or self._copies

    def named_by(self, block_id: int, record: BlockRecord | None) -> tuple[str | None, Block | None]:
        """The present file a block was written for, and the block there, if it names it still."""
        if record is None or not record.complete:
            return None, None
        if record.inode != self._inode:
            self._look(record.inode)
        block = self._blocks.get(block_id)
        return (None if block is None else self._path), block

    def _look(self, inode: int) -> None:
        self._inode = inode
        try:
            self._path, found = self._view.by_id(inode)
        except NotFound:
            self._blocks = {}
        else:
            self._blocks = {block.block_id: block for block in found.blocks}


class _Linked:
    """Blocks that present files name which they were not written for.

    Read only when something depends on it, once for all pages of a walk: what was copied since the walk began
    is then as it was when it was read.
    """

    def __init__(self) -> None:
        self._txid = 0
        self._ids: array[int] = array("Q")
        self._reading = asyncio.Lock()

    def __contains__(self, block_id: int) -> bool:
        at = bisect_left(self._ids, block_id)
        return at < len(self._ids) and self._ids[at] == block_id

    async def read(self, view: View, since_txid: int) -> None:
        """Have them as they were at ``since_txid`` or later."""
        async with self._reading:
            if self._txid >= since_txid:
                return
            ids = array("Q")
            for piece in view.linked_blocks():
                ids.extend(piece)
                await asyncio.sleep(0)
            self._txid, self._ids = view.applied_txid, array("Q", sorted(ids))


def _parse(after: str) -> _Place:
    words = after.split("-")
    if len(words) in {2, 3} and all(word.isascii() and word.isdigit() and len(word) < 20 for word in words):
        place = _Place(*map(int, words))
        if max(place) <= request.ID_MAX and place.number < _NUMBER_MAX:
            return place
    raise InvalidRequest("after must be `next` of the previous page", field="after")
