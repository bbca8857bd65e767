"""A disk on which calls do not return: a named pipe that nobody reads is one, to open for writing."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esdfs.blocks import MIB
from esdfs.datanode import disk_watch, layout, scan
from esdfs.datanode.disk_watch import DiskWatch
from esdfs.datanode.replica import BlockKey, Replica, ReplicaState
from esdfs.datanode.volumes import Volume
from esdfs.env_os import OsClock
from esdfs.errors import DiskFailed, Overloaded, ReplicaNotFound
from tests.blocks import Shelf, content, plain_frames
from tests.cluster import eventually
from tests.unit.datanode.clocks import HandClock

DATA = content(MIB + 777)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Two volumes with replicas on both."""
    shelf = Shelf(tmp_path, volumes=2)
    for block_id in range(1, 9):
        shelf.put(plain_frames(block_id, DATA))
    yield shelf
    shelf.store.close()


def on(shelf: Shelf, volume: int) -> list[Replica]:
    found = [replica for replica in shelf.store.replicas() if replica.volume == volume]
    assert found
    return sorted(found, key=lambda replica: replica.block_id)


@pytest.fixture
def clock() -> HandClock:
    """A minute ahead: nothing was written of late."""
    clock = HandClock()
    clock.now_ns = OsClock().monotonic_ns() + 60 * 10**9
    return clock


def takes_new_blocks(volume: Volume) -> bool:
    return not volume.fsyncs.slow


def test_a_volume_that_hangs_is_out_of_service_until_the_next_start_and_the_others_go_on(
    shelf: Shelf, clock: HandClock
) -> None:
    lost, kept = on(shelf, 0), on(shelf, 1)
    volume = shelf.volumes[0]
    pipe = volume.path(ReplicaState.TEMP, "probe")
    os.mkfifo(pipe)
    watch = DiskWatch(shelf.volumes, clock, hangs_after_s=60)
    look = threading.Thread(target=watch.watches[0].look)
    look.start()
    eventually(lambda: watch.watches[0].looking_since_ns is not None)
    clock.sleep(5)
    watch.look()
    assert takes_new_blocks(volume)
    clock.sleep(1)
    watch.look()
    assert not takes_new_blocks(volume), "it gets no new blocks"
    for _ in range(6):
        clock.sleep(9)
        watch.look()
    assert not volume.failed
    clock.sleep(1)
    watch.look()
    assert "hangs since 61 s" in volume.failed
    told = [key for what, key in shelf.heard.events if what == "removed"]
    assert sorted(told) == [replica.key for replica in lost]
    assert shelf.store.replicas() == kept
    shelf.put(plain_frames(20, DATA))
    assert on(shelf, 1)[-1].block_id == 20
    watch.stop()
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # it answers again
    look.join()
    assert "hangs" in volume.failed, "whatever it answers then"
    assert not (volume.root / layout.FAILED_FILE).exists()
    pipe.unlink(missing_ok=True)
    shelf.reopen()
    assert {replica.block_id for replica in shelf.store.replicas()} == {*range(1, 9), 20}


def test_a_volume_may_take_as_long_as_it_likes_if_that_is_wanted(shelf: Shelf, clock: HandClock) -> None:
    watch = DiskWatch(shelf.volumes, clock, hangs_after_s=0)
    watch.watches[0].looking_since_ns = clock.now_ns
    clock.sleep(10**6)
    watch.look()
    assert not shelf.volumes[0].failed


def test_a_disk_is_not_blamed_for_a_pause_of_the_process(shelf: Shelf, clock: HandClock) -> None:
    watch = DiskWatch(shelf.volumes, clock, hangs_after_s=60)
    watch.watches[0].looking_since_ns = clock.now_ns
    clock.sleep(3_600)
    watch.look()
    clock.sleep(5)
    watch.look()
    assert takes_new_blocks(shelf.volumes[0])
    for _ in range(7):
        clock.sleep(8)
        watch.look()
    assert "hangs since 61 s" in shelf.volumes[0].failed


def test_a_disk_that_answers_again_gets_new_blocks_again(shelf: Shelf, clock: HandClock) -> None:
    volume = shelf.volumes[0]
    watch = DiskWatch(shelf.volumes, clock)
    watch.watches[0].looking_since_ns = clock.now_ns
    clock.sleep(6)
    watch.look()
    assert not takes_new_blocks(volume)
    for _ in range(2):
        clock.sleep(5)
        watch.watches[0].look()
    assert takes_new_blocks(volume)
    assert not volume.failed


def test_every_disk_is_asked_now_and_then(
    shelf: Shelf, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(disk_watch, "probe", lambda *_: asked.append(clock.now_ns))
    (watch, _) = DiskWatch(shelf.volumes, clock).watches
    for _ in range(9):
        watch.look()
        clock.sleep(5)
    assert len(asked) == 3
    assert watch.looking_since_ns is None


class Stuck:
    """`scan.set_aside` on a volume that hangs until `answers`."""

    def __init__(self, patch: pytest.MonkeyPatch, volume: Volume) -> None:
        self.entered, self.answers = threading.Event(), threading.Event()
        real = scan.set_aside

        def set_aside(where: Volume, *args: Any) -> None:
            if where is volume:
                self.entered.set()
                assert self.answers.wait(30)
            real(where, *args)

        patch.setattr(scan, "set_aside", set_aside)


def doubted(shelf: Shelf, replica: Replica) -> None:
    shelf.store.doubt(replica, "a test")


def deleted(shelf: Shelf, replica: Replica) -> None:
    shelf.store.delete(replica.block_id, replica.generation)


def replaced(shelf: Shelf, replica: Replica) -> None:
    shelf.put(plain_frames(replica.block_id, DATA[:10], generation=replica.generation + 1))


@pytest.mark.parametrize("leave", [doubted, deleted, replaced])
def test_while_a_replica_is_cleared_away_everything_else_goes_on(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, leave: Callable[[Shelf, Replica], None]
) -> None:
    gone, other = on(shelf, 0)[0], on(shelf, 1)[0]
    stuck = Stuck(monkeypatch, shelf.volumes[0])
    leaves = threading.Thread(target=leave, args=(shelf, gone), daemon=True)
    leaves.start()
    assert stuck.entered.wait(10)
    done: list[bytes] = []

    def go_on() -> None:
        shelf.put(plain_frames(30, DATA))
        shelf.store.verified(other)
        shelf.store.delete(on(shelf, 1)[1].block_id, 1)
        done.append(shelf.read(other.block_id))

    going = threading.Thread(target=go_on, daemon=True)
    going.start()
    going.join(10)
    assert done == [DATA]
    if leave is not replaced:
        with pytest.raises(Overloaded, match="cleared away"):
            shelf.put(plain_frames(gone.block_id, DATA))
    stuck.answers.set()
    leaves.join()
    if leave is replaced:
        assert shelf.read(gone.block_id) == DATA[:10]
    else:
        shelf.put(plain_frames(gone.block_id, DATA))
        assert shelf.read(gone.block_id) == DATA
    shelf.reopen()
    assert shelf.read(gone.block_id) == (DATA[:10] if leave is replaced else DATA)


def test_a_write_stands_though_what_it_replaced_is_on_a_disk_that_fails(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = on(shelf, 0)[0]
    bad = shelf.volumes[0]
    real = scan.set_aside

    def set_aside(where: Volume, *args: Any) -> None:
        if where is bad:
            bad.fail("a test")
            raise DiskFailed("a test")
        real(where, *args)

    monkeypatch.setattr(scan, "set_aside", set_aside)
    bad.fsyncs.slow = True  # so that the new one goes to the other volume
    receipt = shelf.put(plain_frames(old.block_id, DATA[:9], generation=2))
    assert (receipt.generation, receipt.length_bytes) == (2, 9)
    assert shelf.read(old.block_id) == DATA[:9]
    assert shelf.heard.events.count(("removed", BlockKey(old.block_id, 1))) == 1


def test_a_replica_that_goes_while_its_scrub_is_noted_fails_no_volume(shelf: Shelf) -> None:
    replica = on(shelf, 0)[0]
    shelf.data_path(replica.block_id).with_suffix(".meta").unlink()
    shelf.store.verified(replica)
    assert not shelf.volumes[0].failed
    with pytest.raises(ReplicaNotFound):
        shelf.read(replica.block_id)
