"""What a DataNode's report means. Pure."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, unique
from typing import NamedTuple

from esdfs.namenode.blocks.bodies import Report
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord


@unique
class Verdict(Enum):
    """What a reported replica is, as the namespace knows it."""

    KNOWN = "known"
    STALE = "stale"  # an older generation
    ORPHAN = "orphan"  # allocated once, and given up
    FUTURE = "future"  # never allocated: our metadata went back in time, or it is not our DataNode


@unique
class News(Enum):
    """What a report says of one replica."""

    CORRUPT = "corrupt"
    REMOVED = "removed"
    COPY_FAILED = "copy-failed"


class Item(NamedTuple):
    """One entry of a report that is no good replica; ``node_id`` names the target of a copy that failed."""

    news: News
    block_id: int
    generation: int
    node_id: str = ""


def items(report: Report) -> Iterator[Item]:
    """What a report says besides the good replicas, which are to be believed after it.

    A block that is both corrupt and stored was replaced after its old copy had been set aside; one that is
    corrupt and removed was cleaned away.
    """
    for block_id, generation in report.corrupt:
        yield Item(News.CORRUPT, block_id, generation)
    for block_id, generation in report.removed:
        yield Item(News.REMOVED, block_id, generation)
    for block_id, generation, node_id in report.failed_replications:
        yield Item(News.COPY_FAILED, block_id, generation, node_id)


def judge(block_id: int, generation: int, record: BlockRecord | None, allocated: Allocated) -> Verdict:
    """What a reported replica is; ``record`` and ``allocated`` are the namespace's."""
    if record is None:
        return Verdict.ORPHAN if allocated.has(block_id) else Verdict.FUTURE
    if generation < record.generation:
        return Verdict.STALE
    return Verdict.KNOWN if generation == record.generation else Verdict.FUTURE


class FullReport:
    """The pages of one DataNode's full report, until the last is here.

    Attributes:
        began_ns: When its first page came: orders answered before it had been made are reflected in it.
        epoch: Whose orders it reflects; see `bodies.Report`.
    """

    def __init__(self, began_ns: int, epoch: int) -> None:
        self.began_ns = began_ns
        self.epoch = epoch
        self._ids = array("Q")
        self._sorted: Sequence[int] = ()

    def page(self, block_ids: Iterable[int]) -> None:
        """Note what a page names."""
        self._ids.extend(block_ids)

    def seal(self) -> None:
        """No page follows."""
        self._sorted = array("Q", sorted(self._ids))
        self._ids = array("Q")

    def absent(self, block_ids: Sequence[int]) -> list[int]:
        """Those of ascending ``block_ids`` that a sealed report does not name."""
        begin, end = bisect_left(self._sorted, block_ids[0]), bisect_right(self._sorted, block_ids[-1])
        named = self._sorted[begin:end]
        return [] if named == array("Q", block_ids) else sorted({*block_ids}.difference(named))

    def names(self, block_id: int) -> bool:
        """Whether a sealed report has this block."""
        at = bisect_left(self._sorted, block_id)
        return at < len(self._sorted) and self._sorted[at] == block_id
