import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from esdfs.errors import IdentityConflict, JournalUnavailable
from esdfs.ids import Epoch, Position, Txid
from esdfs.journal.entry import Identity
from esdfs.journal.floor import AckFloor

OURS = Identity("cluster", 1, "nn-1", "disk-1")


def at(epoch: int, txid: int) -> Position:
    return Position(Epoch(epoch), Txid(txid))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ack_floor"


@pytest.fixture
def floor(path: Path) -> Iterator[AckFloor]:
    floor = AckFloor(path, OURS)
    yield floor
    floor.close()


def reopened(path: Path, identity: Identity = OURS) -> Position | None:
    floor = AckFloor(path, identity)
    floor.close()
    return floor.position


def damage(path: Path, slot: int, offset: int = 40) -> None:
    with path.open("r+b") as file:
        file.seek(slot * 4096 + offset)
        byte = file.read(1)
        file.seek(slot * 4096 + offset)
        file.write(bytes([byte[0] ^ 1]))


def test_a_new_file_has_no_floor(floor: AckFloor) -> None:
    assert floor.position is None


def test_the_last_write_is_found_again(floor: AckFloor, path: Path) -> None:
    for txid in range(1, 6):
        floor.write(at(1, txid))

        assert reopened(path) == at(1, txid)


def test_a_floor_can_be_lowered(floor: AckFloor, path: Path) -> None:
    floor.write(at(3, 9))
    floor.write(at(2, 4))

    assert reopened(path) == at(2, 4)


def test_writing_goes_on_after_a_restart(floor: AckFloor, path: Path) -> None:
    floor.write(at(1, 1))
    again = AckFloor(path, OURS)
    again.write(at(1, 2))
    again.write(at(1, 3))
    again.close()

    assert reopened(path) == at(1, 3)


@pytest.mark.parametrize("offset", [0, 20, 33, 47, 55, 57], ids=lambda offset: f"byte {offset}")
def test_a_torn_write_leaves_the_one_before_it(floor: AckFloor, path: Path, offset: int) -> None:
    floor.write(at(1, 1))
    floor.write(at(1, 2))
    damage(path, 1, offset)

    assert reopened(path) == at(1, 1)


def test_with_both_slots_bad_the_floor_is_unknown(floor: AckFloor, path: Path) -> None:
    floor.write(at(1, 1))
    floor.write(at(1, 2))
    damage(path, 0)
    damage(path, 1)

    assert reopened(path) is None


def test_a_file_cut_short_has_no_floor(floor: AckFloor, path: Path) -> None:
    floor.write(at(1, 1))
    os.truncate(path, 63)

    assert reopened(path) is None


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(msgspec.structs.replace(OURS, storage_id="disk-2"), id="another disk"),
        pytest.param(msgspec.structs.replace(OURS, cluster_id="another"), id="another cluster"),
    ],
)
def test_the_floor_of_another_journal_is_refused(floor: AckFloor, path: Path, other: Identity) -> None:
    floor.write(at(1, 1))

    with pytest.raises(IdentityConflict, match="another journal"):
        reopened(path, other)


def test_the_same_floor_costs_no_write(floor: AckFloor, path: Path) -> None:
    floor.write(at(1, 1))
    before = path.read_bytes()
    floor.write(at(1, 1))

    assert path.read_bytes() == before


def test_after_a_failed_write_it_refuses_everything(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    floor = AckFloor(tmp_path / "full", OURS)

    with pytest.raises(JournalUnavailable, match="No space left"):
        floor.write(at(1, 1))
    with pytest.raises(JournalUnavailable, match="restart this node"):
        floor.write(at(1, 1))
    assert floor.position is None
    floor.close()


def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="cannot be read"):
        AckFloor(tmp_path, OURS)
