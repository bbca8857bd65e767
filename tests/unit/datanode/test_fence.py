import errno
import os
from pathlib import Path

import pytest

from esdfs.datanode.durable import write_durably
from esdfs.datanode.fence import EpochFence
from esdfs.errors import DiskFailed, EpochFenced
from tests.blocks import Shelf


def test_the_highest_epoch_is_remembered_on_every_volume(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, volumes=2)
    fence = EpochFence(shelf.volumes)
    assert fence.highest == 0
    fence.admit(3)
    fence.admit(3)
    with pytest.raises(EpochFenced):
        fence.admit(2)
    assert EpochFence(shelf.volumes).highest == 3
    (shelf.roots[0] / "EPOCH").unlink()  # a new disk in place of an old one
    assert EpochFence(shelf.volumes).highest == 3


def test_an_order_whose_epoch_cannot_be_written_down_is_not_admitted(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    fence = EpochFence(shelf.volumes)
    shelf.volumes[0].fail("broken")
    with pytest.raises(DiskFailed):
        fence.admit(1)
    assert fence.highest == 0


@pytest.mark.parametrize("refusal", [errno.ENOSPC, errno.EROFS, errno.EMFILE])
def test_one_volume_that_takes_no_epoch_keeps_nobody_from_being_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    shelf = Shelf(tmp_path, volumes=2)
    fence = EpochFence(shelf.volumes)

    def write(path: Path, content: bytes) -> None:
        if path.parent == shelf.roots[0]:
            raise OSError(refusal, os.strerror(refusal))
        write_durably(path, content)

    monkeypatch.setattr("esdfs.datanode.fence.write_durably", write)
    fence.admit(7)
    assert fence.highest == 7
    assert bool(shelf.volumes[0].failed) == (refusal == errno.EROFS)
    assert EpochFence(shelf.volumes).highest == 7


def test_a_volume_that_is_slow_and_may_hang_is_not_waited_for(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, volumes=2)
    fence = EpochFence(shelf.volumes)
    shelf.volumes[0].fsyncs.slow = True
    fence.admit(7)
    assert [(root / "EPOCH").exists() for root in shelf.roots] == [False, True]
    assert EpochFence(shelf.volumes).highest == 7
    assert (shelf.roots[0] / "EPOCH").read_text() == "7\n", "a start gives it what it missed"
    shelf.volumes[1].fail("a test")
    fence.admit(8)
    assert (shelf.roots[0] / "EPOCH").read_text() == "8\n", "there is no other"


def test_a_full_disk_still_takes_a_later_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)
    fence = EpochFence(shelf.volumes)
    fence.admit(9)

    def write(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("esdfs.datanode.fence.write_durably", write)
    fence.admit(10)
    assert EpochFence(shelf.volumes).highest == 10


def test_an_epoch_is_settled_when_no_older_deletion_is_under_way(tmp_path: Path) -> None:
    fence = EpochFence(Shelf(tmp_path).volumes)
    with fence.deleting(2):
        assert (fence.highest, fence.settled) == (2, 2)
        fence.admit(5)
        assert (fence.highest, fence.settled) == (5, 2)
        with pytest.raises(EpochFenced), fence.deleting(4):
            pass
        with fence.deleting(5):
            assert fence.settled == 2
    assert fence.settled == 5
