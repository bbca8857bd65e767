"""The namespace as each NameNode knows it: the leader at once, the other a little later."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from esdfs.namenode import events as ev
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord, OpenFile

BLOCK_BYTES = 1 << 20


@dataclass
class Commit:
    """One record: what it changes, and what the block manager hears of it."""

    change: "Callable[[Namespace], None]"
    events: list[ev.Event] = field(default_factory=list)
    released: list[int] = field(default_factory=list)


class Namespace:
    """``BlockIndex`` in dictionaries.

    Attributes:
        reign: What DataNodes are given orders in the name of.
    """

    def __init__(self, cluster: ev.ClusterFormatted) -> None:
        self.records: dict[int, BlockRecord] = {}
        self.files: dict[int, list[int]] = {}
        self.numbers: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.wishes: dict[int, ev.DataNodeStateSet] = {}
        self.next_id = 1
        self.reign = 1
        self._ids: list[int] = []
        self._cluster = cluster

    # --- changes ---

    def allocate(self, block_id: int, inode: int, replication: int) -> None:
        assert block_id == self.next_id, "ids are given in order"
        self.next_id += 1
        self.records[block_id] = BlockRecord(inode, 1, 0, replication, False)
        self.files.setdefault(inode, []).append(block_id)
        self._ids.append(block_id)

    def complete(self, block_id: int) -> None:
        record = self.records[block_id]
        self.records[block_id] = record._replace(complete=True, length_bytes=BLOCK_BYTES)

    def drop(self, block_id: int) -> None:
        inode = self.records.pop(block_id).inode
        self.files[inode].remove(block_id)

    def replicate(self, inode: int, replication: int) -> None:
        for block_id in self.files[inode]:
            self.records[block_id] = self.records[block_id]._replace(replication=replication)

    def number(self, node_id: str) -> None:
        number = self.numbers.setdefault(node_id, len(self.numbers) + 1)
        self.names[number] = node_id

    # --- what the block manager asks ---

    def block(self, block_id: int) -> BlockRecord | None:
        return self.records.get(block_id)

    def blocks(self, block_ids: Sequence[int]) -> list[BlockRecord | None]:
        return [self.records.get(block_id) for block_id in block_ids]

    def generations(self, block_ids: Sequence[int]) -> list[int | None]:
        return [record and record.generation for record in self.blocks(block_ids)]

    def blocks_after(self, block_id: int, limit: int) -> tuple[Sequence[int], Sequence[BlockRecord]]:
        ids: list[int] = []
        at = bisect_right(self._ids, block_id)
        while at < len(self._ids) and len(ids) < limit:
            if self._ids[at] in self.records:
                ids.append(self._ids[at])
            at += 1
        return ids, [self.records[block_id] for block_id in ids]

    def blocks_of_file(self, inode: int) -> list[int]:
        return list(self.files.get(inode, ()))

    def open_files(self) -> list[OpenFile]:
        """Nobody asks here when a file that is being written hinders an operator."""
        return []

    def datanode_states(self) -> list[ev.DataNodeStateSet]:
        return [self.wishes[number] for number in sorted(self.wishes)]

    def allocated(self) -> Allocated:
        return Allocated(self.next_id)

    def cluster(self) -> ev.ClusterFormatted:
        return self._cluster

    def number_of(self, node_id: str, uuid: str) -> int | None:
        del uuid
        return self.numbers.get(node_id)

    def epoch(self) -> int:
        return self.reign
