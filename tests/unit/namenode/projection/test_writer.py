"""What a write transaction holds back makes no difference to what comes out."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from esdfs.namenode import commands as cmd
from esdfs.namenode.projection.digest import digest
from esdfs.namenode.projection.remembering import RESULT_WINDOW_US
from tests.unit.namenode.world import World, asking

CLIENT = bytes(range(16))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def remembered(world: World, seq: int) -> bool:
    with world.metadata.present() as view:
        return view.result(CLIENT, seq) is not None


def test_answers_are_forgotten_alike_however_the_records_were_applied(world: World) -> None:
    chance = Random(1)
    for number in range(1, 200):
        request = asking(cmd.MakeDirectory(f"/d{number}"), client=CLIENT, seq=number)
        assert world.settle(request)[0].error is None
        world.clock.now_us += chance.randrange(RESULT_WINDOW_US // 50)
    assert not remembered(world, 1)
    assert remembered(world, 199)
    for number in range(1, 20):  # the same names, for something else
        request = asking(cmd.MakeDirectory(f"/e{number}"), client=CLIENT, seq=number, request_hash=7)
        assert world.settle(request)[0].error is None
    world.run(cmd.MakeDirectory("/f"))
    assert all(remembered(world, number) for number in range(1, 20))
    one_by_one = digest(world.store)

    world.store.clear()
    world.metadata.catch_up()

    assert digest(world.store) == one_by_one


def test_a_file_opened_and_completed_in_one_go_leaves_what_it_leaves_in_two(world: World) -> None:
    for number in range(30):
        world.write(f"/f{number}", crc32c=number)
        world.write(f"/f{number}", overwrite=True, crc32c=number + 1)
    aborted = world.run(cmd.CreateFile("/g", "lease", blocks=2))
    world.run(cmd.AbortFile(aborted["inode"], "lease"))
    world.run(cmd.CreateFile("/h", "lease", blocks=2))
    one_by_one = digest(world.store)

    world.store.clear()
    world.metadata.catch_up()

    assert digest(world.store) == one_by_one
    assert [file.name for file in world.metadata.open_files()] == ["h"]


def test_a_refused_transaction_leaves_nothing_held_back(world: World) -> None:
    before = digest(world.store)
    opened = cmd.CreateFile("/f", "lease", blocks=1)
    (settled,) = world.settle(asking(opened, cmd.MakeDirectory("/a"), cmd.MakeDirectory("/none/b")))
    assert settled.error is not None
    assert digest(world.store) == before
    assert world.metadata.open_files() == []
