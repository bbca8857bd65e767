"""Blocks that lack copies: by how badly, and by who could copy them. Pure."""

from collections.abc import Iterator, KeysView, Sequence

from esdfs.namenode.blocks.health import Level


class RepairQueues:
    """A block is in one queue, and known by each DataNode that has a good copy of it."""

    def __init__(self) -> None:
        self._levels: dict[int, Level] = {}
        self._blocks: dict[Level, dict[int, Sequence[int]]] = {level: {} for level in Level}
        self._of_source: dict[Level, dict[int, dict[int, None]]] = {level: {} for level in Level}

    def __len__(self) -> int:
        return len(self._levels)

    def level(self, block_id: int) -> Level | None:
        """The queue a block is in."""
        return self._levels.get(block_id)

    def as_urgent(self, level: Level) -> int:
        """How many blocks are as urgent as that, or more; those nobody can mend are in no one's way."""
        if level in {Level.CORRUPT_ONLY, Level.MISSING}:
            return len(self._blocks[level])
        return sum(len(self._blocks[other]) for other in Level if other <= level)

    def at(self, level: Level) -> KeysView[int]:
        """All blocks of a queue."""
        return self._blocks[level].keys()

    def counts(self) -> dict[str, int]:
        """Blocks by queue."""
        return {level.name.lower(): len(queue) for level, queue in self._blocks.items()}

    def put(self, block_id: int, level: Level, sources: Sequence[int]) -> None:
        """It is here now, wherever it was before, and these have it."""
        if self._levels.get(block_id) is level and self._blocks[level][block_id] == sources:
            return
        self.drop(block_id)
        self._levels[block_id] = level
        self._blocks[level][block_id] = sources
        for number in sources:
            self._of_source[level].setdefault(number, {})[block_id] = None

    def drop(self, block_id: int) -> None:
        """It lacks nothing."""
        level = self._levels.pop(block_id, None)
        if level is None:
            return
        for number in self._blocks[level].pop(block_id):
            waiting = self._of_source[level][number]
            del waiting[block_id]
            if not waiting:
                del self._of_source[level][number]

    def had_its_turn(self, block_id: int) -> None:
        """Others of its queue come before it."""
        level = self._levels.get(block_id)
        if level is None:
            return
        for number in self._blocks[level][block_id]:
            waiting = self._of_source[level][number]
            del waiting[block_id]
            waiting[block_id] = None

    def sources(self, level: Level) -> list[int]:
        """DataNodes that could copy something of this queue; who was asked longest ago first."""
        return list(self._of_source[level])

    def was_asked(self, level: Level, number: int) -> None:
        """Other DataNodes come before it."""
        waiting = self._of_source[level].pop(number, None)
        if waiting is not None:
            self._of_source[level][number] = waiting

    def of(self, level: Level, number: int) -> Iterator[int]:
        """Blocks a DataNode could copy; do not change the queue meanwhile."""
        return iter(self._of_source[level].get(number, ()))
