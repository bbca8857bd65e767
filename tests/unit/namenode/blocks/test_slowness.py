"""A disk is slow by comparison, and only when it is slow at all."""

import pytest

from esdfs.namenode.blocks.slowness import slow_nodes
from tests.unit.namenode.blocks.world import BLOCK_BYTES, World


def slow(*p99_ms: float) -> frozenset[int]:
    return slow_nodes(dict(enumerate(p99_ms)), factor=3.0, floor_ms=200.0)


def test_slow_is_far_above_the_median_and_above_the_floor() -> None:
    assert slow(10, 12, 11, 500) == {3}
    assert slow(10, 12, 11, 150) == frozenset(), "fast enough for all that"
    assert slow(400, 420, 410, 900) == frozenset(), "so are the others"
    assert slow(400, 420, 410, 1300) == {3}


def test_who_did_not_write_says_nothing_and_two_are_no_comparison() -> None:
    assert slow(0, 0, 0, 900) == frozenset()
    assert slow(10, 900) == frozenset()
    assert slow() == frozenset()


@pytest.mark.parametrize("figure", ["fsync_p99_ms", "read_p99_ms"])
def test_a_slow_datanode_gets_copies_only_when_no_other_has_room(blocks: World, figure: str) -> None:
    nodes = ("dn-1", "dn-2", "dn-3", "dn-4")
    blocks.join(*nodes)
    for node in nodes:
        blocks.heartbeat(node, load={figure: 900.0 if node == "dn-4" else 5.0})
    assert {n for t in blocks.manager.place(50, 2, set(), BLOCK_BYTES) for n in t} == {1, 2, 3}
    assert all(4 in t for t in blocks.manager.place(20, 4, set(), BLOCK_BYTES))
    for node in nodes[:2]:
        blocks.heartbeat(node, available_space=1, load={figure: 5.0})
    assert all(set(t) == {3, 4} for t in blocks.manager.place(20, 2, set(), BLOCK_BYTES))
