"""What happens to every request: who may ask, its id, at which transaction it was answered, counting."""

from collections import Counter
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any, Final

import structlog
from falcon.asgi import Request, Response

from esdfs.env import Clock
from esdfs.errors import Unauthenticated
from esdfs.namenode.rest.edge import Edge, stamp

SLOW_NS: Final = 1_000_000_000
REQUEST_ID_MAX: Final = 128
_OPEN_PREFIX: Final = "/health/"
_WAITING: Final = frozenset({"/journal"})  # a long poll is not slow

_log = structlog.get_logger("esdfs.rest")


class RequestCounts:
    """This worker's requests since it started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """By (route template, method, status)."""
        self.spent_ns: Counter[tuple[str, str]] = Counter()
        """By (route template, method)."""


class Middleware:
    """One for all, since each one costs every request."""

    def __init__(self, edge: Edge, counts: RequestCounts) -> None:
        self._edge = edge
        self._clock: Clock = edge.clock
        self._counts = counts
        self._authorization = f"Bearer {edge.settings.token}".encode() if edge.settings.token else b""
        self._id_prefix = edge.rng.token_bytes(6).hex()
        self._served = 0

    async def process_request(self, req: Request, resp: Response) -> None:
        """Check the token, take or give the request's id, note the time."""
        req.context.began_ns = self._clock.monotonic_ns()
        given = req.get_header("X-Request-Id")
        if given is None or len(given) > REQUEST_ID_MAX or not (given.isascii() and given.isprintable()):
            self._served += 1
            given = f"{self._id_prefix}-{self._served}"
        resp.set_header("X-Request-Id", given)
        if self._authorization and not req.path.startswith(_OPEN_PREFIX):
            claimed = (req.get_header("Authorization") or "").encode()
            if not compare_digest(claimed, self._authorization):
                raise Unauthenticated("send the cluster's token: Authorization: Bearer TOKEN")

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        """Stamp what the resource did not, count, and log what somebody will ask about."""
        del resource, req_succeeded
        if resp.get_header("Esdfs-Txid") is None:
            stamp(resp, *self._position())
        status = resp.status_code
        route = req.uri_template or ""
        now_ns = self._clock.monotonic_ns()
        # Absent when falcon refused the request before asking us.
        took_ns = now_ns - getattr(req.context, "began_ns", now_ns)
        method = req.method if len(req.method) < 8 else "OTHER"
        self._counts.requests[route, method, status] += 1
        self._counts.spent_ns[route, method] += took_ns
        if status >= 500 or (took_ns > SLOW_NS and route not in _WAITING):
            _log.warning(
                "request",
                request_id=resp.get_header("X-Request-Id"),
                method=req.method,
                route=route,
                status=status,
                ms=took_ns // 1_000_000,
            )

    def _position(self) -> tuple[int, int]:
        try:
            with self._edge.reader.snapshot() as view:
                return view.applied_txid, view.epoch
        except Exception as error:  # noqa: BLE001 - the projection's own door knows its errors; the answer must still leave
            _log.error("projection unreadable", error=repr(error))
            return self._edge.engine.last_seen

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Let go of the readers and the engine."""
        del scope, event
        await self._edge.close()
