"""Replicas that move between real volumes, whatever happens to them on the way."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esdfs.blocks import MIB
from esdfs.datanode.mover import VolumeMover
from esdfs.datanode.pacing import Pace
from esdfs.datanode.replica import BlockKey
from esdfs.env_os import OsClock
from esdfs.errors import Overloaded, ReplicaCorrupt
from tests.blocks import Shelf, compressed_frames, content, flip, plain_frames

DATA = content(2 * MIB + 77)
TEXT = b"all work and no play " * 100_000
STEPS = ("open", "pwrite", "write", "fdatasync", "fsync", "rename", "unlink", "utime")
"""Everything a move does to disks; what it reads changes nothing."""


def mover(shelf: Shelf, threshold: float = 0.1) -> VolumeMover:
    pace = Pace(0, OsClock(), threading.Event().wait)
    return VolumeMover(shelf.store, OsClock(), pace, threshold=threshold, look_s=3600)


def stored(shelf: Shelf, block_id: int) -> bytes:
    return shelf.read(block_id)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path, volumes=2, capacity_bytes=64 * MIB)
    yield shelf
    shelf.store.close()


def test_a_moved_replica_is_read_as_before_and_nobody_is_told(shelf: Shelf) -> None:
    shelf.put(plain_frames(1, DATA))
    shelf.put(compressed_frames(2, TEXT))
    shelf.put(plain_frames(3, b""))
    before = {number: stored(shelf, number) for number in (1, 2, 3)}
    shelf.heard.events.clear()
    for number in (1, 2, 3):
        replica = shelf.store.find(number)
        target = shelf.volumes[1 - replica.volume]
        with shelf.store.open(number) as reader:
            assert mover(shelf).move(replica, target)
            # Who began to read the old one reads on.
            assert b"".join(bytes(frame.data) for frame in reader.frames()) == before[number]
        assert shelf.store.find(number).volume == shelf.volumes.index(target)
    assert {number: stored(shelf, number) for number in (1, 2, 3)} == before
    assert shelf.heard.events == []
    assert len(shelf.files("current")) == 6
    assert shelf.files("tmp") == shelf.files("trash") == []
    shelf.reopen()
    assert {number: stored(shelf, number) for number in (1, 2, 3)} == before


def test_an_added_volume_fills_until_both_are_about_equally_full(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, capacity_bytes=64 * MIB)
    for number in range(1, 21):
        shelf.put(plain_frames(number, DATA[: MIB + number]))
    shelf.store.close()
    shelf.roots.append(tmp_path / "volume-added")
    shelf.open()
    assert mover(shelf).even_out() > 5
    shares = [volume.used_bytes / volume.capacity_bytes() for volume in shelf.volumes]
    assert abs(shares[0] - shares[1]) <= 0.05
    assert mover(shelf).even_out() == 0
    for number in range(1, 21):
        assert stored(shelf, number) == DATA[: MIB + number]
    shelf.store.close()


class PowerCut(BaseException):
    """Nothing that runs after it changes a disk."""


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the disks do ``step`` more things, and then nothing more."""
    done: list[str] = []

    def guarded(name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return real(*args, **kwargs)
            if len(done) >= step:
                raise PowerCut
            done.append(name)
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, guarded(name))
    return done


def test_a_power_cut_at_any_step_of_a_move_loses_nothing_and_leaves_one_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(100):
        shelf = Shelf(tmp_path / str(step), volumes=2)
        shelf.put(plain_frames(7, DATA))
        replica = shelf.store.find(7)
        target = shelf.volumes[1 - replica.volume]
        with monkeypatch.context() as patch:
            done = cut_at(step, patch)
            try:
                finished = mover(shelf).move(replica, target)
            except PowerCut:
                finished = False
        shelf.reopen()
        assert stored(shelf, 7) == DATA
        assert [name for name in shelf.files("current") if name.endswith(".data")] == ["7_1.data"]
        assert shelf.files("tmp") == []
        assert shelf.store.corrupt() == []
        shelf.store.close()
        if finished:
            # All steps there are were cut off once: files, their bytes, fsyncs, names, and the old ones' end.
            assert set(done) >= {"open", "pwrite", "write", "fdatasync", "fsync", "rename", "unlink"}
            return
    raise AssertionError("a move has no end")


def test_a_replica_deleted_while_it_moves_is_gone(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.put(plain_frames(7, DATA))
    replica = shelf.store.find(7)
    harden = shelf.store.harden

    def deleted_meanwhile(writers: Any) -> None:
        harden(writers)
        monkeypatch.setattr(shelf.store, "harden", harden)
        assert shelf.store.delete(7, 1)

    monkeypatch.setattr(shelf.store, "harden", deleted_meanwhile)
    assert not mover(shelf).move(replica, shelf.volumes[1 - replica.volume])
    assert shelf.files("current") == []
    assert shelf.heard.events[-1] == ("removed", BlockKey(7, 1))
    shelf.put(plain_frames(7, DATA))
    assert stored(shelf, 7) == DATA


def test_a_replica_replaced_while_it_moves_stays_replaced(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(plain_frames(7, DATA))
    replica = shelf.store.find(7)
    harden = shelf.store.harden

    def replaced_meanwhile(writers: Any) -> None:
        harden(writers)
        monkeypatch.setattr(shelf.store, "harden", harden)
        shelf.put(plain_frames(7, b"newer", generation=2))

    monkeypatch.setattr(shelf.store, "harden", replaced_meanwhile)
    assert not mover(shelf).move(replica, shelf.volumes[1 - replica.volume])
    assert stored(shelf, 7) == b"newer"
    shelf.reopen()
    assert stored(shelf, 7) == b"newer"


def test_nobody_writes_a_block_that_moves(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.put(plain_frames(7, DATA))
    replica = shelf.store.find(7)
    harden = shelf.store.harden
    refused: list[str] = []

    def written_meanwhile(writers: Any) -> None:
        shelf.store.delete(7, 1)
        try:
            shelf.store.start(next(iter(plain_frames(7, DATA))))
        except Overloaded as error:
            refused.append(error.message)
        harden(writers)

    monkeypatch.setattr(shelf.store, "harden", written_meanwhile)
    assert not mover(shelf).move(replica, shelf.volumes[1 - replica.volume])
    assert refused


def test_a_damaged_replica_is_set_aside_instead_of_moved(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    replica = shelf.store.find(7)
    flip(shelf.data_path(7), MIB + 5)
    assert not mover(shelf).move(replica, shelf.volumes[1 - replica.volume])
    with pytest.raises(ReplicaCorrupt):
        shelf.store.find(7)
    assert shelf.files("current") == shelf.files("tmp") == []


def test_a_target_that_fails_is_out_of_service_and_the_replica_stays(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(plain_frames(7, DATA))
    replica = shelf.store.find(7)
    target = shelf.volumes[1 - replica.volume]

    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        assert not mover(shelf).move(replica, target)
    assert target.failed
    assert stored(shelf, 7) == DATA


def test_a_source_that_fails_when_the_old_copy_goes_costs_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(plain_frames(7, DATA))
    replica = shelf.store.find(7)

    def fails(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        mover(shelf).move(replica, shelf.volumes[1 - replica.volume])
    assert shelf.volumes[replica.volume].failed
    assert stored(shelf, 7) == DATA
    assert shelf.store.find(7).volume != replica.volume


def test_readers_never_miss_a_replica_that_moves_to_and_fro(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA[:MIB]))
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            try:
                if stored(shelf, 7) != DATA[:MIB]:
                    wrong.append("other bytes")
            except Exception as error:  # noqa: BLE001 - any is a finding
                wrong.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(30):
            replica = shelf.store.find(7)
            assert mover(shelf).move(replica, shelf.volumes[1 - replica.volume])
    finally:
        stop.set()
        thread.join()
    assert wrong == []
