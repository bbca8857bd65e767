"""Calling a DataNode. Serving one is `servicer`; what travels is in `messages`."""

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final, TypeAlias

import grpc

from esdfs.checksum import Buffer, crc32c
from esdfs.compression import decompress_group
from esdfs.errors import ChecksumMismatch, DeadlineExceeded, EsdfsError, PeerFailed
from esdfs.rpc import wire
from esdfs.rpc.messages import BlockRequest, BlockResult, Frame, ReplicationRequest, verify
from esdfs.rpc.stall import Stall
from esdfs.rpc.status import translated

SERVICE: Final = "esdfs.v1.DataNodeService"

_FRAME_S: Final = 2.0
"""A stream of one frame may take so long to be sent, beside what a node may take to answer."""

_Unary: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"
_Upload: TypeAlias = "grpc.StreamUnaryMultiCallable[bytes, bytes]"
_Download: TypeAlias = "grpc.UnaryStreamMultiCallable[bytes, bytes]"


def _unary(channel: grpc.Channel, method: str) -> _Unary:
    return channel.unary_unary(f"/{SERVICE}/{method}")


def _upload(channel: grpc.Channel) -> _Upload:
    return channel.stream_unary(f"/{SERVICE}/StoreBlock")


def _single(channel: grpc.Channel) -> _Unary:
    """StoreBlock with a stream of one message, which on the wire is a unary call: it costs no thread here."""
    return _unary(channel, "StoreBlock")


def _download(channel: grpc.Channel) -> _Download:
    return channel.unary_stream(f"/{SERVICE}/RetrieveBlock")


def store_blocks(
    channel: grpc.Channel, frames: Iterable[Frame], *, timeout_s: float, stall_s: float | None = None
) -> list[BlockResult]:
    """Write the blocks of ``frames`` through the pipeline that starts at ``channel``'s DataNode.

    On return every block without an error is durable on each node it has a receipt of. ``frames`` is drained
    in another thread and may be left unfinished when the DataNode answers early, which it does on errors. An
    exception raised by ``frames`` cancels the call: nothing is kept, and `PeerFailed` or `OutcomeUnknown` is
    raised.

    Args:
        channel: To the first DataNode.
        frames: The stream.
        timeout_s: For all of it.
        stall_s: Give up when no frame leaves for so long, or no answer comes after the last; None = wait.

    Raises:
        EsdfsError: The stream as a whole failed (`Unreachable`, `DeadlineExceeded`, `Overloaded`, ...). A
            block that failed alone is in the answer: `BlockResult.error`.
    """
    messages = map(wire.encode_frame, frames)
    first, second = next(messages, None), next(messages, None)
    with translated("StoreBlock"):
        if first is not None and second is None:
            within_s = timeout_s if stall_s is None else min(timeout_s, stall_s + _FRAME_S)
            return wire.decode_results(_single(channel)(first, timeout=within_s))
        begun = [message for message in (first, second) if message is not None]
        if stall_s is None:
            return wire.decode_results(_upload(channel)(chain(begun, messages), timeout=timeout_s))
        stall = Stall(stall_s)
        future = _upload(channel).future(_noting(chain(begun, messages), stall), timeout=timeout_s)
        future.add_done_callback(lambda _: stall.end())
        if not stall.watch():
            future.cancel()
            raise DeadlineExceeded(f"StoreBlock: no byte was taken and nothing answered for {stall_s:.0f} s")
        return _results(future.result)


def _results(wait: Callable[[], bytes]) -> list[BlockResult]:
    try:
        return wire.decode_results(wait())
    except grpc.FutureCancelledError as error:
        raise PeerFailed("the stream was cancelled") from error


def _noting(messages: Iterator[bytes], stall: Stall) -> Iterator[bytes]:
    """The messages, as gRPC takes them; they may take as long to be made as they like."""
    stall.works()
    for message in messages:
        stall.waits()
        yield message
        stall.works()
    stall.waits()


class StoreCall:
    """A running `store_blocks`, for a DataNode that forwards while it writes.

    Args:
        frames: The stream; or the one frame that it is.
    """

    def __init__(
        self, channel: grpc.Channel, frames: Iterator[Frame] | Frame, *, timeout_s: float | None
    ) -> None:
        if isinstance(frames, Frame):
            self._future = _single(channel).future(wire.encode_frame(frames), timeout=timeout_s)
        else:
            messages = map(wire.encode_frame, frames)
            self._future = _upload(channel).future(messages, timeout=timeout_s)

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` once the call ended, at once when it has; from a thread of gRPC."""
        self._future.add_done_callback(lambda _future: callback())

    def done(self) -> bool:
        """Whether it ended, well or not."""
        return bool(self._future.done())

    def cancel(self) -> None:
        """Give up; what was sent is dropped there."""
        self._future.cancel()

    def results(self) -> list[BlockResult]:
        """Wait for the answer. Raises what `store_blocks` raises."""
        with translated("StoreBlock"):
            return _results(self._future.result)


def retrieve(
    channel: grpc.Channel, request: BlockRequest, *, timeout_s: float, stall_s: float | None = None
) -> Iterator[Frame]:
    """The frames that cover a block's range, as stored: whole chunks or groups, verified on arrival.

    Closing the iterator ends the stream. Prefer `read_range`, which gives just the bytes.

    Args:
        channel: To the DataNode.
        request: Which.
        timeout_s: For all of it.
        stall_s: Give up when no frame comes for so long; None = wait. Costs a thread.

    Raises:
        ReplicaNotFound: Not there, or another generation.
        ReplicaCorrupt: That copy is damaged; what was yielded before is good.
        ChecksumMismatch: Damaged on the way.
        OutOfRange: The range starts past the block's end.
        EsdfsError: `Unreachable`, `DeadlineExceeded`, `Overloaded`.
    """
    call = _download(channel)(wire.encode_request(request), timeout=timeout_s)
    stall = None if stall_s is None else Stall(stall_s)
    if stall is not None:
        work = threading.Thread(target=_unless, args=(stall, call.cancel), name="esdfs-stall", daemon=True)
        work.start()
    try:
        with translated("RetrieveBlock"):
            for raw in call:
                if stall is not None:
                    stall.works()
                frame = wire.decode_frame(raw)
                verify(frame)
                yield frame
                if stall is not None:
                    stall.waits()
    except EsdfsError as error:
        if stall is not None and stall.late:
            raise DeadlineExceeded(f"RetrieveBlock: nothing came for {stall.within_s:.0f} s") from error
        raise
    finally:
        call.cancel()
        if stall is not None:
            stall.end()


def _unless(stall: Stall, cancel: Callable[[], object]) -> None:
    if not stall.watch():
        cancel()


def read_range(
    channel: grpc.Channel,
    request: BlockRequest,
    *,
    timeout_s: float,
    stall_s: float | None = None,
    size: int | None = None,
) -> Iterator[memoryview]:
    """The logical bytes ``[offset, offset + length)`` of a block, in pieces of at most 1 MiB, in order.

    Verified chunk by chunk, decompressed, trimmed to the range; of a whole compressed block also the logical
    checksum is verified after the last piece. A piece is valid until the next is asked for.

    Args:
        channel: To the DataNode.
        request: ``length`` 0 = to the end.
        timeout_s: For the whole range.
        stall_s: See `retrieve`.
        size: How many bytes must come. Others are a `ChecksumMismatch`, before one that is too many is given.

    Raises:
        EsdfsError: As `retrieve`.
    """
    return trimmed(retrieve(channel, request, timeout_s=timeout_s, stall_s=stall_s), request, size)


def trimmed(frames: Iterator[Frame], request: BlockRequest, size: int | None = None) -> Iterator[memoryview]:
    """The logical bytes of ``request``'s range from the ``frames`` that cover it (see `read_range`)."""
    end = request.offset + request.length if request.length else None
    at = request.offset
    compression = None
    whole = 0
    for frame in frames:
        data: Buffer = frame.data
        if not data:
            continue
        if frame.compression is not None:
            compression = frame.compression
        if frame.compressed:
            if compression is None:
                raise ChecksumMismatch(f"block {frame.block_id}: compressed frames without their metadata")
            logical = min(compression.group_bytes, compression.logical_bytes - frame.offset)
            data = decompress_group(frame.data, logical)
            if request.offset == 0:
                whole = crc32c(data, whole)
        start = at - frame.offset
        stop = len(data) if end is None else min(len(data), end - frame.offset)
        if start < 0:
            raise ChecksumMismatch(f"block {frame.block_id}: a gap before offset {frame.offset}")
        if size is not None and at + stop - start > request.offset + size:
            raise ChecksumMismatch(f"block {frame.block_id}: more than {size} bytes: try another replica")
        if stop > start:
            at += stop - start
            yield memoryview(data)[start:stop]
    if (
        compression is not None
        and request.offset == 0
        and end is None
        and whole != compression.logical_crc32c
    ):
        raise ChecksumMismatch(f"block {request.block_id}: decompressed bytes differ from the written ones")
    if size is not None and at - request.offset != size:
        raise ChecksumMismatch(
            f"block {request.block_id}: {at - request.offset} bytes instead of {size}: try another replica"
        )


def replicate(channel: grpc.Channel, request: ReplicationRequest, *, timeout_s: float) -> BlockResult:
    """Let the DataNode push a verified copy to ``request.targets``; their receipts are in the answer.

    Raises:
        EsdfsError: `EpochFenced`, `ReplicaNotFound`, `ReplicaCorrupt`, `Unreachable`, `DeadlineExceeded`, ...
    """
    call = _unary(channel, "ReplicateBlock")
    with translated("ReplicateBlock"):
        return _only(wire.decode_results(call(wire.encode_replication(request), timeout=timeout_s)))


def transfer(channel: grpc.Channel, request: ReplicationRequest, *, timeout_s: float) -> BlockResult:
    """As `replicate` to exactly one target, then the copy here is dropped (unless the push failed)."""
    call = _unary(channel, "TransferBlock")
    with translated("TransferBlock"):
        return _only(wire.decode_results(call(wire.encode_transfer(request), timeout=timeout_s)))


def check(channel: grpc.Channel, request: BlockRequest, *, timeout_s: float) -> BlockResult:
    """Is the replica there; with ``deep``, does every byte verify? Its receipt is in the answer.

    Raises:
        EsdfsError: `ReplicaNotFound`, `ReplicaCorrupt`, `Unreachable`, `DeadlineExceeded`.
    """
    call = _unary(channel, "CheckBlock")
    with translated("CheckBlock"):
        return _only(wire.decode_results(call(wire.encode_request(request), timeout=timeout_s)))


def delete(channel: grpc.Channel, request: BlockRequest, *, timeout_s: float) -> BlockResult:
    """Drop the replica with a generation up to ``request.generation``; idempotent.

    Raises:
        EsdfsError: `EpochFenced`, `Unreachable`, `DeadlineExceeded`.
    """
    call = _unary(channel, "DeleteBlock")
    with translated("DeleteBlock"):
        return _only(wire.decode_results(call(wire.encode_request(request), timeout=timeout_s)))


def _only(results: list[BlockResult]) -> BlockResult:
    if len(results) != 1:
        raise PeerFailed(f"the DataNode answered {len(results)} results to a question about one block")
    return results[0]
