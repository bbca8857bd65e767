"""What the namespace is made of, as values. Pure."""

from typing import NamedTuple

import msgspec

from esdfs.blocks import Block
from esdfs.namenode.events import AllocatedBlock


class Inode(msgspec.Struct, frozen=True, gc=False):
    """A directory entry and the inode it names, at one version.

    (gc=False: it refers to nothing that could refer to it; a listing makes thousands.)

    Attributes:
        version: Txid of the last change to this entry; its entity tag.
        mtime_us: Of a file's content; of a directory's own creation or change, not its children's.
        replication, block_size_bytes, size_bytes, crc32c, blocks: 0 or empty for directories.
    """

    inode: int
    version: int
    is_directory: bool
    mode: int
    owner: str
    group: str
    mtime_us: int
    size_bytes: int = 0
    replication: int = 0
    block_size_bytes: int = 0
    crc32c: int = 0
    blocks: tuple[Block, ...] = ()


class OpenFile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file being written: invisible until complete."""

    inode: int
    parent: int
    name: str
    mode: int
    owner: str
    group: str
    replication: int
    block_size_bytes: int
    lease: str
    overwrite: bool
    blocks: tuple[AllocatedBlock, ...]
    opened_us: int


class BlockRecord(NamedTuple):
    """What the namespace knows of a block, whoever holds it.

    Attributes:
        inode: The file it was allocated for.
        length_bytes: Stored length once complete, 0 before.
        complete: False while under construction.
    """

    inode: int
    generation: int
    length_bytes: int
    replication: int
    complete: bool


class Work(msgspec.Struct, frozen=True, array_like=True):
    """What a record began that did not fit into it.

    Attributes:
        top: The directory below which nothing can be read until it is done; 0 = everywhere.
        next_seq: Of the next step to note.
    """

    top: int
    next_seq: int


class WorkItem(msgspec.Struct, frozen=True, array_like=True):
    """A step to take: copy the children of ``source`` with a name above ``after`` below ``target``.

    Of a rewind: ``source`` is a txid, ``target`` a directory: go on after that change.

    Attributes:
        source_txid: The state that is brought back.
    """

    source_txid: int
    source: int
    target: int
    after: str


class Version(msgspec.Struct, frozen=True):
    """One version of a path: what it was, from which txid (inclusive) to which (exclusive; 0 = now)."""

    path: str
    txid: int
    until_txid: int
    inode: Inode


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """A named reader of the journal.

    Attributes:
        txid: It has dealt with everything up to there, inclusive.
        principal: Who moved it last.
        moved_us: When.
    """

    name: str
    txid: int
    principal: str
    moved_us: int
