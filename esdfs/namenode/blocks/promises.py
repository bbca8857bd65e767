"""Blocks given to writers and not finished yet: what their DataNodes are about to receive. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from esdfs.namenode.events import AllocatedBlock

_NOTHING: Final = (0, 0)


class Promises:
    """Soft: after a restart writes under way are not counted."""

    def __init__(self) -> None:
        self._blocks: dict[int, tuple[AllocatedBlock, int]] = {}
        self._by_node: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def by_node(self) -> Mapping[int, tuple[int, int]]:
        """(count, bytes) by DataNode number."""
        return self._by_node

    def make(self, blocks: Iterable[AllocatedBlock], size_bytes: int) -> None:
        """Blocks of at most ``size_bytes`` were allocated."""
        for block in blocks:
            self._blocks[block.block_id] = (block, size_bytes)
            self._add(block.targets, 1, size_bytes)

    def settle(self, block_id: int) -> AllocatedBlock | None:
        """A block is finished or given up; what had been promised."""
        found = self._blocks.pop(block_id, None)
        if found is None:
            return None
        block, size_bytes = found
        self._add(block.targets, -1, -size_bytes)
        return block

    def _add(self, numbers: Iterable[int], count: int, size_bytes: int) -> None:
        for number in numbers:
            had_count, had_bytes = self._by_node.get(number, _NOTHING)
            now = (had_count + count, had_bytes + size_bytes)
            if now[0]:
                self._by_node[number] = now
            else:
                self._by_node.pop(number, None)
