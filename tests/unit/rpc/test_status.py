from collections.abc import Iterator
from typing import Any, TypeAlias

import grpc
import pytest

from esdfs.errors import DeadlineExceeded, EsdfsError, OutcomeUnknown, Unreachable, every_error
from esdfs.rpc.channel import Channels
from esdfs.rpc.server import bind, new_server
from esdfs.rpc.status import aborting, from_rpc_error, status_of, translated

Call: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"

KINDS = sorted(every_error(), key=lambda kind: kind.code)


@pytest.fixture(scope="module")
def call() -> Iterator[Call]:
    """A real server whose one method fails with the error whose code it is sent."""

    def fail(code: bytes, context: grpc.ServicerContext) -> bytes:
        kind = next(kind for kind in KINDS if kind.code == code.decode())
        with aborting(context):
            raise kind("what to do: ünïcode", path="/a", leader=["x", "y"], oldest_txid=7)

    server = new_server(2, "test")
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Fail": grpc.unary_unary_rpc_method_handler(fail)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t", handlers),))
    port = bind(server, "127.0.0.1", 0)
    server.start()
    with Channels() as channels:
        yield channels.get(f"127.0.0.1:{port}").unary_unary("/t/Fail")
    server.stop(None).wait()


@pytest.mark.parametrize("kind", KINDS, ids=[kind.code for kind in KINDS])
def test_every_error_crosses_the_wire_whole(kind: type[EsdfsError], call: Call) -> None:
    with pytest.raises(kind) as caught, translated("peer"):
        call(kind.code.encode(), timeout=10)
    assert type(caught.value) is kind
    assert caught.value.message == "what to do: ünïcode"
    assert caught.value.details == {"path": "/a", "leader": ["x", "y"], "oldest_txid": 7}
    cause: Any = caught.value.__cause__
    assert cause.code() is status_of(caught.value)


def test_nobody_there_is_unreachable() -> None:
    with Channels() as channels:
        call: Call = channels.get("127.0.0.1:1").unary_unary("/t/Fail")
        with pytest.raises(Unreachable), translated("peer"):
            call(b"", timeout=10)


def test_a_server_that_does_not_answer_is_a_deadline() -> None:
    def never(_raw: bytes, context: grpc.ServicerContext) -> bytes:
        while context.is_active():
            context.time_remaining()
        return b""

    server = new_server(1, "test")
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Never": grpc.unary_unary_rpc_method_handler(never)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t", handlers),))
    port = bind(server, "127.0.0.1", 0)
    server.start()
    with Channels() as channels:
        call: Call = channels.get(f"127.0.0.1:{port}").unary_unary("/t/Never")
        with pytest.raises(DeadlineExceeded), translated("peer"):
            call(b"", timeout=0.2)
    server.stop(None).wait()


def test_a_foreign_failure_may_have_happened() -> None:
    assert isinstance(from_rpc_error(grpc.RpcError(), "peer"), OutcomeUnknown)


def test_a_port_in_use_is_refused() -> None:
    first, second = new_server(1, "a"), new_server(1, "b")
    port = bind(first, "127.0.0.1", 0)
    with pytest.raises(EsdfsError, match="cannot listen"):
        bind(second, "127.0.0.1", port)
    first.stop(None).wait()


def test_a_cache_has_one_channel_per_address_until_it_is_dropped() -> None:
    with Channels() as channels:
        one = channels.get("127.0.0.1:1")
        assert channels.get("127.0.0.1:1") is one
        assert channels.get("127.0.0.1:2") is not one
        channels.drop("127.0.0.1:1")
        assert channels.get("127.0.0.1:1") is not one
    with pytest.raises(AssertionError):
        channels.get("127.0.0.1:1")
