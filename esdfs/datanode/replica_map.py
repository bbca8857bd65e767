"""Which finalized replicas a DataNode has, at most one of a block, and what they take of each volume."""

from collections.abc import Iterator

from esdfs.datanode.replica import Replica
from esdfs.datanode.volumes import Volume


class ReplicaMap:
    """In memory only; its owner takes care of threads and of the files."""

    def __init__(self, volumes: list[Volume]) -> None:
        self._volumes = volumes
        self._by_block: dict[int, Replica] = {}

    def __len__(self) -> int:
        return len(self._by_block)

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._by_block.values())

    def get(self, block_id: int) -> Replica | None:
        """The replica of a block, of whatever generation."""
        return self._by_block.get(block_id)

    def put(self, replica: Replica) -> None:
        """Have a replica, instead of what there was of that block."""
        self.drop(replica.block_id)
        self._by_block[replica.block_id] = replica
        self._volumes[replica.volume].used_bytes += replica.stored_bytes

    def drop(self, block_id: int) -> None:
        """Have none of a block."""
        old = self._by_block.pop(block_id, None)
        if old is not None:
            self._volumes[old.volume].used_bytes -= old.stored_bytes
