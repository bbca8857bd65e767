"""What a replica is and what may become of it. Pure.

TEMP ──finalize──► FINALIZED ──delete──► TRASH ──delay──► gone
 │                     │
 └─drop──► gone        └──a byte does not verify──► CORRUPT ──ordered away or replaced, a week──► gone
"""

from enum import Enum, unique
from typing import Final

import msgspec


@unique
class ReplicaState(Enum):
    """Where in its life a replica is; each state is a directory of its volume."""

    TEMP = "tmp"  # being written; invisible
    FINALIZED = "current"  # durable; served and reported
    CORRUPT = "corrupt"  # set aside for people to look at, reported, never served
    TRASH = "trash"  # deleted, unlinked after a delay


MAY_BECOME: Final[dict[ReplicaState, frozenset[ReplicaState]]] = {
    ReplicaState.TEMP: frozenset({ReplicaState.FINALIZED, ReplicaState.TRASH}),
    ReplicaState.FINALIZED: frozenset({ReplicaState.CORRUPT, ReplicaState.TRASH}),
    ReplicaState.CORRUPT: frozenset(),
    ReplicaState.TRASH: frozenset(),
}
"""Nothing returns to FINALIZED: a copy once doubted or deleted is made anew, under its own checks."""


class BlockKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """One generation of one block."""

    block_id: int
    generation: int


class Replica(msgspec.Struct, frozen=True, gc=False):
    """A finalized replica of this node, as kept in memory.

    Attributes:
        volume: Index among the node's volumes.
        length_bytes: Logical.
        stored_bytes: In the data file.
        crc32c: Of the logical bytes.
        finalized_us: Wall clock.
        verified_us: Wall clock of its last scrub; 0 = never. Kept as its meta file's modification time.
    """

    block_id: int
    generation: int
    volume: int
    length_bytes: int
    stored_bytes: int
    crc32c: int
    finalized_us: int
    verified_us: int = 0

    @property
    def key(self) -> BlockKey:
        """Which one it is."""
        return BlockKey(self.block_id, self.generation)


def supersedes(new: BlockKey, old: BlockKey) -> bool:
    """Whether a finished ``new`` replaces the replica ``old`` of the same block."""
    assert new.block_id == old.block_id
    return new.generation > old.generation
