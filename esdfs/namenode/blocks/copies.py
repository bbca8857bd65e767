"""Copies that DataNodes were, or will be, ordered to make. Pure."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.blocks.slots import Slots


class Copy:
    """One block on its way.

    Attributes:
        targets: Those that have not reported it yet.
        sent: Its source was told.
        urgent: Its block has one copy left.
    """

    __slots__ = ("deadline_ns", "generation", "sent", "size_bytes", "source", "targets", "urgent")

    def __init__(
        self,
        source: int,
        targets: Iterable[int],
        generation: int,
        size_bytes: int,
        deadline_ns: int,
        *,
        urgent: bool = False,
    ) -> None:
        self.source = source
        self.targets = list(targets)
        self.generation = generation
        self.size_bytes = size_bytes
        self.deadline_ns = deadline_ns
        self.sent = False
        self.urgent = urgent


class _Lane(NamedTuple):
    """Both sides of copies."""

    reading: Slots
    writing: Slots


class Copies:
    """Copies under way, at most one order per block, and the targets that failed recently.

    Urgent ones are held back by urgent ones only; the others by all.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._by_block: dict[int, Copy] = {}
        self._unsent: dict[int, dict[int, None]] = {}
        self._all, self._urgent = (
            _Lane(Slots(policy.streams_per_source), Slots(policy.streams_per_target)) for _ in range(2)
        )
        self._failed: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._by_block)

    def __contains__(self, block_id: int) -> bool:
        return block_id in self._by_block

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way, or failed recently."""
        return not (self._by_block or self._failed)

    def targets(self, block_id: int) -> list[int]:
        """DataNodes a block is on its way to."""
        copy = self._by_block.get(block_id)
        return [] if copy is None else copy.targets

    def start(self, block_id: int, copy: Copy) -> None:
        """Have it copied."""
        assert block_id not in self._by_block, "one copy of a block at a time"
        self._by_block[block_id] = copy
        self._unsent.setdefault(copy.source, {})[block_id] = None
        for lane in self._lanes(copy):
            lane.reading.take(copy.source, copy.size_bytes)
            for number in copy.targets:
                lane.writing.take(number, copy.size_bytes)

    def _lanes(self, copy: Copy) -> tuple[_Lane, ...]:
        return (self._all, self._urgent) if copy.urgent else (self._all,)

    def _end(self, block_id: int) -> None:
        copy = self._by_block.pop(block_id)
        self._was_sent(block_id, copy)
        for lane in self._lanes(copy):
            lane.reading.give_back(copy.source, copy.size_bytes)
            for number in copy.targets:
                lane.writing.give_back(number, copy.size_bytes)

    def _was_sent(self, block_id: int, copy: Copy) -> None:
        waiting = self._unsent.get(copy.source)
        if waiting is not None:
            waiting.pop(block_id, None)
            if not waiting:
                del self._unsent[copy.source]

    def busy(self, *, urgent: bool = False) -> tuple[AbstractSet[int], AbstractSet[int]]:
        """DataNodes that should not get more (urgent ones) now, as sources and as targets."""
        lane = self._urgent if urgent else self._all
        return lane.reading.full, lane.writing.full

    def sends(self, number: int) -> bool:
        """Whether a DataNode is the source of any."""
        return number in self._all.reading

    def unsent(self, source: int) -> list[tuple[int, Copy]]:
        """Orders a source has not been told of."""
        return [(block_id, self._by_block[block_id]) for block_id in self._unsent.get(source, ())]

    def sent(self, block_id: int) -> None:
        """Its source is told."""
        copy = self._by_block[block_id]
        copy.sent = True
        self._was_sent(block_id, copy)

    def drop(self, block_id: int) -> None:
        """Expect it no longer."""
        if block_id in self._by_block:
            self._end(block_id)

    def cancel_unsent(self, block_id: int) -> None:
        """It is not needed any more; what was ordered already is waited for."""
        copy = self._by_block.get(block_id)
        if copy is not None and not copy.sent:
            self._end(block_id)

    def hurry(self, block_id: int) -> None:
        """One copy is left: an order that is not urgent gives way to one that is, unless it was sent."""
        copy = self._by_block.get(block_id)
        if copy is not None and not copy.urgent:
            self.cancel_unsent(block_id)

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
        for lane in self._lanes(copy):
            lane.writing.give_back(number, copy.size_bytes)
        if not copy.targets:
            self._end(block_id)
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
                self._end(block_id)
                found.append(block_id)
            elif self._without(block_id, number):
                found.append(block_id)
        return found

    def expire(self, now_ns: int) -> list[tuple[int, Copy]]:
        """Copies that took too long: they may still arrive, but are not waited for."""
        late = [(block_id, copy) for block_id, copy in self._by_block.items() if copy.deadline_ns <= now_ns]
        for block_id, copy in late:
            self._end(block_id)
            for number in copy.targets:
                self._failed[block_id, number] = now_ns + ns(self._policy.copy_backoff_ms)
        if self._failed:
            self._failed = {key: until for key, until in self._failed.items() if until > now_ns}
        return late
