"""What DataNodes hold beside what locations tell: replicas ahead of our journal, and garbage. Pure.

The first are alarms: our metadata went back in time, or it is another cluster's DataNode. Nobody deletes
them. The second wait for their deletion.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from esdfs.env import Clock
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.futures import Future, Futures
from esdfs.namenode.blocks.garbage import Deletions
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.namespace.allocated import Allocated

ALARMS_SHOWN: Final = 100
"""In the status; the others are counted, and told page by page."""

_NS_PER_MS: Final = 1_000_000
_RUN: Final = 20_000
_WALKS_MAX: Final = 8
"""DataNodes whose ids are kept sorted: several may be walked at once."""


class Found(msgspec.Struct, frozen=True):
    """One such replica.

    Attributes:
        number: The DataNode's.
        reason: Why it is to be deleted, as in ``garbage.Why``; "" = never, it is ahead of us.
        due_ms: Until its deletion may be ordered.
        sent: It was.
    """

    number: int
    block_id: int
    generation: int
    reason: str = ""
    due_ms: int = 0
    sent: bool = False


class Page(msgspec.Struct, frozen=True):
    """Some of them, by DataNode and block.

    Attributes:
        next: What to go on after; None = this was the last page.
    """

    replicas: Sequence[Found] = ()
    next: tuple[int, int] | None = None


class Unplaced:
    """Reads futures and deletions.

    Attributes:
        leads: A leader knows at once what is ahead of it; a follower waits for records on their way.
    """

    def __init__(
        self, index: BlockIndex, futures: Futures, deletions: Deletions, nodes: DataNodeTable, clock: Clock
    ) -> None:
        self.leads = True
        self._index = index
        self._futures = futures
        self._deletions = deletions
        self._nodes = nodes
        self._clock = clock
        self._ids: dict[int, _Ids] = {}

    def status(self) -> dict[str, Any]:
        """The alarms, for people and metrics."""
        alarms = self._futures.alarms(self._clock.monotonic_ns(), leads=self.leads)
        return {
            "alarms": [self._alarm(future) for future in alarms[:ALARMS_SHOWN]],
            "alarm_count": len(alarms),
        }

    def _alarm(self, future: Future) -> dict[str, Any]:
        node = self._nodes.get(future.number)
        return {
            "block_id": str(future.block_id),
            "generation": future.generation,
            "node_id": str(future.number) if node is None else node.row.node_id,
            "why": why_ahead(future.block_id, self._index.allocated()),
        }

    def page(self, after: tuple[int, int], limit: int) -> Page:
        """At most ``limit`` of them, of one DataNode; a page may be empty and not the last.

        Some ms at most: what a DataNode has to delete is sorted over several calls, once for a walk.
        """
        now_ns = self._clock.monotonic_ns()
        alarms = self._futures.alarms(now_ns, leads=self.leads)
        numbers = sorted({*self._deletions.owing(), *(future.number for future in alarms)})
        number = next((number for number in numbers if number >= after[0]), None)
        if number is None:
            return Page()
        above = after[1] if number == after[0] else 0
        its = self._ids.get(number)
        if its is None or (not above and its.sorted):
            its = self._begin(number)
        its.sort_some()
        if not its.sorted:
            return Page((), (number, above))
        ahead = {future.block_id: future for future in alarms if future.number == number}
        ids = its.above(above, limit)
        here = sorted({*(block_id for block_id in ahead if block_id > above), *ids})[:limit]
        found = [*chain.from_iterable(self._found(number, id_, ahead.get(id_), now_ns) for id_ in here)]
        if len(here) == limit:
            return Page(found, (number, here[-1]))
        self._ids.pop(number, None)
        return Page(found, (number + 1, 0) if number != numbers[-1] else None)

    def _begin(self, number: int) -> "_Ids":
        self._ids.pop(number, None)
        if len(self._ids) == _WALKS_MAX:
            del self._ids[next(iter(self._ids))]
        its = self._ids[number] = _Ids(self._deletions.ordered_from(number))
        return its

    def _found(self, number: int, block_id: int, ahead: Future | None, now_ns: int) -> list[Found]:
        if ahead is not None:
            return [Found(*ahead)]
        order = self._deletions.order(number, block_id)
        if order is None or not order.certain or not order.why.of_garbage:
            return []  # gone meanwhile, never there for all we know, or told by locations
        due_ms = max(order.due_ns - now_ns, 0) // _NS_PER_MS
        return [Found(number, block_id, order.generation, order.why.value, due_ms, bool(order.sent_ns))]


class _Ids:
    """Block ids of one DataNode in sorted runs, made one at a time."""

    def __init__(self, ids: list[int]) -> None:
        self._left = ids
        self._runs: list[list[int]] = []

    @property
    def sorted(self) -> bool:
        """Whether all are."""
        return not self._left

    def sort_some(self) -> None:
        """Make one more run."""
        if self._left:
            self._runs.append(sorted(self._left[-_RUN:]))
            del self._left[-_RUN:]

    def above(self, block_id: int, limit: int) -> list[int]:
        """The first ``limit``."""
        found: list[int] = []
        for run in self._runs:
            at = bisect_right(run, block_id)
            found += run[at : at + limit]
        return sorted(found)[:limit]


def why_ahead(block_id: int, allocated: Allocated) -> str:
    """What makes a replica an alarm."""
    if block_id >= allocated.next_block_id:
        return f"its block was never allocated: the journal's next one is {allocated.next_block_id}"
    if not allocated.has(block_id):
        return "its block was never allocated: the journal passed its id over, and keeps it"
    return "its generation is later than the journal's"
