"""Blocks, replicas and DataNodes, as values that all sides share."""

from datetime import datetime
from enum import Enum, unique
from typing import Final

import msgspec

MIB: Final = 1 << 20
FRAME_BYTES: Final = MIB
"""At most this much data in one `BlockData` frame."""

CHUNK_BYTES: Final = 64 * 1024
"""The bytes one stored CRC32C covers."""

BLOCK_BYTES: Final = 128 * MIB
BLOCK_BYTES_MIN: Final = 64 * 1024
BLOCK_BYTES_MAX: Final = 2048 * MIB


@unique
class DataNodeStatus(Enum):
    """What the NameNode thinks of a DataNode."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"  # late: not a write target, still a read source
    DEAD = "DEAD"  # its replicas no longer count
    MAINTENANCE = "MAINTENANCE"  # set by an operator: replicas count, no new writes


class DataNodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A DataNode as others see it.

    Attributes:
        storage_capacity: Bytes over all volumes.
        available_space: Bytes free for new replicas, reserve and reservations taken off.
        last_heartbeat: For display; liveness is decided by a monotonic age.
        blocks_stored: As it last said; truth is in block reports.
    """

    node_id: str
    hostname: str
    port: int
    status: DataNodeStatus
    storage_capacity: int
    available_space: int
    last_heartbeat: datetime | None
    blocks_stored: int


class BlockLocation(msgspec.Struct, frozen=True):
    """One replica of one block.

    Attributes:
        block_id: Decimal form.
        is_leader: It heads the pipeline and readers try it first; exactly one per block while any
            replica's node is ACTIVE.
    """

    block_id: str
    datanode_id: str
    is_leader: bool


class Block(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A finished block of a file.

    Attributes:
        length_bytes: Logical.
        stored_bytes: On disk; differs from ``length_bytes`` only when compressed.
        crc32c: Of the logical bytes.
    """

    block_id: int
    generation: int
    length_bytes: int
    stored_bytes: int
    crc32c: int
    compressed: bool = False
