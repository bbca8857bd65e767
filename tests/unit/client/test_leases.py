"""Leases live as long as their writers."""

import threading
import time
from collections.abc import Callable

from esdfs.client.leases import LeaseKeeper
from tests.unit.client.conftest import World
from tests.unit.client.namenode import problem


def wait_for(condition: Callable[[], object]) -> None:
    beat = threading.Event()
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        beat.wait(0.01)


def keepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "esdfs-leases"]


def test_held_leases_are_renewed_and_released_ones_are_not(world: World) -> None:
    keeper = LeaseKeeper(world.writing.control, renew_s=0.02)
    keeper.hold("1", "a")
    keeper.hold("2", "b")
    wait_for(lambda: {1, 2} <= set(world.namespace.renewed))
    keeper.release("1")
    wait_for(lambda: 1 not in world.namespace.renewed[-3:])
    keeper.close()
    wait_for(lambda: not keepers())


def test_a_failed_renewal_is_tried_again(world: World) -> None:
    good = world.server.answer
    world.server.answer = lambda _request: problem(409, "lease-lost")
    keeper = LeaseKeeper(world.writing.control, renew_s=0.02)
    keeper.hold("1", "a")
    wait_for(lambda: len(world.server.requests) > 2)
    world.server.answer = good
    wait_for(lambda: 1 in world.namespace.renewed)
    keeper.close()
    wait_for(lambda: not keepers())


def test_the_thread_comes_back_after_it_ended(world: World) -> None:
    keeper = LeaseKeeper(world.writing.control, renew_s=0.02)
    for file_id in ("1", "2"):
        keeper.hold(file_id, "a")
        wait_for(lambda file_id=file_id: int(file_id) in world.namespace.renewed)  # type: ignore[misc]  # mypy knows no default arguments of lambdas
        keeper.release(file_id)
        wait_for(lambda: not keepers())
