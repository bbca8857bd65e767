"""Copies that DataNodes were, or will be, ordered to make. Pure."""

from collections.abc import Iterable
from typing import Final

from esdfs.namenode.blocks.policy import Policy, ns

SMALL_BYTES: Final = 64 << 20
SMALL_COPIES: Final = 32
"""DataNodes copy a few blocks at a time whatever they are told. Being told of more small ones at once spares
them from idling until the next heartbeat."""


class Copy:
    """One block on its way.

    Attributes:
        targets: Those that have not reported it yet.
        sent: Its source was told.
    """

    __slots__ = ("deadline_ns", "generation", "sent", "size_bytes", "source", "targets")

    def __init__(
        self, source: int, targets: Iterable[int], generation: int, size_bytes: int, deadline_ns: int
    ) -> None:
        self.source = source
        self.targets = list(targets)
        self.generation = generation
        self.size_bytes = size_bytes
        self.deadline_ns = deadline_ns
        self.sent = False


class Copies:
    """Copies under way, at most one order per block, and the targets that failed recently."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._by_block: dict[int, Copy] = {}
        self._failed: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._by_block)

    def __contains__(self, block_id: int) -> bool:
        return block_id in self._by_block

    def targets(self, block_id: int) -> list[int]:
        """DataNodes a block is on its way to."""
        copy = self._by_block.get(block_id)
        return [] if copy is None else copy.targets

    def start(self, block_id: int, copy: Copy) -> None:
        """Have it copied."""
        assert block_id not in self._by_block, "one copy of a block at a time"
        self._by_block[block_id] = copy

    def busy(self) -> tuple[set[int], set[int]]:
        """DataNodes that should not get more now, as sources and as targets."""
        reading: dict[int, tuple[int, int]] = {}
        writing: dict[int, tuple[int, int]] = {}
        for copy in self._by_block.values():
            _count(reading, copy.source, copy.size_bytes)
            for number in copy.targets:
                _count(writing, number, copy.size_bytes)
        return (
            {number for number, load in reading.items() if _full(load, self._policy.streams_per_source)},
            {number for number, load in writing.items() if _full(load, self._policy.streams_per_target)},
        )

    def unsent(self, source: int) -> list[tuple[int, Copy]]:
        """Orders a source has not been told of."""
        return [
            (block_id, copy)
            for block_id, copy in self._by_block.items()
            if copy.source == source and not copy.sent
        ]

    def drop(self, block_id: int) -> None:
        """Expect it no longer."""
        self._by_block.pop(block_id, None)

    def cancel_unsent(self, block_id: int) -> None:
        """It is not needed any more; what was ordered already is waited for."""
        copy = self._by_block.get(block_id)
        if copy is not None and not copy.sent:
            del self._by_block[block_id]

    def arrived(self, block_id: int, number: int) -> bool:
        """A DataNode reported it; whether it was expected there."""
        self._failed.pop((block_id, number), None)
        return self._without(block_id, number)

    def failed(self, block_id: int, number: int, now_ns: int) -> None:
        """It did not reach a target, which is left alone for a while."""
        self._failed[block_id, number] = now_ns + ns(self._policy.copy_backoff_ms)
        self._without(block_id, number)

    def _without(self, block_id: int, number: int) -> bool:
        copy = self._by_block.get(block_id)
        if copy is None or number not in copy.targets:
            return False
        copy.targets.remove(number)
        if not copy.targets:
            del self._by_block[block_id]
        return True

    def avoid(self, block_id: int, numbers: Iterable[int]) -> set[int]:
        """Those of ``numbers`` that failed to get it recently."""
        if not self._failed:
            return set()
        return {number for number in numbers if (block_id, number) in self._failed}

    def lost(self, number: int) -> list[int]:
        """A DataNode is gone: blocks that it does not send or receive any more."""
        found = []
        for block_id, copy in list(self._by_block.items()):
            if copy.source == number:
                del self._by_block[block_id]
                found.append(block_id)
            elif self._without(block_id, number):
                found.append(block_id)
        return found

    def expire(self, now_ns: int) -> list[tuple[int, Copy]]:
        """Copies that took too long: they may still arrive, but are not waited for."""
        late = [(block_id, copy) for block_id, copy in self._by_block.items() if copy.deadline_ns <= now_ns]
        for block_id, copy in late:
            del self._by_block[block_id]
            for number in copy.targets:
                self._failed[block_id, number] = now_ns + ns(self._policy.copy_backoff_ms)
        if self._failed:
            self._failed = {key: until for key, until in self._failed.items() if until > now_ns}
        return late


def _count(loads: dict[int, tuple[int, int]], number: int, size_bytes: int) -> None:
    count, total_bytes = loads.get(number, (0, 0))
    loads[number] = (count + 1, total_bytes + size_bytes)


def _full(load: tuple[int, int], streams: int) -> bool:
    count, size_bytes = load
    return count >= streams and (size_bytes >= SMALL_BYTES or count >= SMALL_COPIES)
