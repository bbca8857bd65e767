"""The JSON that answers are made of, and how it is read off the namespace and the locations. Pure.

Listings of a thousand entries pass here: every field costs.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from esdfs.blocks import Block, DataNodeStatus
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.rest.ports import DataNodeRow, Replica

encode: Final = msgspec.json.Encoder().encode

_EPOCH: Final = date(1970, 1, 1)
_TWO_DIGITS: Final = tuple(f"{i:02d}" for i in range(60))
_MINUTES: Final = tuple(f"{i // 60:02d}:{i % 60:02d}" for i in range(1440))
TIME_US_MAX: Final = 253_402_300_799_999_999
"""The last microsecond of year 9999."""


class FileStatus(msgspec.Struct, gc=False):
    """A file or directory as people see it.

    Attributes:
        mtime: ISO 8601, UTC, microseconds.
        mode: Octal.
        replication, block_size_bytes, blocks: 0 for directories.
        crc32c: Of the whole file, 8 hex digits; files only.
        txid: The last change of this entry; its entity tag.
        located: Only when blocks were asked for.
    """

    path: str
    type: Literal["file", "directory"]
    file_id: str
    size_bytes: int
    mtime: str
    mode: str
    owner: str
    group: str
    replication: int
    block_size_bytes: int
    blocks: int
    txid: int
    crc32c: str | UnsetType = UNSET
    located: "list[LocatedBlock] | UnsetType" = UNSET


class Location(msgspec.Struct):
    """A replica that may be read.

    Attributes:
        address: host:port of the DataNode's data channel.
        local_socket: Path of its Unix socket for readers on the same host; "" = none.
        is_leader: It heads the pipeline: try it first.
    """

    node_id: str
    address: str
    local_socket: str
    status: str
    is_leader: bool


class LocatedBlock(msgspec.Struct):
    """A finished block and where it can be read, best first.

    Attributes:
        offset: Of its first byte in the file.
    """

    block_id: str
    generation: int
    offset: int
    length_bytes: int
    stored_bytes: int
    crc32c: str
    compressed: bool
    locations: list[Location]


class Download(msgspec.Struct):
    """A file and all its blocks; fields as in ``FileStatus``, but ``blocks`` are located."""

    path: str
    type: Literal["file"]
    file_id: str
    size_bytes: int
    mtime: str
    mode: str
    owner: str
    group: str
    replication: int
    block_size_bytes: int
    txid: int
    crc32c: str
    blocks: list[LocatedBlock]


class Target(msgspec.Struct):
    """A DataNode of a pipeline."""

    node_id: str
    address: str


class NewBlock(msgspec.Struct):
    """A block to write, and its pipeline in order."""

    block_id: str
    generation: int
    targets: list[Target]


class Listing(msgspec.Struct):
    """One page of a directory.

    Attributes:
        next: The name to pass as ``after``; None = this was the last page.
        txid: The page was read at it; pass it as ``as_of`` to stay there.
    """

    path: str
    entries: list[FileStatus]
    next: str | None
    txid: int


class CommandResult(msgspec.Struct):
    """What the engine says one command did; which fields it has depends on the command."""

    inode: int = 0
    existed: bool = False
    lease: str = ""
    block_size_bytes: int = 0
    replication: int = 0
    blocks: list[tuple[int, int, list[int]]] = []
    name: str = ""
    txid: int = 0
    state: str = ""
    until_us: int = 0


decode_results: Final = msgspec.msgpack.Decoder(list[CommandResult]).decode


def iso(time_us: int) -> str:
    """A time as ISO 8601 in UTC with microseconds."""
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(8192)
def _second(seconds: int) -> str:
    # What is listed together was often written within a few seconds.
    days, rest = divmod(seconds, 86_400)
    return f"{_date(days)}T{_MINUTES[rest // 60]}:{_TWO_DIGITS[rest % 60]}"


@lru_cache(4096)
def _date(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).isoformat()


@lru_cache(4096)
def _octal(mode: int) -> str:
    return f"{mode:04o}"


def status(path: str, inode: Inode) -> FileStatus:
    """An inode at its path."""
    if inode.is_directory:
        return FileStatus(
            path,
            "directory",
            str(inode.inode),
            0,
            iso(inode.mtime_us),
            _octal(inode.mode),
            inode.owner,
            inode.group,
            0,
            0,
            0,
            inode.version,
        )
    return FileStatus(
        path,
        "file",
        str(inode.inode),
        inode.size_bytes,
        iso(inode.mtime_us),
        _octal(inode.mode),
        inode.owner,
        inode.group,
        inode.replication,
        inode.block_size_bytes,
        len(inode.blocks),
        inode.version,
        f"{inode.crc32c:08x}",
    )


def download(path: str, inode: Inode, blocks: list[LocatedBlock]) -> Download:
    """A file with its blocks."""
    return Download(
        path,
        "file",
        str(inode.inode),
        inode.size_bytes,
        iso(inode.mtime_us),
        _octal(inode.mode),
        inode.owner,
        inode.group,
        inode.replication,
        inode.block_size_bytes,
        inode.version,
        f"{inode.crc32c:08x}",
        blocks,
    )


def locate(
    blocks: Iterable[Block],
    replicas: Mapping[int, Sequence[Replica]],
    nodes: Mapping[int, DataNodeRow],
) -> list[LocatedBlock]:
    """Blocks in file order with their readable replicas.

    ``replicas`` are those of each block id, the pipeline's head first.
    """
    located = []
    offset = 0
    for block in blocks:
        located.append(
            LocatedBlock(
                str(block.block_id),
                block.generation,
                offset,
                block.length_bytes,
                block.stored_bytes,
                f"{block.crc32c:08x}",
                block.compressed,
                _readable(block, replicas[block.block_id], nodes),
            )
        )
        offset += block.length_bytes
    return located


def _readable(block: Block, replicas: Sequence[Replica], nodes: Mapping[int, DataNodeRow]) -> list[Location]:
    locations = []
    led = False
    for replica in replicas:
        node = nodes.get(replica.number)
        if not counts(replica, block, node) or node is None:
            continue
        is_leader = not led and node.status is DataNodeStatus.ACTIVE
        led = led or is_leader
        locations.append(
            Location(node.node_id, node.address, node.local_socket, node.status.value, is_leader)
        )
    locations.sort(key=_worst_last)  # stable: pipeline order within each kind
    return locations


def counts(replica: Replica, block: Block, node: DataNodeRow | None) -> bool:
    """Whether a reported replica is a copy of this very block that somebody may read."""
    return (
        node is not None
        and not replica.corrupt
        and replica.generation == block.generation
        and node.status is not DataNodeStatus.DEAD
    )


def _worst_last(location: Location) -> int:
    return 0 if location.is_leader else 1 if location.status == "ACTIVE" else 2


def new_blocks(
    allocated: Iterable[tuple[int, int, list[int]]], nodes: Mapping[int, DataNodeRow]
) -> list[NewBlock]:
    """Blocks as the engine allocated them, for their writer."""
    return [
        NewBlock(
            str(block_id),
            generation,
            [Target(node.node_id, node.address) for number in numbers if (node := nodes.get(number))],
        )
        for block_id, generation, numbers in allocated
    ]


by_number: Final = attrgetter("number")
