"""Reported replicas that the namespace does not know yet. Pure.

On a follower most are new blocks whose records are on their way. On the leader, and anywhere after a while,
they are an alarm: our metadata went back in time, or it is another cluster's DataNode.
Nobody deletes them.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.namespace.allocated import Allocated

FUTURES_MAX: Final = 1_000
"""Of the others it is only known that there are some."""


_LEAP_MAX: Final = 1 << 40
"""Ids further ahead are not passed over: whoever has such a block would use all ids up."""


class Future(NamedTuple):
    """One replica ahead of us."""

    number: int
    block_id: int
    generation: int


class Futures:
    """By DataNode and block.

    Attributes:
        below: Ids of all that were heard of since the start are below this. No new block may have one of
            them: one DataNode's copy of it would be another file's bytes.
    """

    def __init__(self, policy: Policy) -> None:
        self._grace_ns = ns(policy.alarm_after_ms)
        self._since: dict[tuple[int, int], tuple[int, int]] = {}
        self._missed: set[int] = set()
        self.below = 0

    def heard(self, block_id: int, allocated: Allocated) -> None:
        """A DataNode has this block; say it before anything is allocated on the strength of not knowing."""
        if not allocated.has(block_id) and block_id < allocated.next_block_id + _LEAP_MAX:
            self.below = max(self.below, block_id + 1)

    def __len__(self) -> int:
        return len(self._since)

    def note(self, future: Future, now_ns: int) -> bool:
        """A DataNode reported it; whether that is news."""
        number, block_id, generation = future
        known = self._since.get((number, block_id))
        if known is None and len(self._since) >= FUTURES_MAX:
            self._missed.add(number)
            return False
        self._since[number, block_id] = generation, now_ns if known is None else known[1]
        return known is None

    def gone(self, number: int, block_id: int) -> None:
        """The DataNode has it no longer."""
        self._since.pop((number, block_id), None)

    def settled(self, number: int, began_ns: int, named: Callable[[int], bool]) -> None:
        """A DataNode's full report, begun then, is in: what it does not name is gone."""
        for key, (_, since_ns) in list(self._since.items()):
            if key[0] == number and since_ns < began_ns and not named(key[1]):
                del self._since[key]

    def restarted(self, number: int) -> None:
        """A DataNode registered, and will say everything anew."""
        self._since = {key: value for key, value in self._since.items() if key[0] != number}
        self._missed.discard(number)

    def caught_up(self, index: BlockIndex) -> Iterator[Future]:
        """Those the namespace knows by now, forgotten here."""
        if not self._since:
            return
        allocated = index.allocated()
        for (number, block_id), (generation, _) in list(self._since.items()):
            if not allocated.has(block_id):
                continue
            record = index.block(block_id)
            if record is None or record.generation >= generation:
                del self._since[number, block_id]
                yield Future(number, block_id, generation)

    def missed(self) -> set[int]:
        """DataNodes to ask for everything once more, now that there is room."""
        if len(self._since) > FUTURES_MAX // 2:
            return set()
        missed, self._missed = self._missed, set()
        return missed

    def alarms(self, now_ns: int, *, leads: bool) -> list[Future]:
        """Those that will not explain themselves, by block and DataNode; a leader knows that at once."""
        grace_ns = 0 if leads else self._grace_ns
        found = [
            Future(number, block_id, generation)
            for (number, block_id), (generation, since_ns) in self._since.items()
            if now_ns - since_ns >= grace_ns
        ]
        return sorted(found, key=lambda future: (future.block_id, future.number))
