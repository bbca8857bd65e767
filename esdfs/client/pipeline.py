"""One block through its pipeline: frames with checksums out, receipts in."""

import threading
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, unique
from itertools import chain
from typing import Final, TypeAlias

from esdfs.blocks import FRAME_BYTES, MIB
from esdfs.checksum import Buffer, chunk_crcs, crc32c
from esdfs.client.sources import BlockSource
from esdfs.client.values import NewBlock, WrittenBlock
from esdfs.compression import CODEC, GROUP_BYTES, compress_group, worth_compressing
from esdfs.errors import EsdfsError, InvalidRequest, Overloaded, PeerFailed
from esdfs.rpc.channel import Channels
from esdfs.rpc.datanode import store_blocks
from esdfs.rpc.messages import BlockResult, Compression, Frame, Target

Progress: TypeAlias = Callable[[int], None]
"""Called with the bytes that just left (or arrived), from any thread; negative when they must go again."""

_ACK_S: Final = 5.0
_ACK_LONGEST_S: Final = 30.0
_TIMEOUT_S: Final = 30.0
_SLOWEST_BYTES_S: Final = MIB
"""A pipeline slower than this is treated as failed."""


@unique
class Compress(Enum):
    """Whether blocks are stored compressed. ``AUTO`` tries a sample of each."""

    NEVER = "never"
    AUTO = "auto"
    ALWAYS = "always"


class Cancelled(Exception):
    """The file is being given up: stop sending."""


class PipelineFailed(Exception):
    """A block was not written; nothing of it counts.

    Attributes:
        failed: Node ids to leave out of the next attempt.
    """

    def __init__(self, error: EsdfsError, failed: Sequence[str]) -> None:
        super().__init__(error.message)
        self.error = error
        self.failed = list(failed)


class _Sending:
    """The frames of one block, and what became known of it while they left."""

    def __init__(
        self,
        block: NewBlock,
        source: BlockSource,
        compress: Compress,
        cancelled: threading.Event,
        progress: Progress | None,
        ack_s: float,
    ) -> None:
        self.block = block
        self.source = source
        self.stored_bytes = 0
        self.crc = 0
        self.compressed = False
        self.broken: BaseException | None = None
        self._compress = compress
        self._cancelled = cancelled
        self._progress = progress
        self._ack_ms = int(ack_s * 1000)
        self._counted = 0

    def frames(self) -> Iterator[Frame]:
        try:
            yield from self._frames()
        except BaseException as error:
            # gRPC swallows what its sending thread meets; whoever waits for the answer must know.
            self.broken = error
            raise

    def _frames(self) -> Iterator[Frame]:
        pieces = self.source.pieces()
        first = next(pieces, b"")
        self.compressed = self.source.length_bytes > 0 and (
            self._compress is Compress.ALWAYS
            or (self._compress is Compress.AUTO and worth_compressing(first))
        )
        total, sent_bytes, number = self.source.length_bytes, 0, int(self.block.block_id)
        targets = tuple(Target(target.node_id, target.address) for target in self.block.targets[1:])
        groups: list[int] = []
        for piece in chain((first,), pieces):
            if self._cancelled.is_set():
                raise Cancelled
            opens = sent_bytes == 0
            sent_bytes += len(piece)
            last = sent_bytes == total
            data: Buffer = piece
            if self.compressed:
                data = compress_group(piece)
                groups.append(len(data))
            crcs = chunk_crcs(data)
            # Of one chunk we know it already; of a full frame, a second pass costs half of combining chunks.
            self.crc = (
                crcs[0] if last and opens and len(crcs) == 1 and data is piece else crc32c(piece, self.crc)
            )
            yield Frame(
                block_id=number,
                data=data,
                offset=self.stored_bytes,
                chunk_crcs=crcs,
                total_size=total if opens or last else 0,
                compressed=self.compressed,
                compression=Compression(CODEC, GROUP_BYTES, tuple(groups), total, self.crc)
                if last and self.compressed
                else None,
                generation=self.block.generation if opens else 0,
                targets=targets if opens else (),
                ack_timeout_ms=self._ack_ms if opens else 0,
                last=last,
                crc32c=self.crc if last else 0,
            )
            self.stored_bytes += len(data)
            self._count(len(piece))
        if sent_bytes != total:
            raise InvalidRequest(f"the source gave {sent_bytes} bytes instead of {total}")

    def _count(self, size_bytes: int) -> None:
        self._counted += size_bytes
        if self._progress is not None:
            self._progress(size_bytes)

    def failed(self, error: EsdfsError, nodes: Sequence[str]) -> PipelineFailed:
        if self._counted:
            self._count(-self._counted)
        return PipelineFailed(error, nodes)

    def written(self, result: BlockResult) -> WrittenBlock:
        return WrittenBlock(
            block_id=int(self.block.block_id),
            generation=self.block.generation,
            length_bytes=self.source.length_bytes,
            stored_bytes=self.stored_bytes,
            crc32c=self.crc,
            replicas=[receipt.node_id for receipt in result.receipts],
            compressed=self.compressed,
        )


def write_blocks(
    channels: Channels,
    blocks: Sequence[tuple[NewBlock, BlockSource]],
    *,
    compress: Compress,
    cancelled: threading.Event,
    progress: Progress | None = None,
    attempt: int = 0,
) -> list[WrittenBlock | PipelineFailed]:
    """Write blocks that share one pipeline as one stream; durable on every node of it on return.

    A node that stands still for 5 s, or gives no receipt for so long after the last byte, has failed; after
    ``attempt`` earlier tries it has longer, for all may be slow.

    Returns:
        For each block what ``complete`` needs, or why it was not written.

    Raises:
        Exception: Whatever a source raised, and `Cancelled`.
    """
    ack_s = min(_ACK_S * 2**attempt, _ACK_LONGEST_S)
    sending = [_Sending(block, source, compress, cancelled, progress, ack_s) for block, source in blocks]
    targets = blocks[0][0].targets
    if not targets:
        raise InvalidRequest(f"block {blocks[0][0].block_id} was allocated without DataNodes: try again")
    nodes = [target.node_id for target in targets]
    total_bytes = sum(one.source.length_bytes for one in sending)
    stall_s = ack_s * len(nodes)  # each waits for those behind it, and names who was late
    try:
        results = store_blocks(
            channels.get(targets[0].address),
            chain.from_iterable(one.frames() for one in sending),
            timeout_s=max(_TIMEOUT_S, stall_s) + total_bytes / _SLOWEST_BYTES_S,
            stall_s=stall_s,
        )
    except EsdfsError as error:
        _raise_broken(sending)
        failed = str(error.details.get("failed_node_id") or nodes[0])
        return [one.failed(error, [failed]) for one in sending]
    _raise_broken(sending)
    by_block = {result.block_id: result for result in results}
    return [_outcome(one, by_block.get(int(one.block.block_id)), nodes) for one in sending]


def _raise_broken(sending: Sequence[_Sending]) -> None:
    for one in sending:
        if one.broken is not None and not isinstance(one.broken, GeneratorExit):
            raise one.broken


def _outcome(one: _Sending, result: BlockResult | None, nodes: list[str]) -> WrittenBlock | PipelineFailed:
    if result is None:
        return one.failed(PeerFailed(f"block {one.block.block_id}: no answer about it"), nodes[:1])
    error = result.error()
    if error is not None:
        failed = [] if isinstance(error, Overloaded) else [result.failed_node_id or nodes[0]]
        return one.failed(error, failed)
    holders = {receipt.node_id for receipt in result.receipts}
    silent = [node for node in nodes if node not in holders]
    if silent:
        return one.failed(PeerFailed(f"no receipt of {', '.join(silent)}"), silent)
    if any(
        (receipt.crc32c, receipt.length_bytes) != (one.crc, one.source.length_bytes)
        for receipt in result.receipts
    ):
        return one.failed(PeerFailed("a receipt is about other bytes than were sent"), nodes[:1])
    return one.written(result)


assert FRAME_BYTES == GROUP_BYTES, "a piece of a source is a compression group"
