"""Errors as HTTP says them: one table from ``code`` to status, one form for every refusal (RFC 9457)."""

from http import HTTPStatus
from typing import Any, Final

import falcon
import msgspec
import structlog
from falcon.asgi import App, Request, Response

from esdfs.errors import EsdfsError, NotLeader, Retry
from esdfs.namenode.invalid import invalid_field

PROBLEM: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1

STATUS: Final[dict[str, HTTPStatus]] = {
    "invalid-request": HTTPStatus.BAD_REQUEST,
    "invalid-path": HTTPStatus.BAD_REQUEST,
    "future-txid": HTTPStatus.BAD_REQUEST,
    "payload-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "out-of-range": HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    "unauthenticated": HTTPStatus.UNAUTHORIZED,
    "not-found": HTTPStatus.NOT_FOUND,
    "parent-not-found": HTTPStatus.NOT_FOUND,
    "already-exists": HTTPStatus.CONFLICT,
    "not-a-directory": HTTPStatus.CONFLICT,
    "is-a-directory": HTTPStatus.CONFLICT,
    "directory-not-empty": HTTPStatus.CONFLICT,
    "move-into-itself": HTTPStatus.CONFLICT,
    "lease-held": HTTPStatus.CONFLICT,
    "lease-lost": HTTPStatus.CONFLICT,
    "incomplete-file": HTTPStatus.CONFLICT,
    "idempotency-mismatch": HTTPStatus.CONFLICT,
    "too-large": HTTPStatus.CONFLICT,
    "precondition-failed": HTTPStatus.PRECONDITION_FAILED,
    "compacted": HTTPStatus.GONE,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "restoring": HTTPStatus.SERVICE_UNAVAILABLE,
    "safe-mode": HTTPStatus.SERVICE_UNAVAILABLE,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "not-enough-datanodes": HTTPStatus.SERVICE_UNAVAILABLE,
    "insufficient-storage": HTTPStatus.INSUFFICIENT_STORAGE,
    "not-leader": HTTPStatus.SERVICE_UNAVAILABLE,  # 307 when the leader's address is known
    "outcome-unknown": HTTPStatus.GATEWAY_TIMEOUT,
    "deadline-exceeded": HTTPStatus.GATEWAY_TIMEOUT,
    "unreachable": HTTPStatus.SERVICE_UNAVAILABLE,
    "unknown-datanode": HTTPStatus.NOT_FOUND,
    "identity-conflict": HTTPStatus.CONFLICT,
    "too-few-serving": HTTPStatus.CONFLICT,
    "membership-refused": HTTPStatus.CONFLICT,
    "generation-fenced": HTTPStatus.CONFLICT,
    "replica-not-found": HTTPStatus.NOT_FOUND,
    "replica-corrupt": HTTPStatus.BAD_GATEWAY,
    "replica-exists": HTTPStatus.CONFLICT,
    "checksum-mismatch": HTTPStatus.UNPROCESSABLE_ENTITY,
    "volume-full": HTTPStatus.INSUFFICIENT_STORAGE,
    "disk-failed": HTTPStatus.BAD_GATEWAY,
    "peer-failed": HTTPStatus.BAD_GATEWAY,
    "epoch-fenced": HTTPStatus.CONFLICT,
    "journal-fenced": HTTPStatus.SERVICE_UNAVAILABLE,
    "journal-unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "journal-corrupt": HTTPStatus.SERVICE_UNAVAILABLE,
    "checkpoint-damaged": HTTPStatus.SERVICE_UNAVAILABLE,
    "checkpoint-gone": HTTPStatus.SERVICE_UNAVAILABLE,
    "upgrade-needed": HTTPStatus.CONFLICT,
    "upgrade-held-back": HTTPStatus.CONFLICT,
    "newer-release": HTTPStatus.NOT_IMPLEMENTED,
}

# What only HTTP knows.
_HTTP_CODES: Final = {
    404: "no-such-endpoint",
    405: "method-not-allowed",
    413: "payload-too-large",
    415: "unsupported-media-type",
}

_log = structlog.get_logger("esdfs.rest")


def install(app: App[Request, Response]) -> None:
    """Have ``app`` answer every exception with a problem document."""
    # Registered from the general to the special: falcon asks the last added first.
    app.add_error_handler(Exception, _internal)
    app.add_error_handler(falcon.HTTPError, _http)
    app.add_error_handler(msgspec.ValidationError, _invalid)
    app.add_error_handler(EsdfsError, _refused)


def problem(resp: Response, status: int, code: str, detail: str, retry: Retry, **details: Any) -> None:
    """Answer with a problem document."""
    phrase = HTTPStatus(status).phrase
    resp.status = f"{status} {phrase}"
    resp.content_type = PROBLEM
    resp.text = None
    resp.data = msgspec.json.encode(
        details
        | {
            "type": "about:blank",
            "title": phrase,
            "status": status,
            "detail": detail,
            "code": code,
            "retry": retry.value,
        }
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        resp.set_header("Retry-After", str(RETRY_AFTER_S))


async def _refused(req: Request, resp: Response, error: EsdfsError, params: dict[str, Any]) -> None:
    del params
    # A newer engine may know codes that we do not: then it is at least no success.
    status = STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    leader = error.details.get("leader")
    if isinstance(error, NotLeader) and isinstance(leader, str) and leader.startswith("http"):
        status = HTTPStatus.TEMPORARY_REDIRECT
        resp.set_header("Location", leader.rstrip("/") + _target(req))
    if status == HTTPStatus.UNAUTHORIZED:
        resp.set_header("WWW-Authenticate", "Bearer")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # What is left of the body is not read, so the connection cannot carry another request.
        resp.set_header("Connection", "close")
    problem(resp, status, error.code, error.message, error.retry, **error.details)


async def _http(req: Request, resp: Response, error: falcon.HTTPError, params: dict[str, Any]) -> None:
    del params
    status = error.status_code
    if error.headers:
        resp.set_headers(error.headers)
    if status == HTTPStatus.NOT_FOUND:
        detail = f"no such endpoint: {req.path[:200]}; see /openapi.json"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{req.method} is not supported here; see the Allow header and /openapi.json"
    else:
        detail = error.description or error.title or HTTPStatus(status).phrase
    code = _HTTP_CODES.get(status, "invalid-request" if status < 500 else "internal-error")
    problem(resp, status, code, detail, Retry.NEVER)


async def _invalid(
    req: Request, resp: Response, error: msgspec.ValidationError, params: dict[str, Any]
) -> None:
    await _refused(req, resp, invalid_field(error), params)


async def _internal(req: Request, resp: Response, error: Exception, params: dict[str, Any]) -> None:
    del params
    _log.error("request failed", method=req.method, path=req.path, exc_info=error)
    problem(
        resp,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "the NameNode failed to answer this; its log says why",
        Retry.NEVER,
    )


def _target(req: Request) -> str:
    raw: bytes = req.scope.get("raw_path") or req.path.encode()
    target = raw.decode("ascii", "replace").partition("?")[0]
    return f"{target}?{req.query_string}" if req.query_string else target
