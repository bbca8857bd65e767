"""Serving the data channel: gRPC's side of a DataNode, which itself knows neither gRPC nor protobuf."""

import threading
from collections.abc import Iterator
from typing import Protocol

import grpc

from esdfs.errors import Overloaded, PeerFailed
from esdfs.rpc import wire
from esdfs.rpc.datanode import SERVICE
from esdfs.rpc.messages import BlockRequest, BlockResult, Frame, ReplicationRequest
from esdfs.rpc.status import aborting


class DataNodePort(Protocol):
    """What the servicer needs of a DataNode. Every method may raise `EsdfsError`."""

    def store(self, frames: Iterator[Frame], call: "CallState") -> list[BlockResult]:
        """Take the blocks of a stream; return when they are durable."""
        ...

    def retrieve(self, request: BlockRequest) -> Iterator[Frame]:
        """The covering frames of a range, verified."""
        ...

    def replicate(self, request: ReplicationRequest) -> BlockResult:
        """Push a copy."""
        ...

    def transfer(self, request: ReplicationRequest) -> BlockResult:
        """Push a copy, then drop ours."""
        ...

    def check(self, request: BlockRequest) -> BlockResult:
        """Look, or verify."""
        ...

    def delete(self, request: BlockRequest) -> BlockResult:
        """Drop a replica."""
        ...


class CallState:
    """What a stream's receiver may ask about the call it serves."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def alive(self) -> bool:
        """False once the caller is gone or its deadline passed."""
        return bool(self._context.is_active())

    def remaining_s(self) -> float | None:
        """Seconds to the caller's deadline; None when it set none."""
        return self._context.time_remaining()


class DataNodeServicer:
    """gRPC's side of a `DataNodePort`.

    A stream holds a thread of the server. At most ``streams_max`` run at a time and further ones are refused,
    not queued, so that short calls always find a thread and two DataNodes full of streams to each other
    cannot wait in a circle.
    """

    def __init__(self, node: DataNodePort, *, streams_max: int) -> None:
        self._node = node
        self._slots = threading.BoundedSemaphore(streams_max)

    def add_to(self, server: grpc.Server) -> None:
        """Serve on ``server``."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "StoreBlock": grpc.stream_unary_rpc_method_handler(self._store),
            "RetrieveBlock": grpc.unary_stream_rpc_method_handler(self._retrieve),
            "ReplicateBlock": grpc.unary_unary_rpc_method_handler(self._replicate),
            "TransferBlock": grpc.unary_unary_rpc_method_handler(self._transfer),
            "CheckBlock": grpc.unary_unary_rpc_method_handler(self._check),
            "DeleteBlock": grpc.unary_unary_rpc_method_handler(self._delete),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def _store(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        with aborting(context), self._stream():
            frames = map(wire.decode_frame, _received(requests))
            return wire.encode_results(self._node.store(frames, CallState(context)))

    def _retrieve(self, raw: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        with aborting(context), self._stream():
            for frame in self._node.retrieve(wire.decode_request(raw)):
                yield wire.encode_frame(frame)

    def _replicate(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        with aborting(context), self._stream():
            return wire.encode_results([self._node.replicate(wire.decode_replication(raw))])

    def _transfer(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        with aborting(context), self._stream():
            return wire.encode_results([self._node.transfer(wire.decode_transfer(raw))])

    def _check(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        with aborting(context):
            return wire.encode_results([self._node.check(wire.decode_request(raw))])

    def _delete(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        with aborting(context):
            return wire.encode_results([self._node.delete(wire.decode_request(raw))])

    def _stream(self) -> "_Slot":
        return _Slot(self._slots)


def _received(requests: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from requests
    except grpc.RpcError as error:
        raise PeerFailed("the sender went away before the end of its stream") from error


class _Slot:
    """One of the places for streams, while entered."""

    def __init__(self, slots: threading.BoundedSemaphore) -> None:
        self._slots = slots

    def __enter__(self) -> None:
        if not self._slots.acquire(blocking=False):
            raise Overloaded("this DataNode serves as many streams as it can: try another replica or later")

    def __exit__(self, *exc_info: object) -> None:
        self._slots.release()
