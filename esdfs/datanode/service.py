"""What a DataNode does when called: the data channel's port, put together from store and pipeline."""

from collections.abc import Callable, Iterator
from typing import Final

from esdfs.checksum import crc32c
from esdfs.datanode.fence import EpochFence
from esdfs.datanode.load import Load
from esdfs.datanode.pacing import Pace
from esdfs.datanode.pipeline import Caller, Forward, Peers, Pipeline
from esdfs.datanode.replica import Replica
from esdfs.datanode.sending import outgoing
from esdfs.datanode.store import BlockStore
from esdfs.env import Clock
from esdfs.errors import (
    ChecksumMismatch,
    EsdfsError,
    IdentityConflict,
    InvalidRequest,
    ReplicaCorrupt,
    Unavailable,
)
from esdfs.rpc.channel import Channels
from esdfs.rpc.datanode import StoreCall, trimmed
from esdfs.rpc.messages import (
    BlockContent,
    BlockRequest,
    BlockResult,
    Frame,
    ReplicationRequest,
    Target,
)

_SLOWEST_BYTES_S: Final = 4 << 20
"""A copy is given the time it would take at this rate, and half a minute."""

_SHARERS: Final = 8
"""Or at this part of the rate it is held to, which it shares with others."""


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
        copying: Of everything we push to others on orders. What clients read is never held back.
        moving: Of that, what balances.
    """

    def __init__(
        self,
        store: BlockStore,
        peers: Peers,
        fence: EpochFence,
        load: Load,
        *,
        node_id: str,
        cluster_id: Callable[[], str],
        copying: Pace,
        moving: Pace,
        clock: Clock,
    ) -> None:
        self._store = store
        self._peers = peers
        self._fence = fence
        self._load = load
        self._cluster_id = cluster_id
        self._copying = copying
        self._moving = moving
        self._clock = clock
        self._pipeline = Pipeline(store, peers, node_id, cluster_id)

    def store(self, frames: Iterator[Frame], call: Caller) -> list[BlockResult]:
        """See `Pipeline.receive`."""
        with self._load.stream():
            received = _Received(frames, self._load, self._clock)
            results = self._pipeline.receive(iter(received), call)
            if received.ended_ns:
                self._load.stored(self._clock.monotonic_ns() - received.ended_ns)
            return results

    def retrieve(self, request: BlockRequest) -> Iterator[Frame]:
        """See `BlockStore.read`."""
        self._check_cluster(request.cluster_id)
        answered = self._load.asked()
        with self._load.stream():
            for number, frame in enumerate(
                self._store.read(request.block_id, request.generation, request.offset, request.length)
            ):
                if number == 0:
                    answered()
                self._load.read(len(frame.data))
                yield frame

    def replicate(self, request: ReplicationRequest) -> BlockResult:
        """Push a copy, verified while it is read, through ``request.targets``."""
        self._check_cluster(request.cluster_id)
        self._fence.admit(request.epoch)
        return self._push(request, self._copying)[1]

    def transfer(self, request: ReplicationRequest) -> BlockResult:
        """Push a copy, then drop ours."""
        self._check_cluster(request.cluster_id)
        self._fence.admit(request.epoch)
        replica, result = self._push(request, self._copying)
        if not result.code:
            self._store.delete(replica.block_id, replica.generation)
        return result

    def limit_moves(self, bytes_per_s: int) -> None:
        """How fast all `move`s together may be, from now on; 0 = no limit of their own."""
        self._moving.limit(bytes_per_s)

    def move(self, request: ReplicationRequest) -> BlockResult:
        """The first half of a transfer that a leader directs: push a copy, no faster than it says.

        Ours stays until the leader, told of both, orders it away: it alone knows who counts on which copy.
        """
        self._fence.admit(request.epoch)
        return self._push(request, self._copying, self._moving)[1]

    def _push(self, request: ReplicationRequest, *paces: Pace) -> tuple[Replica, BlockResult]:
        if not request.targets:
            raise InvalidRequest(f"block {request.block_id}: no target to copy it to")
        replica = self._store.find(request.block_id, request.generation)
        source = _Source(self._outgoing(replica, request.targets[1:], paces))
        timeout_s = 30.0 + replica.stored_bytes / _slowest_bytes_s(paces)
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

    def _outgoing(
        self, replica: Replica, rest: tuple[Target, ...], paces: tuple[Pace, ...]
    ) -> Iterator[Frame]:
        with self._store.open(replica.block_id, replica.generation) as reader:
            verified = self._store.checked(reader, reader.frames())
            for frame in outgoing(reader, verified, rest, self._cluster_id()):
                if not all(pace.spend(len(frame.data)) for pace in paces):
                    raise Unavailable("this DataNode is being stopped: copy from another one")
                self._load.copied(len(frame.data))
                yield frame

    def check(self, request: BlockRequest) -> BlockResult:
        """Whether the replica is here; when deep, also whether it verifies and is what was expected."""
        self._check_cluster(request.cluster_id)
        if request.expected is not None and request.generation <= 0:
            raise InvalidRequest(f"block {request.block_id}: say of which generation that is expected")
        replica = self._store.find(request.block_id, request.generation)
        if request.deep and request.expected is not None:
            self._hold_against(replica, request.expected)
        elif request.deep:
            self._store.verify(replica)
        return BlockResult(block_id=replica.block_id, receipts=(self._store.receipt(replica),))

    def _hold_against(self, replica: Replica, expected: BlockContent) -> None:
        """Verify every byte, and that all together are ``expected``.

        A replica of anything else is set aside like a damaged one: it fits its own checksums only.

        Raises:
            ReplicaCorrupt: It was set aside.
            ReplicaNotFound: Deleted or replaced meanwhile.
        """
        with self._store.from_disk(replica) as reader:
            length_bytes, crc = 0, 0
            try:
                whole = BlockRequest(block_id=replica.block_id)
                for piece in trimmed(self._store.checked(reader, reader.frames()), whole):
                    length_bytes += len(piece)
                    crc = crc32c(piece, crc)
            except ChecksumMismatch as error:
                reason = f"block {replica.block_id}: it verifies as stored only: {error.message}"
            else:
                if BlockContent(length_bytes, crc) == expected:
                    return
                reason = (
                    f"block {replica.block_id}: consistent, but not what was written: "
                    f"{length_bytes} bytes with checksum {crc:08x}, "
                    f"the journal has {expected.length_bytes} with {expected.crc32c:08x}"
                )
            self._store.doubt(reader.replica, reason)
            raise ReplicaCorrupt(reason)

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


def _slowest_bytes_s(paces: tuple[Pace, ...]) -> float:
    return min([_SLOWEST_BYTES_S, *(pace.bytes_per_s / _SHARERS for pace in paces if pace.bytes_per_s)])


class _Received:
    """An incoming stream, counted.

    Attributes:
        ended_ns: When its last frame came; 0 = not yet.
    """

    def __init__(self, frames: Iterator[Frame], load: Load, clock: Clock) -> None:
        self._frames = frames
        self._load = load
        self._clock = clock
        self.ended_ns = 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            self._load.wrote(len(frame.data))
            yield frame
        self.ended_ns = self._clock.monotonic_ns()


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
