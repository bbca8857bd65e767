"""/datanodes: DataNodes introduce themselves, report, and are shown."""

import asyncio
from typing import Any, Final

import msgspec
from falcon.asgi import Request, Response

from esdfs.blocks import DataNodeStatus
from esdfs.errors import InvalidRequest
from esdfs.namenode.blocks.policy import from_config
from esdfs.namenode.blocks.slowness import slow_by_load
from esdfs.namenode.commands import SetDataNodeState
from esdfs.namenode.frames import BlockReport, NodeHeartbeat, Register
from esdfs.namenode.namespace.datanode_states import IN_SERVICE
from esdfs.namenode.rest import bodies, request
from esdfs.namenode.rest.answers import by_number, iso
from esdfs.namenode.rest.edge import Edge, answer
from esdfs.namenode.rest.ports import DataNodeRow

_LARGE_BYTES: Final = 32 << 10
"""Of a report: what changes in a second is shorter by far, and has to pass at once."""

_TIME_FIELD: Final = "last_heartbeat_us"


class DataNodes:
    """/datanodes."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """Every DataNode as this NameNode sees it."""
        del req
        rows = sorted(self._edge.locations.datanodes().values(), key=by_number)
        policy = from_config(self._edge.settings)
        loads = {row.number: row.load for row in rows if _serves(row)}
        slow = slow_by_load(loads, factor=policy.slow_factor, floor_ms=policy.slow_ms)
        answer(resp, {"datanodes": [_shown(row) | {"slow": row.number in slow} for row in rows]})


class DataNodeRegister:
    """/datanodes/register."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response) -> None:
        """A DataNode's first words; the answer tells its number and the cluster."""
        told = await self._edge.ask(resp, Register(await _packed(req)))
        answer(resp, msgspec.msgpack.decode(told.result))


class DataNodeHeartbeat:
    """/datanodes/{node_id}/heartbeat."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_put(self, req: Request, resp: Response, node_id: str) -> None:
        """A DataNode's state; the answer carries commands for it."""
        told = await self._edge.ask(resp, NodeHeartbeat(_named(node_id), await _packed(req)))
        answer(resp, msgspec.msgpack.decode(told.result))


class DataNodeBlocks:
    """/datanodes/{node_id}/blocks.

    One page at a time, and a large one leaves as much time to others as it took: when all DataNodes report at
    once, they wait here, not in the engine's one thread before other calls.
    """

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._turn = asyncio.Lock()

    async def on_post(self, req: Request, resp: Response, node_id: str) -> None:
        """One page of a block report."""
        body = await request.read_body(req)
        clock = asyncio.get_running_loop().time
        async with self._turn:
            began_s = clock()
            told = await self._edge.ask(resp, BlockReport(_named(node_id), _as_msgpack(body)))
            if len(body) > _LARGE_BYTES:
                await asyncio.sleep(clock() - began_s)
        answer(resp, msgspec.msgpack.decode(told.result))


class DataNodeState:
    """/datanodes/{node_id}/state."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response, node_id: str) -> None:
        """What an operator wants of a DataNode; journaled on return, `GET /datanodes` shows how far it is."""
        body = await request.read_body(req)
        wanted = request.parse(bodies.wanted_state, body)
        until_us = wanted.until if isinstance(wanted.until, int) else request.time_us(wanted.until, "until")
        wish = SetDataNodeState(
            _named(node_id), wanted.state, wanted.for_s, until_us, wanted.why, wanted.force
        )
        done = await self._edge.execute(req, resp, body, [wish])
        result = done.results[0]
        answer(
            resp,
            {
                "node_id": node_id,
                "state": result.state or wanted.state,
                "until": iso(result.until_us) if result.until_us else None,
                "txid": done.txid,
            },
        )


async def _packed(req: Request) -> msgspec.Raw:
    return _as_msgpack(await request.read_body(req))


def _as_msgpack(body: bytes) -> msgspec.Raw:
    """Parsing JSON is the workers' job: the engine has one thread."""
    try:
        return msgspec.Raw(msgspec.msgpack.encode(request.parse(bodies.anything, body)))
    except OverflowError as error:
        raise InvalidRequest(f"a number in the body is out of range: {error}") from error


def _named(node_id: str) -> str:
    if not 1 <= len(node_id.encode()) <= 255 or not node_id.isprintable():
        raise InvalidRequest("node_id must be a printable name of at most 255 bytes", field="node_id")
    return node_id


def _serves(row: DataNodeRow) -> bool:
    return row.status is DataNodeStatus.ACTIVE and row.admin.state == IN_SERVICE


def _shown(row: DataNodeRow) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(row)
    last_us = shown.pop(_TIME_FIELD, 0)
    admin = row.admin
    return shown | {
        "address": row.address,
        "last_heartbeat": iso(last_us) if last_us else None,
        "admin": admin.state,
        "admin_until": iso(admin.until_us) if admin.until_us else None,
        "admin_why": admin.why,
        "progress": None
        if admin.state == IN_SERVICE
        else {
            "blocks_left": admin.blocks_left,
            "unreadable": admin.unreadable,
            "unreadable_first": list(map(str, admin.unreadable_first)),
            "files_open": admin.files_open,
            "ready": admin.ready,
        },
    }
