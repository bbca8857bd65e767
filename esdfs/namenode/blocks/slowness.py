"""Who is far slower than the others. Pure."""

from collections.abc import Mapping
from statistics import median
from typing import Final

from esdfs.namenode.blocks.bodies import Load

_COMPARED_MIN: Final = 3


def slow_nodes(p99_ms: Mapping[int, float], *, factor: float, floor_ms: float) -> frozenset[int]:
    """Those that take ``factor`` times as long as most, and at least ``floor_ms``.

    Who had nothing to do lately (0) is not compared, and three are needed to say what is usual.
    """
    told = {number: ms for number, ms in p99_ms.items() if ms > 0}
    if len(told) < _COMPARED_MIN:
        return frozenset()
    limit_ms = max(floor_ms, factor * median(told.values()))
    return frozenset(number for number, ms in told.items() if ms >= limit_ms)


def slow_by_load(loads: Mapping[int, Load], *, factor: float, floor_ms: float) -> frozenset[int]:
    """Those far slower than the others at making bytes durable, or at serving them."""
    fsyncs = {number: load.fsync_p99_ms for number, load in loads.items()}
    reads = {number: load.read_p99_ms for number, load in loads.items()}
    return slow_nodes(fsyncs, factor=factor, floor_ms=floor_ms) | slow_nodes(
        reads, factor=factor, floor_ms=floor_ms
    )
