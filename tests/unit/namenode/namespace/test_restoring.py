"""Restores: one event each, whatever their size, and undone like anything else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.errors import AlreadyExists, InvalidRequest, NotFound, Restoring
from esdfs.namenode import commands as cmd
from esdfs.namenode.housekeeping import FinishRestores
from esdfs.namenode.namespace.fanout import FIRST_STEPS
from esdfs.namenode.projection.digest import digest
from tests.unit.namenode.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def tree_of(world: World, path: str, as_of: int | None = None) -> dict[str, int]:
    """Every path from ``path`` down, with its checksum."""
    with world.snapshot(as_of) as view:
        top = view.resolve(path)
        found = {}
        names = {top.inode: path}
        for parent, name, inode in view.walk(top):
            here = path if parent is None else f"{names[parent].rstrip('/')}/{name}"
            names[inode.inode] = here
            found[here] = inode.crc32c
            assert view.by_id(inode.inode) == (here, inode)
        return found


def moved(tree: dict[str, int], source: str, target: str) -> dict[str, int]:
    return {target + path[len(source) :]: crc for path, crc in tree.items()}


def large(world: World, count: int) -> None:
    """``count`` directories below /big, ten in each of the directories above them."""
    world.run(cmd.MakeDirectory("/big"))
    for first in range(0, count, 10):
        world.run(*(cmd.MakeDirectory(f"/big/{first}/{i}", parents=True) for i in range(first, first + 10)))


def drive(world: World) -> int:
    """Do all the work there is; how many records it took."""
    return world.do_all(FinishRestores())


def test_a_directory_is_brought_back_in_the_place_of_what_is_there(world: World) -> None:
    world.run(cmd.MakeDirectory("/a"))
    world.write("/a/x", crc32c=1)
    then = world.txid
    world.write("/a/x", overwrite=True, crc32c=2)
    world.write("/a/y", crc32c=3)
    before = world.txid

    world.run(cmd.Restore("/a", then))

    assert tree_of(world, "/a") == tree_of(world, "/a", then) == {"/a": 0, "/a/x": 1}
    assert tree_of(world, "/a", before) == {"/a": 0, "/a/x": 2, "/a/y": 3}
    world.run(cmd.Restore("/a", before))
    assert tree_of(world, "/a") == tree_of(world, "/a", before)


def test_it_replaces_nothing_unless_asked(world: World) -> None:
    world.run(cmd.MakeDirectory("/a"))
    with pytest.raises(AlreadyExists):
        world.run(cmd.Restore("/a", world.txid, overwrite=False))


def test_a_large_subtree_is_read_when_all_of_it_is_there(world: World) -> None:
    large(world, FIRST_STEPS * 3)
    then = world.txid
    wanted = tree_of(world, "/big", then)
    world.run(cmd.Delete("/big", recursive=True))
    world.run(cmd.MakeDirectory("/other"))
    deleted = world.txid

    world.run(cmd.Restore("/big", then))
    restored = world.txid

    with pytest.raises(Restoring):
        tree_of(world, "/big")
    with pytest.raises(Restoring):
        tree_of(world, "/big", restored)
    with pytest.raises(Restoring):
        world.run(cmd.MakeDirectory("/big/new"))
    with pytest.raises(Restoring):
        world.run(cmd.Restore("/big", restored, "/copy"))
    world.run(cmd.MakeDirectory("/other/new"))
    assert tree_of(world, "/big", then) == wanted
    with world.snapshot(deleted) as view, pytest.raises(NotFound):
        view.resolve("/big")
    world.run(cmd.Rename("/big", "/moved"))
    assert drive(world) > 1
    assert tree_of(world, "/moved") == moved(wanted, "/big", "/moved")
    assert tree_of(world, "/big", restored) == wanted


def test_it_goes_on_after_a_restart_and_comes_out_the_same_from_the_journal(world: World) -> None:
    large(world, FIRST_STEPS * 2)
    then = world.txid
    world.run(cmd.Delete("/big", recursive=True))
    world.run(cmd.Restore("/big", then))
    world.close()
    world.open()
    drive(world)
    before = digest(world.store)

    world.store.clear()
    world.metadata.catch_up()

    assert digest(world.store) == before
    assert tree_of(world, "/big") == tree_of(world, "/big", then)


def test_a_directory_whose_restore_is_under_way_is_removed_when_it_is_done(world: World) -> None:
    large(world, FIRST_STEPS * 2)
    then = world.txid
    world.run(cmd.Restore("/big", then, "/copy"))
    with pytest.raises(Restoring):
        world.run(cmd.Delete("/copy", recursive=True))
    drive(world)
    world.run(cmd.Delete("/copy", recursive=True))
    assert tree_of(world, "/") == tree_of(world, "/", then)


def test_the_whole_namespace_goes_back_and_forth(world: World) -> None:
    world.run(cmd.MakeDirectory("/a"))
    inode = world.write("/a/x", crc32c=1)
    then = world.txid
    world.run(cmd.Rename("/a/x", "/y"))
    world.run(cmd.Delete("/a", recursive=True))
    world.write("/y", overwrite=True, crc32c=2)
    later = world.txid

    world.run(cmd.Restore("/", then))

    assert tree_of(world, "/") == tree_of(world, "/", then) == {"/": 0, "/a": 0, "/a/x": 1}
    with world.snapshot() as view:
        assert view.resolve("/a/x").inode == inode  # the same file, not a copy
    world.run(cmd.Restore("/", later))
    assert tree_of(world, "/") == tree_of(world, "/", later) == {"/": 0, "/y": 2}
    assert tree_of(world, "/", later + 1) == tree_of(world, "/", then)


def test_while_the_whole_namespace_goes_back_only_the_past_is_read(world: World) -> None:
    then = world.txid
    large(world, FIRST_STEPS * 2)
    later = world.txid
    wanted = tree_of(world, "/", later)

    world.run(cmd.Restore("/", then))

    with world.snapshot() as view:
        assert view.resolve("/").is_directory
    with pytest.raises(Restoring):
        tree_of(world, "/")
    for command in (cmd.MakeDirectory("/new"), cmd.Restore("/", then), cmd.Restore("/big", later)):
        with pytest.raises(Restoring):
            world.run(command)
    assert tree_of(world, "/", later) == wanted
    drive(world)
    assert tree_of(world, "/") == {"/": 0}
    world.run(cmd.Restore("/", later))
    drive(world)
    assert tree_of(world, "/") == wanted


def test_only_the_root_can_become_the_root(world: World) -> None:
    world.run(cmd.MakeDirectory("/a"))
    with pytest.raises(InvalidRequest):
        world.run(cmd.Restore("/a", world.txid, "/"))
