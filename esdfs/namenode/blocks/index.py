"""What the block manager asks of the namespace."""

from collections.abc import Sequence
from typing import Protocol

from esdfs.namenode.events import ClusterFormatted, DataNodeStateSet
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord, OpenFile


class BlockIndex(Protocol):
    """Committed metadata about blocks and DataNodes."""

    def block(self, block_id: int) -> BlockRecord | None:
        """What the namespace knows of a block; None = it never heard of it, or gave it up."""
        ...

    def blocks(self, block_ids: Sequence[int]) -> Sequence[BlockRecord | None]:
        """The same for many, in one look."""
        ...

    def generations(self, block_ids: Sequence[int]) -> Sequence[int | None]:
        """Only the generations of ``blocks``."""
        ...

    def blocks_after(self, block_id: int, limit: int) -> tuple[Sequence[int], Sequence[BlockRecord]]:
        """At most ``limit`` blocks with an id above ``block_id``, in order: their ids, and they."""
        ...

    def blocks_of_file(self, inode: int) -> list[int]:
        """The blocks a present file names."""
        ...

    def open_files(self) -> Sequence[OpenFile]:
        """All files being written."""
        ...

    def datanode_states(self) -> Sequence[DataNodeStateSet]:
        """What operators want of DataNodes."""
        ...

    def allocated(self) -> Allocated:
        """Which block ids were given out."""
        ...

    def cluster(self) -> ClusterFormatted:
        """The cluster's settings."""
        ...

    def number_of(self, node_id: str, uuid: str) -> int | None:
        """A DataNode's number; None when it has none yet.

        Raises:
            IdentityConflict: The name belongs to a DataNode with another identity on disk.
        """
        ...

    def epoch(self) -> int:
        """The reign in whose name DataNodes are given orders."""
        ...
