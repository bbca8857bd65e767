"""Every event ever written, in its newest version. Past tense; ``evolve`` may not refuse one.

On disk they are the messages of proto/events.proto (``event_codec``). Kinds are numbers we chose and
never reuse. Everything non-deterministic (time, ids, placement) is in the event. (gc=False where a replay
makes millions: none refers to anything that could refer to it.)
"""

from enum import IntEnum, unique
from typing import TypeAlias

import msgspec

from esdfs.blocks import Block


@unique
class Kind(IntEnum):
    """The journal's ``kind`` column."""

    CLUSTER_FORMATTED = 1
    LEADER_CHANGED = 2
    TRANSACTION = 3
    DATANODE_ADDED = 4
    VOTERS_CHANGED = 5
    CHECKPOINT_MARKED = 6
    CHECKPOINT_TAKEN = 7
    DATANODE_STATE_SET = 8
    FEATURE_LEVEL_RAISED = 9
    DIRECTORY_MADE = 10
    FILE_OPENED = 11
    BLOCKS_ALLOCATED = 12
    FILE_COMPLETED = 13
    FILE_ABORTED = 14
    RENAMED = 15
    DELETED = 16
    ATTRIBUTES_SET = 17
    FILE_LINKED = 18
    SUBTREE_LINKED = 19
    RETENTION_SET = 20
    HORIZON_MOVED = 21
    HISTORY_PURGED = 22
    SNAPSHOT_CREATED = 23
    SNAPSHOT_DELETED = 24
    TREE_LINKED = 25
    WORK_CONTINUED = 26
    NAMESPACE_REWOUND = 27
    CURSOR_MOVED = 30
    CURSOR_DROPPED = 31


class ClusterFormatted(msgspec.Struct, frozen=True, omit_defaults=True):
    """Versions: 1; 2 (feature level 2) has ``feature_level``, the one the cluster begins at.

    A default is left out wherever this is stored, so that level 1 is stored as before there were levels.
    """

    cluster_id: str
    block_size_bytes: int
    replication: int
    min_replication: int
    allow_degraded: bool
    feature_level: int = 1


class LeaderChanged(msgspec.Struct, frozen=True):
    """Versions: 1; 2 (feature level 2) says what the leader is.

    Attributes:
        release: Of its program; "" = not told.
        feature_level: What it writes from here on: the cluster's, as far as it has applied.
    """

    leader_id: str
    storage_id: str
    release: str = ""
    feature_level: int = 1


class CheckpointMarked(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 2). Every full NameNode takes an image of its state after this record."""


class CheckpointTaken(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 2). What the leader's image at a mark is.

    Attributes:
        of_txid: The mark.
        layout_format: Of the tables digested; digests of other layouts do not compare.
        state_digest: Equal on every NameNode that applied the same records.
        sha256, size_bytes: Of the leader's file.
    """

    of_txid: int
    layout_format: int
    state_digest: bytes
    sha256: bytes
    size_bytes: int


class FeatureLevelRaised(msgspec.Struct, frozen=True):
    """Versions: 1. From the next record on, shapes of ``level`` may be written."""

    level: int


class DataNodeAdded(msgspec.Struct, frozen=True):
    """Versions: 1."""

    node_id: str
    uuid: str
    number: int


class DataNodeStateSet(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3). What an operator wants of a DataNode; whether it lives is not journaled.

    Attributes:
        state: ``in-service``, ``maintenance`` or ``decommissioning``.
        until_us: When a maintenance ends by itself, by the leader's wall clock; 0 = never. No record follows.
        why: For people; may be "".
    """

    number: int
    node_id: str
    state: str
    until_us: int
    why: str


class VoterEntry(msgspec.Struct, frozen=True, array_like=True):
    """A NameNode that votes: its name, its disk, ``voter`` or ``witness``, and where it is reached."""

    node_id: str
    storage_id: str
    kind: str
    grpc: str
    rest: str


class VotersChanged(msgspec.Struct, frozen=True):
    """Versions: 1."""

    voters: tuple[VoterEntry, ...]


class DirectoryMade(msgspec.Struct, frozen=True):
    """Versions: 1."""

    parent: int
    name: str
    inode: int
    mode: int
    owner: str
    group: str


class AllocatedBlock(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A block and the DataNode numbers of its pipeline, in order."""

    block_id: int
    generation: int
    targets: tuple[int, ...]


class FileOpened(msgspec.Struct, frozen=True, gc=False):
    """Versions: 1."""

    parent: int
    name: str
    inode: int
    mode: int
    owner: str
    group: str
    replication: int
    block_size_bytes: int
    lease: str
    overwrite: bool
    blocks: tuple[AllocatedBlock, ...]


class BlocksAllocated(msgspec.Struct, frozen=True):
    """Versions: 1."""

    inode: int
    blocks: tuple[AllocatedBlock, ...]
    abandoned: tuple[int, ...]


class CompletedBlock(msgspec.Struct, frozen=True, gc=False):
    """A finished block and the DataNode numbers that acknowledged it durably (a hint for audits)."""

    block: Block
    replicas: tuple[int, ...]


class FileCompleted(msgspec.Struct, frozen=True, gc=False):
    """Versions: 1."""

    inode: int
    parent: int
    name: str
    size_bytes: int
    mtime_us: int
    blocks: tuple[CompletedBlock, ...]
    crc32c: int
    replaced_inode: int


class FileAborted(msgspec.Struct, frozen=True):
    """Versions: 1."""

    inode: int
    reason: str
    blocks: tuple[int, ...]


class Renamed(msgspec.Struct, frozen=True):
    """Versions: 1."""

    inode: int
    source_parent: int
    source_name: str
    target_parent: int
    target_name: str
    replaced_inode: int


class Deleted(msgspec.Struct, frozen=True):
    """Versions: 1."""

    inode: int
    parent: int
    name: str
    directory: bool
    recursive: bool


class AttributesSet(msgspec.Struct, frozen=True):
    """Versions: 1. None = unchanged."""

    inode: int
    parent: int
    name: str
    mode: int | None
    owner: str | None
    group: str | None
    replication: int | None
    mtime_us: int | None


class FileLinked(msgspec.Struct, frozen=True):
    """Versions: 1."""

    inode: int
    parent: int
    name: str
    mode: int
    owner: str
    group: str
    replication: int
    block_size_bytes: int
    size_bytes: int
    mtime_us: int
    crc32c: int
    blocks: tuple[Block, ...]
    source_inode: int
    source_txid: int
    replaced_inode: int


class SubtreeLinked(msgspec.Struct, frozen=True):
    """Versions: 1."""

    parent: int
    name: str
    source_inode: int
    source_txid: int
    first_inode: int
    inode_count: int


class RetentionSet(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3). How much history is kept; 0 = without limit.

    Attributes:
        window_s: By age.
        records_max: By number of transactions.
    """

    window_s: int
    records_max: int


class HorizonMoved(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3). The past begins at ``oldest_txid``; before it, only pins can be read."""

    oldest_txid: int


class HistoryPurged(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3). Up to ``steps_max`` steps of forgetting what no horizon or pin keeps."""

    steps_max: int


class SnapshotCreated(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3). A named pin of a past state, of all of it or of a subtree.

    Attributes:
        inode, path: The directory or file pinned, and where it was at ``txid``.
        ancestors: The directories above it then, from the root on.
    """

    name: str
    txid: int
    inode: int
    path: str
    ancestors: tuple[int, ...]


class SnapshotDeleted(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3)."""

    name: str


class TreeLinked(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3). A directory as it was at ``source_txid``, under new inodes.

    ``inode`` is the top's; those below count up from the counter, in the order of a walk by level. What does
    not fit into one record is linked by ``WorkContinued``; until then nothing below the top can be read.
    """

    parent: int
    name: str
    inode: int
    source_inode: int
    source_txid: int
    replaced_inode: int


class WorkContinued(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3). Up to ``steps_max`` more steps of what the record ``txid`` began."""

    txid: int
    steps_max: int


class NamespaceRewound(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3). Every entry is again what it was after ``to_txid``, with its inode."""

    to_txid: int


class CursorMoved(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3). A named reader of the journal has dealt with all up to ``txid``."""

    name: str
    txid: int
    principal: str


class CursorDropped(msgspec.Struct, frozen=True):
    """Versions: 1 (feature level 3)."""

    name: str


Event: TypeAlias = (
    ClusterFormatted
    | LeaderChanged
    | CheckpointMarked
    | CheckpointTaken
    | FeatureLevelRaised
    | DataNodeAdded
    | DataNodeStateSet
    | VotersChanged
    | DirectoryMade
    | FileOpened
    | BlocksAllocated
    | FileCompleted
    | FileAborted
    | Renamed
    | Deleted
    | AttributesSet
    | FileLinked
    | SubtreeLinked
    | RetentionSet
    | HorizonMoved
    | HistoryPurged
    | SnapshotCreated
    | SnapshotDeleted
    | TreeLinked
    | WorkContinued
    | NamespaceRewound
    | CursorMoved
    | CursorDropped
)
