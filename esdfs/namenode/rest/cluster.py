"""/cluster and /health: how this NameNode and what it knows are doing."""

from collections import Counter
from typing import Any

import msgspec
from falcon.asgi import Request, Response

from esdfs.blocks import DataNodeStatus
from esdfs.errors import EsdfsError
from esdfs.namenode.frames import ResumeCopies, Status
from esdfs.namenode.rest.cursors import standing
from esdfs.namenode.rest.edge import Edge, answer, stamp

_READY_TIMEOUT_MS = 1_000
_BLOCK_COUNTS = ("total", "under_replicated", "missing", "corrupt", "pending")


async def engine_status(edge: Edge, resp: Response, timeout_ms: int = 10_000) -> dict[str, Any]:
    """What the engine says about itself."""
    told = await edge.engine.call(Status(), timeout_ms=timeout_ms)
    stamp(resp, told.txid, told.epoch)
    return msgspec.msgpack.decode(told.result, type=dict[str, Any])


class Cluster:
    """/cluster."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """The cluster in one object."""
        del req
        status = await engine_status(self._edge, resp)
        nodes = self._edge.locations.datanodes().values()
        with self._edge.reader.snapshot() as view:
            settings = view.cluster()
        states = Counter(node.status.value for node in nodes)
        usable = [node for node in nodes if node.status is not DataNodeStatus.DEAD]
        leads = status["role"] == "leader"
        answer(
            resp,
            {
                "cluster_id": status["cluster_id"],
                "leader": status.get("leader") or (status["node_id"] if leads else None),
                "node_id": status["node_id"],
                "role": status["role"],
                "epoch": status["epoch"],
                "last_txid": status["last_txid"],
                "commit_txid": status["commit_txid"],
                "checkpoint_txid": status.get("checkpoint_txid", 0),
                "base_txid": status.get("base_txid", 0),
                "feature_level": status.get("feature_level"),
                "history": {
                    name.removeprefix("history_"): value
                    for name, value in status.items()
                    if name.startswith("history_")
                },
                "namenodes": status.get("namenodes")
                or [{"node_id": status["node_id"], "role": status["role"], "last_txid": status["last_txid"]}],
                "datanodes": {state.value: states[state.value] for state in DataNodeStatus},
                "blocks": dict.fromkeys(_BLOCK_COUNTS, 0) | status.get("blocks", {}),
                "queues": status.get("queues", {}),
                "capacity_bytes": sum(node.storage_capacity for node in usable),
                "available_bytes": sum(node.available_space for node in usable),
                "block_size_bytes": settings.block_size_bytes if settings else 0,
                "replication": settings.replication if settings else 0,
                "min_replication": settings.min_replication if settings else 0,
                "safe_mode": bool(status.get("safe_mode")),
                "copying_stopped": status.get("copying_stopped", ""),
                "read_only": bool(status.get("read_only")),
                "alarms": status.get("alarms", []),
                "alarm_count": status.get("alarm_count", 0),
                "cursors": (await standing(self._edge)).cursors,
            },
        )


class ResumeCopying:
    """/cluster/resume-copying."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_post(self, req: Request, resp: Response) -> None:
        """Copy again after a mass failure; answers what stops it still. Repeatable."""
        del req
        told = await self._edge.ask(resp, ResumeCopies())
        answer(resp, msgspec.msgpack.decode(told.result))


class Live:
    """/health/live."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """This process answers; nothing more is said."""
        del req
        answer(resp, {"status": "live"})


class Ready:
    """/health/ready."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """Whether requests will be served: 503 with reasons if not."""
        del req
        reasons = []
        try:
            status = await engine_status(self._edge, resp, _READY_TIMEOUT_MS)
        except EsdfsError as error:
            reasons.append(error.message)
        else:
            if not self._edge.reader.applied_txid():
                reasons.append("the projection is not built yet")
            if status["role"] not in {"leader", "follower"}:
                reasons.append(f"this NameNode is {status['role']}")
        if reasons:
            resp.status = "503 Service Unavailable"
            resp.set_header("Retry-After", "1")
        answer(resp, {"status": "unready" if reasons else "ready", "reasons": reasons})
