"""`EsdfsError` to gRPC status and back.

The status code is for tools that know only gRPC. What our own peers read is one trailer with the stable code,
the message and the details.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import grpc
import msgspec

from esdfs.errors import (
    DeadlineExceeded,
    EsdfsError,
    InvalidRequest,
    NewerRelease,
    OutcomeUnknown,
    Overloaded,
    Unreachable,
    every_error,
    from_code,
)

TRAILER: Final = "esdfs-error-bin"

_STATUS: Final[dict[str, grpc.StatusCode]] = {
    "invalid-request": grpc.StatusCode.INVALID_ARGUMENT,
    "invalid-path": grpc.StatusCode.INVALID_ARGUMENT,
    "payload-too-large": grpc.StatusCode.INVALID_ARGUMENT,
    "future-txid": grpc.StatusCode.OUT_OF_RANGE,
    "out-of-range": grpc.StatusCode.OUT_OF_RANGE,
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
    "not-found": grpc.StatusCode.NOT_FOUND,
    "parent-not-found": grpc.StatusCode.NOT_FOUND,
    "already-exists": grpc.StatusCode.ALREADY_EXISTS,
    "not-a-directory": grpc.StatusCode.FAILED_PRECONDITION,
    "is-a-directory": grpc.StatusCode.FAILED_PRECONDITION,
    "directory-not-empty": grpc.StatusCode.FAILED_PRECONDITION,
    "move-into-itself": grpc.StatusCode.FAILED_PRECONDITION,
    "lease-held": grpc.StatusCode.FAILED_PRECONDITION,
    "lease-lost": grpc.StatusCode.FAILED_PRECONDITION,
    "precondition-failed": grpc.StatusCode.FAILED_PRECONDITION,
    "incomplete-file": grpc.StatusCode.FAILED_PRECONDITION,
    "idempotency-mismatch": grpc.StatusCode.FAILED_PRECONDITION,
    "compacted": grpc.StatusCode.OUT_OF_RANGE,
    "too-large": grpc.StatusCode.FAILED_PRECONDITION,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "restoring": grpc.StatusCode.UNAVAILABLE,
    "safe-mode": grpc.StatusCode.UNAVAILABLE,
    "overloaded": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "not-enough-datanodes": grpc.StatusCode.UNAVAILABLE,
    "insufficient-storage": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "not-leader": grpc.StatusCode.FAILED_PRECONDITION,
    "outcome-unknown": grpc.StatusCode.UNKNOWN,
    "deadline-exceeded": grpc.StatusCode.DEADLINE_EXCEEDED,
    "unreachable": grpc.StatusCode.UNAVAILABLE,
    "unknown-datanode": grpc.StatusCode.NOT_FOUND,
    "identity-conflict": grpc.StatusCode.PERMISSION_DENIED,
    "too-few-serving": grpc.StatusCode.FAILED_PRECONDITION,
    "membership-refused": grpc.StatusCode.FAILED_PRECONDITION,
    "generation-fenced": grpc.StatusCode.PERMISSION_DENIED,
    "replica-not-found": grpc.StatusCode.NOT_FOUND,
    "replica-corrupt": grpc.StatusCode.DATA_LOSS,
    "replica-exists": grpc.StatusCode.ALREADY_EXISTS,
    "checksum-mismatch": grpc.StatusCode.DATA_LOSS,
    "volume-full": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "disk-failed": grpc.StatusCode.INTERNAL,
    "peer-failed": grpc.StatusCode.UNAVAILABLE,
    "epoch-fenced": grpc.StatusCode.PERMISSION_DENIED,
    "journal-fenced": grpc.StatusCode.ABORTED,
    "journal-unavailable": grpc.StatusCode.UNAVAILABLE,
    "journal-corrupt": grpc.StatusCode.DATA_LOSS,
    "checkpoint-damaged": grpc.StatusCode.DATA_LOSS,
    "checkpoint-gone": grpc.StatusCode.NOT_FOUND,
    "newer-release": grpc.StatusCode.UNIMPLEMENTED,
    "upgrade-needed": grpc.StatusCode.FAILED_PRECONDITION,
    "upgrade-held-back": grpc.StatusCode.FAILED_PRECONDITION,
}

# A peer that died, a proxy, gRPC itself: a status without our trailer.
_FOREIGN: Final[dict[grpc.StatusCode, type[EsdfsError]]] = {
    grpc.StatusCode.UNAVAILABLE: Unreachable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNIMPLEMENTED: NewerRelease,
}


class _Trailer(msgspec.Struct):
    code: str
    message: str
    details: dict[str, str | int | list[str]] = {}


def status_of(error: EsdfsError) -> grpc.StatusCode:
    """The gRPC code for ``error``."""
    return _STATUS.get(error.code, grpc.StatusCode.UNKNOWN)


def trailer_of(error: EsdfsError) -> tuple[str, bytes]:
    """The trailing metadata that carries ``error`` whole."""
    return TRAILER, msgspec.json.encode(_Trailer(error.code, error.message, error.details))


def abort(context: grpc.ServicerContext, error: EsdfsError) -> NoReturn:
    """End the call with ``error``; like ``context.abort``, it raises."""
    context.set_trailing_metadata((trailer_of(error),))
    context.abort(status_of(error), error.message)


@contextmanager
def aborting(context: grpc.ServicerContext) -> Iterator[None]:
    """A servicer's body: an `EsdfsError` raised inside ends the call as that error."""
    try:
        yield
    except EsdfsError as error:
        abort(context, error)


def from_rpc_error(error: grpc.RpcError, peer: str = "the peer") -> EsdfsError:
    """What a failed call means.

    Args:
        error: As raised by a call (which is also its own ``grpc.Call``), of either gRPC API.
        peer: Whom we called, for messages about not reaching it.
    """
    metadata: Any = ()  # the two APIs type it differently
    if hasattr(error, "trailing_metadata"):
        metadata = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == TRAILER:
            try:
                trailer = msgspec.json.decode(value, type=_Trailer)
            except msgspec.DecodeError:
                break
            return from_code(trailer.code, trailer.message, trailer.details)
    status = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    text = (error.details() if hasattr(error, "details") else None) or "no details"
    return _FOREIGN.get(status, OutcomeUnknown)(f"{peer}: {status.name.lower()}: {text}")


@contextmanager
def translated(peer: str) -> Iterator[None]:
    """A client's call: a `grpc.RpcError` raised inside leaves as the `EsdfsError` it stands for."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error, peer) from error


def _check_table() -> None:
    missing = {kind.code for kind in every_error()} ^ _STATUS.keys()
    assert not missing, missing


_check_table()
