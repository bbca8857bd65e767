"""Writing a file: create it under a lease, write its blocks, complete it. Until then nobody sees it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, NamedTuple

import msgspec

from esdfs.checksum import combine
from esdfs.client.control import Control
from esdfs.client.leases import LeaseKeeper
from esdfs.client.pipeline import Cancelled, Compress, PipelineFailed, Progress, write_blocks
from esdfs.client.retry import Backoff
from esdfs.client.sources import BlockSource
from esdfs.client.values import Allocated, FileStatus, NewBlock, Opened, WrittenBlock
from esdfs.env import Clock, Rng
from esdfs.errors import DeadlineExceeded, EsdfsError, NotEnoughDataNodes, Overloaded, Retry, TooLarge
from esdfs.rpc.channel import Channels

TRIES_MAX: Final = 5
PARALLEL: Final = 2
"""Blocks of one file in flight, on different pipelines."""

BLOCKS_MAX: Final = 4000
"""What ``complete`` can name within the NameNode's 1 MiB of body."""


class WriteOptions(NamedTuple):
    """How a file is written.

    Attributes:
        replication, block_size_bytes: 0 = the cluster's default.
        parents: Make missing directories above it.
        mode: Octal; "" = that of the local file, 0644 where there is none.
    """

    overwrite: bool = False
    parents: bool = False
    replication: int = 0
    block_size_bytes: int = 0
    mode: str = ""
    compress: Compress = Compress.NEVER


class WriterMeans(NamedTuple):
    """What a writer works with."""

    control: Control
    channels: Channels
    leases: LeaseKeeper
    clock: Clock
    rng: Rng


class Upload:
    """One file being written, from create to complete or abort.

    Blocks are added in file order and may be in flight together. After an error the only way on is `abort`.
    """

    def __init__(
        self,
        means: WriterMeans,
        path: str,
        options: WriteOptions,
        *,
        blocks: int = 1,
        progress: Progress | None = None,
    ) -> None:
        """Create the file.

        Args:
            means: Shared with other uploads.
            path: Absolute.
            options: See `WriteOptions`.
            blocks: How many to allocate at once; 0 for an empty file.
            progress: Told of the bytes that leave.
        """
        self._means = means
        self._options = options
        self._progress = progress
        self._cancelled = threading.Event()
        self._allocated: list[NewBlock] = []
        self._written: list[Future[WrittenBlock]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._opened = means.control.change(
            "POST",
            "/files/upload",
            Opened,
            {
                "path": path,
                "overwrite": options.overwrite,
                "parents": options.parents,
                "replication": options.replication,
                "block_size_bytes": options.block_size_bytes,
                "mode": options.mode or "0644",
                "blocks": blocks,
                # A name of ours: a repeated create is recognisably the same file's.
                "lease": means.control.new_uuid(),
            },
        )
        self._allocated = list(self._opened.blocks)
        means.leases.hold(self._opened.file_id, self._opened.lease)

    @property
    def block_size_bytes(self) -> int:
        """Every block but the last has this size."""
        return self._opened.block_size_bytes

    def write(self, source: BlockSource) -> None:
        """Write one block now, in this thread."""
        self._check_room()
        future: Future[WrittenBlock] = Future()
        future.set_result(self._write_block(self._next_block(), source))
        self._written.append(future)

    def start(self, source: BlockSource, *, done: Callable[[], None] | None = None) -> None:
        """Write one block in the background; waits while `PARALLEL` are in flight.

        Args:
            source: Kept until the block is safe.
            done: Called then.

        Raises:
            EsdfsError: An earlier block failed.
        """
        self._check_room()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(PARALLEL, "esdfs-write")
        running = [future for future in self._written if not future.done()]
        while len(running) >= PARALLEL:
            wait(running, return_when=FIRST_COMPLETED)
            running = [future for future in running if not future.done()]
        for future in self._written[-2 * PARALLEL :]:
            if future.done():
                future.result()
        block = self._next_block()

        def run() -> WrittenBlock:
            try:
                return self._write_block(block, source)
            finally:
                if done is not None:
                    done()

        self._written.append(self._pool.submit(run))

    def complete(self) -> FileStatus:
        """Wait for all blocks and publish the file: on return it is visible and durable."""
        blocks = [future.result() for future in self._written]
        crc = 0
        for block in blocks:
            crc = combine(crc, block.crc32c, block.length_bytes)
        status = self._means.control.change(
            "POST",
            f"/files/{self._opened.file_id}/complete",
            FileStatus,
            {"lease": self._opened.lease, "blocks": msgspec.to_builtins(blocks), "crc32c": crc},
        )
        self._release()
        return status

    def abort(self) -> None:
        """Give the file up; nothing of it was visible. Raises nothing that would hide why."""
        self._cancelled.set()
        self._release()
        try:
            self._means.control.change(
                "POST",
                f"/files/{self._opened.file_id}/abort",
                dict[str, object],
                {"lease": self._opened.lease},
            )
        except EsdfsError:
            # Then it ends with its lease: the caller is about to raise the reason for giving up.
            return

    def _release(self) -> None:
        self._means.leases.release(self._opened.file_id)
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _check_room(self) -> None:
        if len(self._written) >= BLOCKS_MAX:
            raise TooLarge(
                f"more than {BLOCKS_MAX} blocks of {self.block_size_bytes} bytes: "
                "write the file with a larger block size"
            )

    def _next_block(self) -> NewBlock:
        if not self._allocated:
            self._allocated = self._allocate([], [], PARALLEL if self._pool else 1)
        return self._allocated.pop(0)

    def _allocate(self, exclude: list[str], abandon: list[str], count: int = 1) -> list[NewBlock]:
        return self._means.control.change(
            "POST",
            f"/files/{self._opened.file_id}/blocks",
            Allocated,
            {"lease": self._opened.lease, "count": count, "exclude": exclude, "abandon": abandon},
        ).blocks

    def _write_block(self, block: NewBlock, source: BlockSource) -> WrittenBlock:
        exclude: list[str] = []
        refused: NotEnoughDataNodes | None = None
        backoff = Backoff(first_s=0.1, longest_s=2.0)
        for attempt in range(TRIES_MAX):
            (outcome,) = write_blocks(
                self._means.channels,
                [(block, source)],
                compress=self._options.compress,
                cancelled=self._cancelled,
                progress=self._progress,
                attempt=attempt,
            )
            if isinstance(outcome, WrittenBlock):
                return outcome
            if self._cancelled.is_set():
                raise Cancelled
            if outcome.error.retry is Retry.NEVER or attempt == TRIES_MAX - 1:
                raise _explained(outcome, attempt + 1) from outcome
            exclude += [node for node in outcome.failed if node not in exclude]
            if attempt or isinstance(outcome.error, Overloaded):
                self._means.clock.sleep(backoff.delay_s(attempt, self._means.rng))
            try:
                (block,) = self._allocate(exclude, [block.block_id])
            except NotEnoughDataNodes as error:
                was_late = isinstance(outcome.error, DeadlineExceeded)
                if not was_late and (refused is not None or exclude == outcome.failed):
                    raise NotEnoughDataNodes(
                        f"{outcome.error.message}; without {', '.join(exclude)}: {error.message}"
                    ) from error
                refused = error
                # Those that failed before may be fit again, or were blamed for others: once more with them.
                # Whoever was late gets more time, as there is nobody else.
                exclude = [] if was_late else list(outcome.failed)
                (block,) = self._allocate(exclude, [block.block_id])
        raise AssertionError("the last try raises")


def _explained(outcome: PipelineFailed, tries: int) -> EsdfsError:
    error = outcome.error
    kind = type(error)
    return kind(
        f"block not written in {tries} {'try' if tries == 1 else 'tries'}: {error.message}", **error.details
    )


def ranges(size_bytes: int, block_size_bytes: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of each block of a file; none of an empty one."""
    for offset in range(0, size_bytes, block_size_bytes):
        yield offset, min(block_size_bytes, size_bytes - offset)
