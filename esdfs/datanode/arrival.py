"""A block as its frames come in: what must hold between them. Pure."""

from esdfs.blocks import BLOCK_BYTES_MAX, CHUNK_BYTES, FRAME_BYTES
from esdfs.checksum import combine_chunks
from esdfs.compression import STORED_GROUP_BYTES_MAX
from esdfs.datanode.layout import Meta, contradiction
from esdfs.datanode.replica import BlockKey
from esdfs.errors import ChecksumMismatch, InvalidRequest, OutOfRange
from esdfs.rpc.messages import Frame, verify


class Arrival:
    """Frames of one block, checked one by one; after the last one, its meta file's content."""

    def __init__(self, first: Frame) -> None:
        """``first`` opens the block; it is not yet accepted.

        Raises:
            InvalidRequest: It cannot open a block.
        """
        if first.generation <= 0:
            raise InvalidRequest(f"block {first.block_id}: its first frame must carry a generation")
        if first.total_size > BLOCK_BYTES_MAX:
            raise InvalidRequest(f"block {first.block_id}: {first.total_size} bytes, over 2 GiB")
        self.key = BlockKey(first.block_id, first.generation)
        self.total_size = first.total_size
        self.stored_bytes = 0
        self.finished = False
        self._compressed = first.compressed
        self._aligned = True
        self._chunk_crcs: list[int] = []
        self._group_stored_bytes: list[int] = []
        self._meta: Meta | None = None

    def accept(self, frame: Frame) -> None:
        """Hold ``frame`` against its checksums and its predecessors. Call before anything else uses it.

        Raises:
            ChecksumMismatch: Its bytes are not those that were sent.
            OutOfRange: A gap, an overlap, or more bytes than a block has.
            InvalidRequest: Contradictory.
        """
        assert not self.finished, self.key
        size = len(frame.data)
        where = f"block {self.key.block_id}"
        if frame.offset != self.stored_bytes:
            raise OutOfRange(f"{where}: a frame at {frame.offset}, expected at {self.stored_bytes}")
        if size > (STORED_GROUP_BYTES_MAX if self._compressed else FRAME_BYTES):
            raise InvalidRequest(f"{where}: a frame of {size} bytes")
        if frame.compressed != self._compressed and (size or not frame.last):
            raise InvalidRequest(f"{where}: compressed and plain frames are mixed")
        if not self._aligned and size:
            raise InvalidRequest(f"{where}: only its last frame may end within a chunk")
        if self.stored_bytes + size > BLOCK_BYTES_MAX + FRAME_BYTES:
            raise OutOfRange(f"{where}: more than 2 GiB")
        if not size and not frame.last:
            raise InvalidRequest(f"{where}: an empty frame that is not the last")
        verify(frame)
        self.stored_bytes += size
        self._chunk_crcs += frame.chunk_crcs
        if self._compressed:
            if size:
                self._group_stored_bytes.append(size)
        else:
            self._aligned = size % CHUNK_BYTES == 0
        if frame.last:
            self._finish(frame)

    def _finish(self, last: Frame) -> None:
        total = last.total_size or self.total_size or (0 if self._compressed else self.stored_bytes)
        if self.total_size not in (0, total):
            raise InvalidRequest(f"block {self.key.block_id}: its size changed while it was sent")
        compression = last.compression
        if (compression is not None) != self._compressed:
            raise InvalidRequest(f"block {self.key.block_id}: compressed frames and metadata go together")
        meta = Meta(
            block_id=self.key.block_id,
            generation=self.key.generation,
            length_bytes=total,
            stored_bytes=self.stored_bytes,
            crc32c=last.crc32c,
            codec=compression.codec if compression else "",
            group_bytes=compression.group_bytes if compression else 0,
            chunk_crcs=tuple(self._chunk_crcs),
            group_stored_bytes=tuple(self._group_stored_bytes),
        )
        problem = contradiction(meta)
        if problem:
            raise OutOfRange(f"block {self.key.block_id}: {problem}")
        if compression:
            claimed = (compression.logical_bytes, compression.logical_crc32c, compression.stored_bytes)
            if claimed != (total, last.crc32c, meta.group_stored_bytes):
                raise InvalidRequest(f"block {self.key.block_id}: its metadata contradict its frames")
        elif combine_chunks(self._chunk_crcs, total) != last.crc32c:
            raise ChecksumMismatch(f"block {self.key.block_id}: its chunks do not add up to its checksum")
        self._meta = meta
        self.finished = True

    @property
    def meta(self) -> Meta:
        """What the meta file must say; only when finished."""
        assert self._meta is not None, self.key
        return self._meta
