"""The net effect between two moments, against a comparison of two whole trees."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.namenode import commands as cmd
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.projection.differing import Change
from tests.property.test_namespace_history import Model, step
from tests.unit.namenode.world import World

Line = tuple[str, str, str]
"""(change, path, from path)."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def changes(world: World, before: int, after: int, path: str = "/") -> list[Change]:
    with world.snapshot() as view:
        return view.difference(before, after, path)


def lines(world: World, before: int, after: int, path: str = "/") -> list[Line]:
    return [(c.change, c.path, c.from_path) for c in changes(world, before, after, path)]


def tree(world: World, txid: int) -> dict[int, tuple[str, Inode]]:
    with world.snapshot(txid) as view:
        top = view.resolve("/")
        paths: dict[int, str] = {}
        found: dict[int, tuple[str, Inode]] = {}
        for parent, name, inode in view.walk(top):
            here = "/" if parent is None else f"{paths[parent].rstrip('/')}/{name}"
            paths[inode.inode] = here
            found[inode.inode] = (here, inode)
    return found


def compared(world: World, before: int, after: int) -> set[Line]:
    """By brute force. A name that changed because a directory above it did is that directory's."""
    was, now = tree(world, before), tree(world, after)
    by_path = dict(now.values())
    was_at = {place(world, before, number): inode for number, (_, inode) in was.items()}
    now_at = {place(world, after, number): inode for number, (_, inode) in now.items()}
    lines: set[Line] = set()
    for number, (path, inode) in was.items():
        if number in now:
            continue
        there = now_at.get(place(world, before, number))
        if there is not None and there.inode not in was and not (there.is_directory or inode.is_directory):
            if facts(there) != facts(inode):
                lines.add(("modified", now[there.inode][0], ""))
            continue
        there = by_path.get(path)
        if there is not None and not there.is_directory and was_at.get(place(world, after, there.inode)):
            there = None
        if there is None or there.is_directory != inode.is_directory or there.inode in was:
            lines.add(("deleted", path, ""))
        elif facts(there) != facts(inode):
            lines.add(("modified", path, ""))
    olds = dict(was.values())
    for number, (path, inode) in now.items():
        if number in was:
            old_path, old = was[number]
            if place(world, before, number) != place(world, after, number):
                lines.add(("renamed", path, old_path))
            elif facts(old) != facts(inode):
                lines.add(("modified", path, ""))
            continue
        there = was_at.get(place(world, after, number))
        if there is not None and there.inode not in now and not (there.is_directory or inode.is_directory):
            continue
        there = olds.get(path)
        if there is not None and not there.is_directory and now_at.get(place(world, before, there.inode)):
            there = None
        if there is None or there.is_directory != inode.is_directory or there.inode in now:
            lines.add(("added", path, ""))
    return lines


def place(world: World, txid: int, inode: int) -> tuple[int, str] | None:
    with world.metadata.present() as view:
        return view.past(txid).place_of(inode)


def facts(inode: Inode) -> tuple[object, ...]:
    return inode.mode, inode.owner, inode.mtime_us, inode.size_bytes, inode.crc32c, inode.replication


def test_each_kind_of_change_is_told_once(world: World) -> None:
    world.run(cmd.MakeDirectory("/d/e", parents=True))
    for name in ("kept", "moved", "gone", "new-bytes", "new-mode"):
        world.write(f"/d/{name}", crc32c=1)
    before = world.txid
    world.run(cmd.Rename("/d/moved", "/d/e/moved"))
    world.run(cmd.Delete("/d/gone"))
    world.write("/d/new-bytes", overwrite=True, crc32c=2)
    world.run(cmd.SetAttributes("/d/new-mode", mode=0o600))
    world.write("/d/come", crc32c=3)
    world.run(cmd.SetAttributes("/d/kept", mode=0o600))
    world.run(cmd.SetAttributes("/d/kept", mode=0o644))

    found = changes(world, before, world.txid)

    assert [(c.change, c.path, c.from_path, c.fields) for c in found] == [
        ("added", "/d/come", "", ()),
        ("renamed", "/d/e/moved", "/d/moved", ()),
        ("deleted", "/d/gone", "", ()),
        ("modified", "/d/new-bytes", "", ("content",)),
        ("modified", "/d/new-mode", "", ("mode",)),
    ]
    assert lines(world, before, world.txid, "/d/e") == [("renamed", "/d/e/moved", "/d/moved")]
    assert lines(world, before, world.txid, "/other") == []
    assert lines(world, before, before) == []


def test_backwards_it_is_the_way_back(world: World) -> None:
    before = world.txid
    world.write("/f", crc32c=1)
    assert lines(world, before, world.txid) == [("added", "/f", "")]
    assert lines(world, world.txid, before) == [("deleted", "/f", "")]


def test_a_change_of_the_root_itself_is_one_change(world: World) -> None:
    before = world.txid
    world.run(cmd.SetAttributes("/", mode=0o700))
    assert [(c.change, c.path, c.fields) for c in changes(world, before, world.txid)] == [
        ("modified", "/", ("mode",))
    ]
    world.run(cmd.Restore("/", before))
    with world.snapshot() as view:
        assert view.resolve("/").mode == 0o755


def test_a_tree_that_comes_or_goes_is_told_whole(world: World) -> None:
    world.run(cmd.MakeDirectory("/t/a", parents=True))
    world.write("/t/a/x", crc32c=1)
    before = world.txid
    world.run(cmd.Delete("/t", recursive=True))
    gone = world.txid
    world.run(cmd.Restore("/", before))

    assert lines(world, before, gone) == [(c, p, "") for c, p in _each("deleted", "/t", "/t/a", "/t/a/x")]
    assert lines(world, gone, world.txid) == [(c, p, "") for c, p in _each("added", "/t", "/t/a", "/t/a/x")]
    assert lines(world, before, world.txid) == []


def _each(change: str, *paths: str) -> list[tuple[str, str]]:
    return [(change, path) for path in paths]


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_the_comparison_of_two_whole_trees(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    world = World(tmp_path)
    try:
        model = Model(world.txid)
        first = world.txid
        for _ in range(200):
            step(world, model, rng)
        for _ in range(60):
            before, after = rng.randint(first, world.txid), rng.randint(first, world.txid)
            told = set(lines(world, before, after))
            assert told == compared(world, before, after), (before, after)
    finally:
        world.close()
