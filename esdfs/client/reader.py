"""Reading blocks: any range, from the best replica that has it, verified here once more."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from esdfs.checksum import Buffer, crc32c
from esdfs.client.checking import complain
from esdfs.client.control import Control
from esdfs.client.retry import Backoff
from esdfs.client.values import FileStatus, LocatedBlock, Location, ReplicaAt
from esdfs.env import Clock, Rng
from esdfs.errors import (
    ChecksumMismatch,
    DeadlineExceeded,
    EsdfsError,
    OutOfRange,
    Retry,
    Unavailable,
    Unreachable,
)
from esdfs.rpc.channel import Channels
from esdfs.rpc.datanode import read_range
from esdfs.rpc.local import LocalReaders
from esdfs.rpc.messages import BlockRequest

PARALLEL: Final = 4
ROUNDS: Final = 4
"""How often all replicas of a block are asked in vain, with fresh locations each time."""

_TIMEOUT_S: Final = 20.0
_STALL_S: Final = 5.0
"""A replica of which nothing comes for so long is left for another one; when all were, each has longer."""

_LARGE_BYTES: Final = 4 << 20
"""Watching for a stall is worth it; of less the deadline is soon over."""

_SLOWEST_BYTES_S: Final = 1 << 20
_LOCAL_TIMEOUT_S: Final = 3.0


class ReaderMeans(NamedTuple):
    """What a reader works with.

    Attributes:
        silent: Nodes that did not answer last time: the others are asked before them.
    """

    control: Control
    channels: Channels
    local: LocalReaders
    clock: Clock
    rng: Rng
    silent: set[str]


class RemoteFile:
    """One version of a file, open for reading from any thread. Holds no connection between reads."""

    def __init__(self, means: ReaderMeans, info: FileStatus, txid: int) -> None:
        """``info`` has its blocks ``located``, and is as of ``txid``."""
        self._means = means
        self._txid = txid
        self.info = info
        self.blocks = info.located or []

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return self.info.size_bytes

    def _locate_again(self, block: LocatedBlock) -> LocatedBlock:
        """Where ``block`` is now. The file may have been replaced or removed: we read the one of then."""
        path = f"/files/{self.info.file_id}"
        found = self._means.control.get(path, FileStatus, blocks="true", as_of=self._txid)
        return next((b for b in found.located or [] if b.block_id == block.block_id), block)

    def pieces(self, start: int, length: int) -> Iterator[memoryview]:
        """The bytes ``[start, start + length)`` in order, cut at the file's end.

        Each piece is at most 1 MiB and valid until the next is asked for. All are verified chunk by chunk; a
        block that is read whole also against its own checksum, after its last piece.

        Raises:
            EsdfsError: No replica has a good copy of a block.
        """
        end = min(start + length, self.size_bytes)
        for block in self.blocks:
            first = max(start, block.offset)
            upto = min(end, block.offset + block.length_bytes)
            if first < upto:
                yield from self._block_pieces(block, first - block.offset, upto - first)

    def copy(self, write_at: Callable[[int, Buffer], object]) -> None:
        """Have ``write_at(offset, data)`` called for all bytes, blocks in parallel, from several threads.

        Bytes of a replica that turns out bad as a whole are written over by the next one's.
        """
        blocks = [block for block in self.blocks if block.length_bytes]
        if len(blocks) < 2:
            for block in blocks:
                self._copy_block(block, write_at)
            return
        with ThreadPoolExecutor(min(PARALLEL, len(blocks)), "esdfs-read") as pool:
            copies = [pool.submit(self._copy_block, block, write_at) for block in blocks]
            try:
                for copy in copies:
                    copy.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _copy_block(self, block: LocatedBlock, write_at: Callable[[int, Buffer], object]) -> None:
        bad = 0
        while True:
            at = block.offset
            try:
                for piece in self._block_pieces(block, 0, block.length_bytes, skip=bad):
                    write_at(at, piece)
                    at += len(piece)
            except _BadWhole:
                bad += 1
                if bad >= len(block.locations):
                    raise
            else:
                return

    def _block_pieces(
        self, block: LocatedBlock, offset: int, length: int, *, skip: int = 0
    ) -> Iterator[memoryview]:
        """A range of one block; another replica goes on where one failed; the first ``skip`` come last.

        A replica whose bytes verified, but are not the block's, is no good to anybody: its DataNode is told.
        """
        at, end, crc = offset, offset + length, 0
        whole = length == block.length_bytes
        backoff = Backoff(first_s=0.1, longest_s=2.0)
        failure: EsdfsError | None = None
        gave: dict[str, Location] = {}
        round_number = 0
        while round_number < ROUNDS:
            began = at
            locations = block.locations[skip:] + block.locations[:skip]
            for location in sorted(locations, key=lambda found: found.node_id in self._means.silent):
                before = at
                try:
                    for piece in self._replica_pieces(location, block, at, end - at, round_number):
                        if whole:
                            crc = crc32c(piece, crc)
                        at += len(piece)
                        gave[location.node_id] = location
                        yield piece
                except EsdfsError as error:
                    # Files are asked for no further than they go: a range outside is a replica too short.
                    if isinstance(error, ChecksumMismatch | OutOfRange):
                        self._complain(block, location)
                    elif error.retry is Retry.NEVER:
                        raise
                    # One that gave something until its time was over may have waited for our caller.
                    if isinstance(error, Unreachable) or (
                        isinstance(error, DeadlineExceeded) and (at == before or length > _LARGE_BYTES)
                    ):
                        self._means.silent.add(location.node_id)
                    failure = error
                    continue
                self._means.silent.discard(location.node_id)
                if whole and crc != int(block.crc32c, 16):
                    for giver in gave.values():
                        self._complain(block, giver)
                    raise _BadWhole(block, gave)
                return
            # As long as bytes come, in whatever pieces, nothing is given up.
            round_number = round_number + 1 if at == began else 0
            if round_number < ROUNDS:
                self._means.clock.sleep(backoff.delay_s(max(round_number - 1, 0), self._means.rng))
                block = self._locate_again(block)
        reason = failure.message if failure else "no DataNode that holds it is alive"
        raise Unavailable(
            f"block {block.block_id} of {self.info.path} cannot be read now: {reason}", path=self.info.path
        ) from failure

    def _complain(self, block: LocatedBlock, location: Location) -> None:
        complain(self._means.channels, ReplicaAt.of(block, location))

    def _replica_pieces(
        self, location: Location, block: LocatedBlock, offset: int, length: int, round_number: int
    ) -> Iterator[memoryview]:
        request = BlockRequest(
            block_id=int(block.block_id),
            generation=block.generation,
            offset=offset,
            # 0 = to the end: then a compressed block's own checksum is verified as well.
            length=0 if offset == 0 and length == block.length_bytes else length,
        )
        if location.local_socket:
            pieces = self._means.local.read_range(
                location.local_socket, request, timeout_s=_LOCAL_TIMEOUT_S, size=length
            )
            try:
                first = next(pieces, None)
            except (Unreachable, DeadlineExceeded) as error:
                # Another host's socket, a DataNode that just stopped, or only its socket hangs: the network
                # will tell.
                failure: EsdfsError | None = error
            else:
                failure = None
                if first is not None:
                    yield first
                    yield from pieces
            if failure is None:
                return
        channel = self._means.channels.get(location.address)
        stall_s = min(_STALL_S * 2**round_number, _TIMEOUT_S)
        yield from read_range(
            channel,
            request,
            timeout_s=stall_s + length / _SLOWEST_BYTES_S,
            stall_s=stall_s if length > _LARGE_BYTES else None,
            size=length,
        )


class _BadWhole(ChecksumMismatch):
    """All chunks of a replica verify, and yet they are not the block that was written."""

    def __init__(self, block: LocatedBlock, gave: Iterable[str]) -> None:
        super().__init__(
            f"block {block.block_id} on {', '.join(gave)} is consistent but not what was written",
            block_id=block.block_id,
        )
