import errno
import os
from pathlib import Path

import pytest

from esdfs.datanode.durable import write_durably
from esdfs.datanode.incarnation import FILE, next_incarnation
from tests.blocks import Shelf
from tests.unit.datanode.clocks import HandClock


def test_every_start_has_a_higher_one_also_when_the_clock_was_set_back(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, volumes=2)
    clock = HandClock()
    first = next_incarnation(shelf.volumes, clock)
    assert first == clock.wall_us()
    clock.sleep(-3600)
    assert next_incarnation(shelf.volumes, clock) == first + 1
    (shelf.roots[0] / FILE).unlink()  # a new disk in place of an old one
    assert next_incarnation(shelf.volumes, clock) == first + 2
    clock.sleep(7200)
    assert next_incarnation(shelf.volumes, clock) == clock.wall_us()


@pytest.mark.parametrize("damage", [b"", b"12\xff", b"none"])
def test_a_damaged_note_counts_for_nothing_and_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    shelf = Shelf(tmp_path)
    (shelf.roots[0] / FILE).write_bytes(damage)
    clock = HandClock()
    assert next_incarnation(shelf.volumes, clock) == clock.wall_us()
    assert next_incarnation(shelf.volumes, clock) == clock.wall_us() + 1


@pytest.mark.parametrize("refusal", [errno.ENOSPC, errno.EROFS, errno.EMFILE])
def test_a_node_that_cannot_write_it_down_starts_by_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    shelf = Shelf(tmp_path, volumes=2)

    def refuse(_path: Path, _content: bytes) -> None:
        raise OSError(refusal, os.strerror(refusal))

    clock = HandClock()
    with monkeypatch.context() as patch:
        patch.setattr("esdfs.datanode.fence.write_durably", refuse)
        assert next_incarnation(shelf.volumes, clock) == clock.wall_us()
    assert bool(shelf.volumes[0].failed) == (refusal == errno.EROFS)


def test_a_full_disk_takes_it_in_place_of_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)
    clock = HandClock()
    first = next_incarnation(shelf.volumes, clock)

    def full(path: Path, content: bytes) -> None:
        if path.name == FILE:
            raise OSError(errno.ENOSPC, "full")
        write_durably(path, content)

    monkeypatch.setattr("esdfs.datanode.fence.write_durably", full)
    assert next_incarnation(shelf.volumes, clock) == first + 1
    assert next_incarnation(shelf.volumes, clock) == first + 2
