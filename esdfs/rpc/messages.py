"""What travels on the data channel, as values; `wire` turns them into `proto/datanode.proto` and back."""

import msgspec

from esdfs.checksum import Buffer, chunk_crcs
from esdfs.errors import ChecksumMismatch, EsdfsError, from_code


class Target(msgspec.Struct, frozen=True):
    """A DataNode to send to. ``address`` is ``host:port``."""

    node_id: str
    address: str


class Compression(msgspec.Struct, frozen=True):
    """How a block's stored bytes come from its logical ones.

    Attributes:
        group_bytes: Logical bytes of each group; the last may be shorter.
        stored_bytes: Stored size of each group, in order.
        logical_crc32c: Of all logical bytes.
    """

    codec: str
    group_bytes: int
    stored_bytes: tuple[int, ...]
    logical_bytes: int
    logical_crc32c: int


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a block; a block is a run of frames with one ``block_id``.

    Attributes:
        data: At most 1 MiB. Stored bytes; chunks of 64 KiB start at its first byte, so every uncompressed
            frame but the last of its block is a multiple of 64 KiB long. Valid until the next frame is
            asked for.
        offset: Of ``data``. Storing: in the stored bytes, without gaps from 0. Reading: in the logical ones.
        chunk_crcs: CRC32C of each 64 KiB chunk of ``data``.
        total_size: Logical bytes of the block; 0 = not known yet (storing, before the last frame).
        compressed: ``data`` is one brotli group (see ``compression``), whole.
        compression: On the last stored frame and the first read one of a compressed block.
        generation: On the first frame.
        targets: On the first frame: the hops after the receiver, in order.
        last: The block ends here.
        crc32c: On the last stored frame: of the whole logical block.
        cluster_id: On the first frame; empty is accepted by any cluster.
        ack_timeout_ms: On the first frame: a hop that takes no byte, or gives no receipt after the last one,
            for so long counts as failed; 0 = as long as the call may take.
        raw: The frame as it was received, to be forwarded unchanged. Drop it when changing anything else.
    """

    block_id: int
    data: Buffer = b""
    offset: int = 0
    chunk_crcs: list[int] = []
    total_size: int = 0
    compressed: bool = False
    compression: Compression | None = None
    generation: int = 0
    targets: tuple[Target, ...] = ()
    last: bool = False
    crc32c: int = 0
    cluster_id: str = ""
    ack_timeout_ms: int = 0
    raw: bytes | None = None


def verify(frame: Frame) -> None:
    """Hold a frame's data against the checksums it came with.

    Raises:
        ChecksumMismatch: They differ.
    """
    if chunk_crcs(frame.data) != frame.chunk_crcs:
        raise ChecksumMismatch(
            f"block {frame.block_id}: the frame at offset {frame.offset} does not match its checksums",
            block_id=str(frame.block_id),
        )


class BlockContent(msgspec.Struct, frozen=True):
    """What the journal committed a block to be; both of its logical bytes."""

    length_bytes: int
    crc32c: int


class BlockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A block, or a logical range of it.

    Attributes:
        generation: 0 = any.
        length: 0 = to the end.
        deep: Checking: read and verify every byte.
        expected: Checking deep, one generation: a replica of anything else is corrupt. None = not known.
        epoch: Deleting: the leader's.
    """

    block_id: int
    generation: int = 0
    offset: int = 0
    length: int = 0
    deep: bool = False
    expected: BlockContent | None = None
    epoch: int = 0
    cluster_id: str = ""


class ReplicationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Push a verified copy to ``targets``, as one pipeline in that order."""

    block_id: int
    generation: int
    targets: tuple[Target, ...]
    epoch: int = 0
    cluster_id: str = ""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What one DataNode promises to hold durably.

    Attributes:
        length_bytes: Logical.
        crc32c: Of the logical bytes.
    """

    node_id: str
    volume_id: str
    block_id: int
    generation: int
    length_bytes: int
    stored_bytes: int
    crc32c: int


class BlockResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one block.

    Attributes:
        code: Empty, or the stable code of what failed.
        receipts: The answering node's first, then those downstream of it that also hold the block.
        failed_node_id: The hop that failed, when known.
    """

    block_id: int
    code: str = ""
    message: str = ""
    receipts: tuple[Receipt, ...] = ()
    failed_node_id: str = ""

    def error(self) -> EsdfsError | None:
        """What failed, as the error it is; None when nothing did."""
        if not self.code:
            return None
        details: dict[str, str | int | list[str]] = {"block_id": str(self.block_id)}
        if self.failed_node_id:
            details["failed_node_id"] = self.failed_node_id
        return from_code(self.code, self.message, details)
