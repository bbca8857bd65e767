"""NameNode to NameNode: both ends of ``NameNodeService``, in one event loop each."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar, cast

import grpc
import grpc.aio

from esdfs._proto import namenode_pb2 as pb
from esdfs._proto import namenode_pb2_grpc as pb_grpc
from esdfs.blocks import MIB
from esdfs.errors import EsdfsError, Unavailable, Unreachable
from esdfs.ids import NodeId
from esdfs.journal.quorum.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    SyncRequest,
    SyncResponse,
    VoteRequest,
    VoteResponse,
)
from esdfs.rpc import quorum_wire as wire
from esdfs.rpc.channel import CHANNEL_OPTIONS
from esdfs.rpc.chunks import ChunkAsked, ChunkSource, answer_chunk, chunk_in, chunk_request
from esdfs.rpc.peer_features import PeerFeatures
from esdfs.rpc.server import SERVER_OPTIONS
from esdfs.rpc.status import from_rpc_error, status_of, trailer_of

_CALL_TIMEOUT_S: Final = 1.0
_CHUNK_TIMEOUT_S: Final = 10.0
_FLUSH_TIMEOUT_S: Final = 0.2

# A page of records is cut by the size of payloads; their frames come on top.
_PAGE_BYTES_MAX: Final = 8 * MIB
_SIZES: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", _PAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _PAGE_BYTES_MAX),
]

# A call to a peer whose channel waits to reconnect fails at once, and a lost vote costs an election timeout.
# Peers are few: with a pause of up to 1 s, 2 of 8 handovers soon after a restart took 0.6 s and not 6 ms;
# with one of 0.1 s, 0 of 12.
_RECONNECT: Final = {
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.min_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 100,
}
_OPTIONS: Final = list((dict(CHANNEL_OPTIONS) | _RECONNECT).items())

_Reply = TypeVar("_Reply", pb.VoteResponse, pb.HeartbeatResponse, pb.SyncResponse)


class QuorumPort(Protocol):
    """What the servicer needs of a node."""

    async def answer(
        self, request: VoteRequest | HeartbeatRequest | SyncRequest
    ) -> VoteResponse | HeartbeatResponse | SyncResponse | None:
        """The response; None when there is nothing to say."""
        ...


class NameNodeServicer(pb_grpc.NameNodeServiceServicer):
    """gRPC's side of a `QuorumPort`. Nothing to say is a response without an envelope."""

    def __init__(
        self, node: QuorumPort, features: PeerFeatures | None = None, chunks: ChunkSource | None = None
    ) -> None:
        self._node, self._features, self._chunks = node, features, chunks

    async def RequestVote(  # noqa: N802 - gRPC's name
        self, request: pb.VoteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.VoteResponse:
        """Vote, or say what one would vote."""

        async def answered() -> pb.VoteResponse:
            if self._features is not None:
                self._features.heard(request.envelope)
            response = await self._node.answer(wire.decode_vote_request(request))
            assert response is None or isinstance(response, VoteResponse), "a vote answers a vote"
            return pb.VoteResponse() if response is None else wire.encode_vote_response(response)

        return await _aborting(context, answered())

    async def Heartbeat(  # noqa: N802 - gRPC's name
        self, request: pb.HeartbeatRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.HeartbeatResponse:
        """Hear that the leader lives."""

        async def answered() -> pb.HeartbeatResponse:
            response = await self._node.answer(wire.decode_heartbeat_request(request))
            assert response is None or isinstance(response, HeartbeatResponse), "as asked"
            return pb.HeartbeatResponse() if response is None else wire.encode_heartbeat_response(response)

        return await _aborting(context, answered())

    async def SyncMetadata(  # noqa: N802 - gRPC's name
        self, request: pb.SyncRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.SyncResponse:
        """Serve a fetch, now or as soon as there is something to bring; or a piece of a checkpoint."""

        async def answered() -> pb.SyncResponse:
            if request.HasField("chunk"):
                return await answer_chunk(request, self._chunks)
            if self._features is not None:
                self._features.heard(request.envelope, request.kind)
            response = await self._node.answer(wire.decode_sync_request(request))
            assert response is None or isinstance(response, SyncResponse), "as asked"
            return pb.SyncResponse() if response is None else wire.encode_sync_response(response)

        return await _aborting(context, answered())


async def serve(host: str, port: int, servicer: NameNodeServicer) -> tuple[grpc.aio.Server, int]:
    """Start to serve on ``host:port`` (0 = any free one); answers the server and its port.

    Raises:
        Unavailable: Somebody else listens there.
    """
    server = grpc.aio.server(options=[*SERVER_OPTIONS, *_SIZES])
    pb_grpc.add_NameNodeServiceServicer_to_server(servicer, server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error}") from error
    if bound == 0:
        raise Unavailable(f"cannot listen on {host}:{port}: is another process using it?")
    await server.start()
    return server, bound


class PeerTransport:
    """Sends requests to other NameNodes and hands back what they answer. Make it in the event loop.

    Args:
        address_of: Where a node listens, as ``host:port``; None when not known. An address that another
            node told us is used then (the first word of an endpoint).
        features: What this node reads; None says nothing, as releases before feature levels did.
        on_refused: Told who refused a request of ours, and with what error.
    """

    def __init__(
        self,
        address_of: Callable[[NodeId], str | None],
        features: PeerFeatures | None = None,
        on_refused: Callable[[NodeId, EsdfsError], None] = lambda _by, _error: None,
    ) -> None:
        self._address_of, self._features = address_of, features
        self._on_refused = on_refused
        self._told: dict[NodeId, str] = {}
        self._peers: dict[NodeId, _Peer] = {}
        self._receive: Callable[[VoteResponse | HeartbeatResponse | SyncResponse], None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def start(self, receive: Callable[[VoteResponse | HeartbeatResponse | SyncResponse], None]) -> None:
        """See ``Transport.start``."""
        self._receive = receive

    def send(self, to: NodeId, message: VoteRequest | HeartbeatRequest | SyncRequest) -> None:
        """See ``Transport.send``. A fetch takes the place of the one before it, if that is under way."""
        peer = self._peer(to) if self._receive else None
        if peer is None:
            return
        task = asyncio.get_running_loop().create_task(self._call(to, peer, message))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        if isinstance(message, SyncRequest):
            if peer.fetch is not None:
                peer.fetch.cancel()
            peer.fetch = task

    async def fetch_chunk(self, source: NodeId, asked: ChunkAsked, *, cluster_id: str) -> bytes:
        """A piece of a checkpoint's file, from the node that offered it.

        Raises:
            EsdfsError: It did not come; `CheckpointGone` when it never will.
        """
        peer = self._peer(source)
        if peer is None:
            raise Unreachable(f"it is not known where {source} is")
        try:
            return await peer.chunk(asked, cluster_id)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, source) from error

    async def stop(self) -> None:
        """See ``Transport.stop``."""
        self._receive = None
        fetches = {peer.fetch for peer in self._peers.values()}
        orders = self._calls - fetches
        if orders:  # a resignation should still arrive
            await asyncio.wait(orders, timeout=_FLUSH_TIMEOUT_S)
        calls = [*self._calls, *self._closing]
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for peer in self._peers.values():
            await peer.channel.close()
        self._peers.clear()

    def _peer(self, node_id: NodeId) -> "_Peer | None":
        address = self._address_of(node_id) or self._told.get(node_id)
        known = self._peers.get(node_id)
        if known is not None:
            if address in (None, known.address):
                return known
            task = asyncio.get_running_loop().create_task(known.channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            del self._peers[node_id]
        if address is None:
            return None
        peer = self._peers[node_id] = _Peer(address, self._features)
        return peer

    async def _call(
        self, to: NodeId, peer: "_Peer", message: VoteRequest | HeartbeatRequest | SyncRequest
    ) -> None:
        try:
            response = await peer.call(message)
        except grpc.aio.AioRpcError as error:
            # Lost, as messages may be; the quorum has timers for that.
            self._on_refused(to, from_rpc_error(error, to))
            return
        except EsdfsError:
            return  # as above
        if response is None or self._receive is None:
            return
        if not isinstance(response, HeartbeatResponse) and response.leader_id and response.leader_endpoint:
            self._told[response.leader_id] = response.leader_endpoint.partition(" ")[0]
        self._receive(response)


class _Peer:
    """One channel."""

    def __init__(self, address: str, features: PeerFeatures | None) -> None:
        self.address, self._features = address, features
        self.channel = grpc.aio.insecure_channel(address, options=[*_OPTIONS, *_SIZES])
        self.fetch: asyncio.Task[None] | None = None
        # Its calls are awaitable; the generated stub is typed for the other API.
        self._stub = cast("Any", pb_grpc.NameNodeServiceStub(self.channel))

    async def call(
        self, request: VoteRequest | HeartbeatRequest | SyncRequest
    ) -> VoteResponse | HeartbeatResponse | SyncResponse | None:
        """The peer's answer, if it has one.

        Raises:
            grpc.aio.AioRpcError: It cannot be reached, or does not answer in time.
            InvalidRequest: Its answer is of a newer protocol.
        """
        match request:
            case VoteRequest():
                asked = wire.encode_vote_request(request)
                self._say(asked.envelope)
                vote: pb.VoteResponse = await self._stub.RequestVote(asked, timeout=_CALL_TIMEOUT_S)
                return wire.decode_vote_response(vote) if vote.HasField("envelope") else None
            case HeartbeatRequest():
                heartbeat: pb.HeartbeatResponse = await self._stub.Heartbeat(
                    wire.encode_heartbeat_request(request), timeout=_CALL_TIMEOUT_S
                )
                if not heartbeat.HasField("envelope"):
                    return None
                return wire.decode_heartbeat_response(heartbeat)
            case SyncRequest():
                fetch = wire.encode_sync_request(request)
                self._say(fetch.envelope)
                timeout_s = _CALL_TIMEOUT_S + request.max_wait_ms / 1000
                sync: pb.SyncResponse = await self._stub.SyncMetadata(fetch, timeout=timeout_s)
                return wire.decode_sync_response(sync) if sync.HasField("envelope") else None

    async def chunk(self, asked: ChunkAsked, cluster_id: str) -> bytes:
        """See ``PeerTransport.fetch_chunk``."""
        request = chunk_request(cluster_id, asked)
        response: pb.SyncResponse = await self._stub.SyncMetadata(request, timeout=_CHUNK_TIMEOUT_S)
        return chunk_in(response, asked)

    def _say(self, envelope: pb.Envelope) -> None:
        if self._features is not None:
            self._features.stamp(envelope)


async def _aborting(context: grpc.aio.ServicerContext[Any, Any], work: Awaitable[_Reply]) -> _Reply:
    try:
        return await work
    except EsdfsError as error:
        context.set_trailing_metadata((trailer_of(error),))
        await context.abort(status_of(error), error.message)
