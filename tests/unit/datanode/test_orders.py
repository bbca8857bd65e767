"""Orders are carried out once, and a deletion soon or never."""

import threading
from pathlib import Path

import pytest

from esdfs.datanode.orders import DELETE_VALID_S, Command, Orders
from esdfs.datanode.replica import BlockKey
from esdfs.errors import EsdfsError
from esdfs.rpc.messages import BlockRequest, BlockResult, ReplicationRequest, Target
from tests.blocks import Shelf, content, plain_frames
from tests.unit.datanode.clocks import HandClock

LAST = 4


class Hands:
    """Notes what it is told to delete; waits with it until it may go on."""

    def __init__(self) -> None:
        self.deleted: list[tuple[int, int]] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.done = threading.Event()

    def replicate(self, request: ReplicationRequest) -> BlockResult:
        raise AssertionError(f"nobody orders copies here: {request}")

    move = replicate

    def limit_moves(self, bytes_per_s: int) -> None:
        raise AssertionError(f"nobody orders moves here: {bytes_per_s}")

    def delete(self, request: BlockRequest) -> BlockResult:
        self.begun.set()
        assert self.go_on.wait(20)
        self.deleted.append((request.block_id, request.epoch))
        if request.block_id == LAST:
            self.done.set()
        return BlockResult(block_id=request.block_id)


class Copier(Hands):
    """Notes which copies are begun; each takes until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.copying: list[int] = []
        self.changed = threading.Condition()

    def replicate(self, request: ReplicationRequest) -> BlockResult:
        with self.changed:
            self.copying.append(request.block_id)
            self.changed.notify_all()
        assert self.go_on.wait(20)
        return BlockResult(block_id=request.block_id)

    def seen(self, count: int) -> set[int]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.copying) >= count, 20)
            return set(self.copying)


@pytest.fixture
def hands() -> Hands:
    return Hands()


def delete(block_id: int) -> Command:
    return Command(kind="delete", block_id=str(block_id), generation=1)


def test_a_deletion_that_has_waited_too_long_is_dropped(hands: Hands) -> None:
    clock = HandClock()
    orders = Orders(hands, lambda _key, _node_id: None, clock)
    asked_ns = clock.monotonic_ns()
    orders.start(delete(1), 3, asked_ns)
    assert hands.begun.wait(20)
    orders.start(delete(2), 3, asked_ns)
    clock.sleep(DELETE_VALID_S + 1)
    orders.start(delete(3), 3, clock.monotonic_ns())
    hands.go_on.set()
    orders.start(delete(LAST), 3, clock.monotonic_ns())
    assert hands.done.wait(20)
    orders.stop()
    assert hands.deleted == [(1, 3), (3, 3), (LAST, 3)]


def test_an_order_that_is_being_carried_out_is_not_begun_again(hands: Hands) -> None:
    clock = HandClock()
    orders = Orders(hands, lambda _key, _node_id: None, clock)
    orders.start(delete(1), 3, clock.monotonic_ns())
    assert hands.begun.wait(20)
    orders.start(delete(1), 3, clock.monotonic_ns())
    hands.go_on.set()
    orders.stop()
    assert hands.deleted == [(1, 3)]


def test_an_urgent_copy_begins_while_others_are_made_and_wait() -> None:
    clock, copier = HandClock(), Copier()
    orders = Orders(copier, lambda _key, _node_id: None, clock)
    for block_id in range(1, 9):
        order = Command(kind="replicate", block_id=str(block_id), generation=1)
        orders.start(order, 3, clock.monotonic_ns())
    assert copier.seen(2) == {1, 2}
    urgent = Command(kind="replicate", block_id="99", generation=1, urgent=True)
    orders.start(urgent, 3, clock.monotonic_ns())
    assert 99 in copier.seen(3)
    copier.go_on.set()
    orders.stop()


class Refused(Hands):
    """Its copies end at a target that has something of the block."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code = code

    def replicate(self, request: ReplicationRequest) -> BlockResult:
        self.done.set()
        return BlockResult(block_id=request.block_id, code=self.code, message="no")


@pytest.mark.parametrize("finished", [True, False])
def test_a_target_has_a_copy_when_it_is_finished_there_and_not_while_another_stream_writes_it(
    tmp_path: Path, finished: bool
) -> None:
    target = Shelf(tmp_path)
    first = next(iter(plain_frames(1, content(10))))
    if finished:
        target.put(plain_frames(1, content(10)))
    else:
        target.store.start(first)
    with pytest.raises(EsdfsError) as refusal:
        target.store.start(first)
    failed: list[tuple[BlockKey, str]] = []
    clock = HandClock()
    hands = Refused(refusal.value.code)
    orders = Orders(hands, lambda key, node_id: failed.append((key, node_id)), clock)
    order = Command(kind="replicate", block_id="1", generation=1, targets=(Target("dn-2", "host:1"),))
    orders.start(order, 3, clock.monotonic_ns())
    assert hands.done.wait(20)
    orders.stop()
    assert failed == ([] if finished else [(BlockKey(1, 1), "dn-2")])
