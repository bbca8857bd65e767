"""The life of a file being written: leases, blocks, publication. Pure.

A file is invisible until ``complete`` publishes it under its name in one event. Its lease is the token
it was opened with; whoever has it may go on, anyone else may take over once the soft limit has passed.
"""

from collections.abc import Callable, Sequence

from esdfs.blocks import Block
from esdfs.errors import (
    AlreadyExists,
    IncompleteFile,
    InvalidRequest,
    IsADirectory,
    LeaseHeld,
    LeaseLost,
    NotFound,
)
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.events import Event
from esdfs.namenode.namespace.allocated import LEVEL_SKIPPING
from esdfs.namenode.namespace.inodes import Inode, OpenFile
from esdfs.namenode.namespace.paths import join
from esdfs.namenode.namespace.view import Present, path_of

BLOCKS_PER_FILE_MAX = 10_000
BLOCKS_PER_CALL_MAX = 256

Place = Callable[..., list[tuple[int, ...]]]
"""``Situation.place``."""


def check_target(existing: Inode | None, path: str, *, overwrite: bool) -> None:
    """A file may be written where nothing is, or over a file if asked to."""
    if existing is None:
        return
    if existing.is_directory:
        raise IsADirectory(f"{path} is a directory", path=path)
    if not overwrite:
        raise AlreadyExists(f"{path} exists already: ask to overwrite it", path=path)


def take_over(
    view: Present, parent: int, name: str, path: str, may_take_over: Callable[[int], bool]
) -> tuple[Event, ...]:
    """End another writer's lease on this name, if its soft limit has passed.

    Raises:
        LeaseHeld: It has not.
    """
    inode = view.open_at(parent, name)
    if inode is None:
        return ()
    if not may_take_over(inode):
        raise LeaseHeld(
            f"{path} is being written by another client; it can be taken over once its lease lapses",
            path=path,
        )
    file = view.open_file(inode)
    assert file is not None, f"{path} is open but unknown"
    return (ev.FileAborted(inode, "taken over by another writer", _ids(file)),)


def allocate(
    view: Present, targets: Sequence[tuple[int, ...]], foreign_below: int
) -> tuple[ev.AllocatedBlock, ...]:
    """New block ids for these pipelines; see ``Situation.foreign_below``."""
    first = view.allocated().next_block_id
    if view.feature_level() >= LEVEL_SKIPPING:
        first = max(first, foreign_below)
    return tuple(ev.AllocatedBlock(first + i, 1, numbers) for i, numbers in enumerate(targets))


def add_blocks(view: Present, command: cmd.AddBlocks, place: Place, foreign_below: int) -> tuple[Event, ...]:
    """More blocks for an open file, fewer of those that failed."""
    file = held(view, command.file_id, command.lease)
    if not 0 <= command.count <= BLOCKS_PER_CALL_MAX:
        raise InvalidRequest(f"count must be between 0 and {BLOCKS_PER_CALL_MAX}")
    mine = set(_ids(file))
    abandoned = tuple(dict.fromkeys(command.abandon))
    for block_id in abandoned:
        if block_id not in mine:
            raise InvalidRequest(f"block {block_id} is not one of file {file.inode}'s: nothing to abandon")
    if len(mine) - len(abandoned) + command.count > BLOCKS_PER_FILE_MAX:
        raise InvalidRequest(
            f"a file has at most {BLOCKS_PER_FILE_MAX} blocks: write it with a larger block size"
        )
    if not command.count and not abandoned:
        return ()
    targets = place(
        command.count,
        replication=file.replication,
        exclude=command.exclude,
        block_size_bytes=file.block_size_bytes,
    )
    return (ev.BlocksAllocated(file.inode, allocate(view, targets, foreign_below), abandoned),)


def complete(view: Present, command: cmd.CompleteFile, now_us: int) -> tuple[Event, ...]:
    """Publish the file, replacing what its name now means if it was opened to overwrite."""
    file = held(view, command.file_id, command.lease)
    directory = path_of(view, file.parent)
    if directory is None:
        raise NotFound(f"the directory of file {file.inode} was removed while it was written: abort it")
    path = join(directory, file.name)
    existing = view.child(file.parent, file.name)
    check_target(existing, path, overwrite=file.overwrite)
    blocks = _completed(view, file, command.blocks, path)
    used = {completed.block.block_id for completed in blocks}
    unused = tuple(block_id for block_id in _ids(file) if block_id not in used)
    events: list[Event] = []
    if unused:
        events.append(ev.BlocksAllocated(file.inode, (), unused))
    published = ev.FileCompleted(
        file.inode,
        file.parent,
        file.name,
        sum(completed.block.length_bytes for completed in blocks),
        command.mtime_us or now_us,
        blocks,
        command.crc32c,
        0 if existing is None else existing.inode,
    )
    return (*events, published)


def abort(view: Present, command: cmd.AbortFile) -> tuple[Event, ...]:
    """Give the file up. Aborting what is no longer open is no error: that is what was wanted."""
    file = view.open_file(command.file_id)
    if file is None:
        return ()
    held(view, command.file_id, command.lease)
    return (ev.FileAborted(file.inode, command.reason[:200], _ids(file)),)


def held(view: Present, inode: int, lease: str) -> OpenFile:
    """The open file, if ``lease`` is its lease.

    Raises:
        LeaseLost: It is not open (any more), or not under this lease.
    """
    file = view.open_file(inode)
    if file is None:
        raise LeaseLost(f"file {inode} is not open for writing: it was completed, aborted or taken over")
    if file.lease != lease:
        raise LeaseLost(f"file {inode} is being written under another lease")
    return file


def _ids(file: OpenFile) -> tuple[int, ...]:
    return tuple(block.block_id for block in file.blocks)


def _completed(
    view: Present, file: OpenFile, written: Sequence[cmd.WrittenBlock], path: str
) -> tuple[ev.CompletedBlock, ...]:
    cluster = view.cluster()
    copies_min = 1 if cluster.allow_degraded else cluster.min_replication
    given = {block.block_id: block for block in file.blocks}
    completed = []
    for block in written:
        mine = given.pop(block.block_id, None)
        if mine is None or mine.generation != block.generation:
            raise IncompleteFile(
                f"{path}: block {block.block_id} generation {block.generation} was not given to this file, "
                "or is listed twice",
                path=path,
            )
        if not 0 < block.length_bytes <= file.block_size_bytes or block.stored_bytes <= 0:
            raise IncompleteFile(
                f"{path}: block {block.block_id} has {block.length_bytes} bytes; a block has 1 to "
                f"{file.block_size_bytes}",
                path=path,
            )
        numbers = {view.number_of(node_id) for node_id in block.replicas}
        acknowledged = tuple(number for number in mine.targets if number in numbers)
        if len(acknowledged) < copies_min:
            raise IncompleteFile(
                f"{path}: block {block.block_id} was acknowledged by {len(acknowledged)} of its DataNodes, "
                f"{copies_min} are needed: write it again to other nodes",
                path=path,
            )
        value = Block(
            block.block_id,
            block.generation,
            block.length_bytes,
            block.stored_bytes,
            block.crc32c,
            block.compressed,
        )
        completed.append(ev.CompletedBlock(value, acknowledged))
    return tuple(completed)
