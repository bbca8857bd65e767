"""What a DataNode does when called: the data channel's port, put together from store and pipeline."""

from collections.abc import Callable, Iterator
from typing import Final

from esdfs.datanode.fence import EpochFence
from esdfs.datanode.load import Load
from esdfs.datanode.pipeline import Caller, Forward, Pipeline
from esdfs.datanode.replica import Replica
from esdfs.datanode.store import BlockStore
from esdfs.errors import EsdfsError, IdentityConflict, InvalidRequest
from esdfs.rpc.channel import Channels
from esdfs.rpc.datanode import StoreCall
from esdfs.rpc.messages import BlockRequest, BlockResult, Frame, ReplicationRequest, Target

_SLOWEST_BYTES_S: Final = 4 << 20
"""A copy is given the time it would take at this rate, and half a minute."""


class ChannelPeers:
    """The other DataNodes, over gRPC."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    def forward(self, target: Target, frames: Iterator[Frame] | Frame, timeout_s: float | None) -> Forward:
        """Start a StoreBlock to ``target``."""
        return StoreCall(self._channels.get(target.address), frames, timeout_s=timeout_s)


class DataNodeService:
    """Implements `esdfs.rpc.servicer.DataNodePort`. Thread-safe.

    Args:
        cluster_id: Answers the cluster we belong to, empty while unknown.
    """

    def __init__(
        self,
        store: BlockStore,
        peers: ChannelPeers,
        fence: EpochFence,
        load: Load,
        *,
        node_id: str,
        cluster_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._peers = peers
        self._fence = fence
        self._load = load
        self._cluster_id = cluster_id
        self._pipeline = Pipeline(store, peers, node_id, cluster_id)

    def store(self, frames: Iterator[Frame], call: Caller) -> list[BlockResult]:
        """See `Pipeline.receive`."""
        with self._load.stream():
            return self._pipeline.receive(self._counted(frames), call)

    def _counted(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            self._load.wrote(len(frame.data))
            yield frame

    def retrieve(self, request: BlockRequest) -> Iterator[Frame]:
        """See `BlockStore.read`."""
        self._check_cluster(request.cluster_id)
        with self._load.stream():
            for frame in self._store.read(
                request.block_id, request.generation, request.offset, request.length
            ):
                self._load.read(len(frame.data))
                yield frame

    def replicate(self, request: ReplicationRequest) -> BlockResult:
        """Push a copy, verified while it is read, through ``request.targets``."""
        self._check_cluster(request.cluster_id)
        self._fence.admit(request.epoch)
        return self._push(request)[1]

    def transfer(self, request: ReplicationRequest) -> BlockResult:
        """Push a copy, then drop ours."""
        self._check_cluster(request.cluster_id)
        self._fence.admit(request.epoch)
        replica, result = self._push(request)
        if not result.code:
            self._store.delete(replica.block_id, replica.generation)
        return result

    def _push(self, request: ReplicationRequest) -> tuple[Replica, BlockResult]:
        if not request.targets:
            raise InvalidRequest(f"block {request.block_id}: no target to copy it to")
        replica = self._store.find(request.block_id, request.generation)
        source = _Source(self._outgoing(replica, request.targets[1:]))
        timeout_s = 30.0 + replica.stored_bytes / _SLOWEST_BYTES_S
        with self._load.stream():
            forward = self._peers.forward(request.targets[0], source, timeout_s)
            try:
                (result,) = forward.results()
            except EsdfsError:
                # The copy stopped because our own bytes are bad: say that, not that the stream broke.
                if source.error is not None:
                    raise source.error from None
                raise
        return replica, result

    def _outgoing(self, replica: Replica, rest: tuple[Target, ...]) -> Iterator[Frame]:
        """A replica's frames as a StoreBlock stream."""
        with self._store.open(replica.block_id, replica.generation) as reader:
            stored_at = 0
            frames = self._store.checked(reader, reader.frames())
            for number, frame in enumerate(frames):
                self._load.read(len(frame.data))
                yield Frame(
                    block_id=frame.block_id,
                    data=frame.data,
                    offset=stored_at,
                    chunk_crcs=frame.chunk_crcs,
                    total_size=frame.total_size,
                    compressed=frame.compressed,
                    compression=reader.meta.compression if frame.last else None,
                    generation=replica.generation if number == 0 else 0,
                    targets=rest if number == 0 else (),
                    last=frame.last,
                    crc32c=frame.crc32c,
                    cluster_id=self._cluster_id() if number == 0 else "",
                )
                stored_at += len(frame.data)

    def check(self, request: BlockRequest) -> BlockResult:
        """Whether the replica is here; when deep, also whether it verifies."""
        self._check_cluster(request.cluster_id)
        replica = self._store.find(request.block_id, request.generation)
        if request.deep:
            self._store.verify(replica)
        return BlockResult(block_id=replica.block_id, receipts=(self._store.receipt(replica),))

    def delete(self, request: BlockRequest) -> BlockResult:
        """Move the replica to the trash."""
        self._check_cluster(request.cluster_id)
        if request.generation <= 0:
            raise InvalidRequest(f"block {request.block_id}: say up to which generation to delete")
        with self._fence.deleting(request.epoch):
            self._store.delete(request.block_id, request.generation)
        return BlockResult(block_id=request.block_id)

    def _check_cluster(self, cluster_id: str) -> None:
        mine = self._cluster_id()
        if cluster_id and mine and cluster_id != mine:
            raise IdentityConflict(f"this DataNode belongs to cluster {mine}, not {cluster_id}")


class _Source:
    """An outgoing stream that remembers why it stopped."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self.error: EsdfsError | None = None

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        try:
            return next(self._frames)
        except EsdfsError as error:
            self.error = error
            raise
