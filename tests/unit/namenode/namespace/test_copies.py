"""Copies wanted of blocks that several files name: as many as the most demanding present one asks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.engine import Internal
from esdfs.namenode.housekeeping import FinishRestores
from esdfs.namenode.namespace.copies import LEVEL_COPIES
from esdfs.namenode.namespace.fanout import FIRST_STEPS
from esdfs.namenode.projection import contents
from esdfs.namenode.projection.digest import digest
from esdfs.namenode.retaining import PurgeHistory
from esdfs.namenode.upcasters import LEVEL_NEWEST
from tests.unit.namenode.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def older(tmp_path: Path) -> Iterator[World]:
    """A cluster whose upgrade is not finalized."""
    world = World(tmp_path, feature_level=LEVEL_COPIES - 1)
    yield world
    world.close()


def copies(world: World, path: str, as_of: int | None = None) -> set[int]:
    """What the records of a file's blocks say."""
    with world.snapshot(as_of) as view:
        blocks = view.resolve(path).blocks
    with world.metadata.present() as present:
        return {record.replication for block in blocks if (record := present.block(block.block_id))}


def asked(world: World, path: str) -> int:
    with world.snapshot() as view:
        return view.resolve(path).replication


def setrep(world: World, path: str, count: int) -> None:
    world.run(cmd.SetAttributes(path, replication=count))


def finalize(world: World) -> None:
    world.settle(Internal(lambda _: ev.FeatureLevelRaised(LEVEL_NEWEST)))


def forget(world: World) -> None:
    """All history but the present."""
    world.settle(Internal(lambda writer: ev.HorizonMoved(writer.meta.applied_txid)))
    world.do_all(PurgeHistory())


def test_one_file_has_what_it_asks_for(world: World) -> None:
    world.write("/f", replication=3, blocks=3)
    assert copies(world, "/f") == {3}
    setrep(world, "/f", 2)
    assert copies(world, "/f") == {2}
    world.run(cmd.Rename("/f", "/g"))
    world.run(cmd.SetAttributes("/g", mode=0o600))
    setrep(world, "/g", 4)
    assert copies(world, "/g") == {4}
    setrep(world, "/g", 2)
    assert copies(world, "/g") == {2}


def test_a_restored_file_has_the_copies_it_had(world: World) -> None:
    world.write("/f", replication=3, blocks=3)
    then = world.txid
    setrep(world, "/f", 2)
    world.rewanted.clear()

    world.run(cmd.Restore("/f", then))

    assert (asked(world, "/f"), copies(world, "/f")) == (3, {3})
    with world.snapshot() as view:
        assert world.rewanted == [block.block_id for block in view.resolve("/f").blocks]
    setrep(world, "/f", 2)
    assert copies(world, "/f") == {2}


def test_a_copy_keeps_what_it_asks_for(world: World) -> None:
    world.write("/f", replication=3)
    world.run(cmd.Copy("/f", "/g"))
    setrep(world, "/f", 2)
    assert (asked(world, "/f"), copies(world, "/f")) == (2, {3})
    setrep(world, "/g", 2)
    assert copies(world, "/f") == {2}
    setrep(world, "/g", 4)
    assert copies(world, "/f") == {4}


def test_of_many_copies_the_most_demanding_counts(world: World) -> None:
    world.write("/f")
    for i in range(2, 6):
        world.run(cmd.Copy("/f", f"/{i}"))
        setrep(world, f"/{i}", i)
    assert copies(world, "/f") == {5}
    setrep(world, "/5", 2)
    assert copies(world, "/f") == {4}


def test_a_copy_that_is_gone_asks_for_nothing_once_somebody_says_what_is_wanted(world: World) -> None:
    world.write("/f")
    world.run(cmd.Copy("/f", "/g"))
    setrep(world, "/g", 4)
    world.run(cmd.Delete("/g"))
    assert copies(world, "/f") == {4}
    setrep(world, "/f", 2)  # what it says already
    assert copies(world, "/f") == {2}


def test_what_asks_for_nothing_new_is_no_change(world: World) -> None:
    world.write("/f")
    world.run(cmd.Copy("/f", "/g"))
    setrep(world, "/g", 4)
    before = world.txid
    setrep(world, "/f", 2)
    setrep(world, "/g", 4)
    assert world.txid == before


def test_a_restored_tree_has_the_copies_it_had(world: World) -> None:
    world.run(cmd.MakeDirectory("/a"))
    files = [f"/a/{i:04}" for i in range(FIRST_STEPS + 20)]
    for path in files:
        world.write(path, replication=3)
    then = world.txid
    for path in files:
        setrep(world, path, 2)

    world.run(cmd.Restore("/a", then, "/b"))
    world.do_all(FinishRestores())

    for path in files:
        assert copies(world, path) == {3}
    setrep(world, "/b/0000", 2)
    assert copies(world, "/a/0000") == {2}


def test_what_goes_back_with_the_whole_namespace_has_the_copies_it_had(world: World) -> None:
    world.write("/f", replication=3)
    world.write("/gone", replication=4)
    then = world.txid
    setrep(world, "/f", 2)
    setrep(world, "/gone", 2)
    world.run(cmd.Delete("/gone"))

    world.run(cmd.Restore("/", then))
    world.do_all(FinishRestores())

    assert (copies(world, "/f"), copies(world, "/gone")) == ({3}, {4})
    setrep(world, "/gone", 2)
    assert copies(world, "/gone") == {2}


def test_a_file_below_a_removed_directory_may_come_back_and_keeps_its_copies(world: World) -> None:
    world.run(cmd.MakeDirectory("/d"))
    world.write("/f", replication=3)
    world.run(cmd.Copy("/f", "/d/g"))
    then = world.txid
    world.run(cmd.Delete("/d", recursive=True))
    setrep(world, "/f", 2)
    world.run(cmd.Restore("/", then))
    world.do_all(FinishRestores())
    assert (asked(world, "/d/g"), copies(world, "/d/g")) == (3, {3})


def test_what_was_forgotten_asks_for_nothing(world: World) -> None:
    world.write("/f", replication=3)
    world.run(cmd.Copy("/f", "/g"))
    world.run(cmd.Rename("/g", "/h"))
    world.run(cmd.Delete("/h"))
    forget(world)
    setrep(world, "/f", 2)
    assert copies(world, "/f") == {2}
    world.run(cmd.Delete("/f"))
    forget(world)
    with world.metadata.present() as present:
        txn, dbs = present.tables()
        assert list(txn.cursor(dbs[b"shared"])) == []


def test_who_shares_with_too_many_versions_to_look_at_keeps_its_copies(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "LOOKED_AT_MAX", 5)
    world.write("/f", replication=3)
    world.run(cmd.Copy("/f", "/g"))
    for mode in range(0o600, 0o606):
        world.run(cmd.SetAttributes("/g", mode=mode))
    setrep(world, "/g", 2)
    setrep(world, "/f", 2)
    assert copies(world, "/f") == {3}
    forget(world)
    setrep(world, "/f", 2)
    assert copies(world, "/f") == {2}


def test_it_is_a_function_of_the_journal(world: World) -> None:
    world.write("/f", replication=3)
    then = world.txid
    world.run(cmd.Copy("/f", "/g"))
    setrep(world, "/f", 2)
    world.run(cmd.Restore("/f", then))
    setrep(world, "/g", 2)
    setrep(world, "/f", 2)
    known = digest(world.store)
    world.close()
    world.open(announce=False, anew=True)
    assert digest(world.store) == known


# --- a cluster whose level is lower, or was ---


def test_below_its_level_nothing_changes_but_that_more_can_be_asked_for_again(older: World) -> None:
    older.write("/f", replication=3)
    then = older.txid
    older.run(cmd.Copy("/f", "/g"))
    setrep(older, "/f", 2)
    assert copies(older, "/g") == {2}
    older.run(cmd.Restore("/f", then))
    assert (asked(older, "/f"), copies(older, "/f")) == (3, {2})
    setrep(older, "/f", 3)
    assert copies(older, "/f") == {3}
    with older.metadata.present() as present:
        txn, dbs = present.tables()
        assert list(txn.cursor(dbs[b"shared"])) == []


def test_below_its_level_asking_again_for_fewer_changes_nothing(older: World) -> None:
    older.write("/f")
    older.run(cmd.Copy("/f", "/g"))
    setrep(older, "/g", 3)
    before = older.txid
    setrep(older, "/f", 2)
    assert (older.txid, copies(older, "/g")) == (before, {3})


def test_what_was_linked_below_the_level_is_not_lowered_by_who_does_not_know_of_it(older: World) -> None:
    older.write("/f", replication=3)
    older.run(cmd.Copy("/f", "/g"))
    older.write("/alone", replication=3)
    older.run(cmd.Rename("/alone", "/renamed"))
    finalize(older)
    setrep(older, "/f", 2)
    assert copies(older, "/g") == {3}
    setrep(older, "/renamed", 2)
    assert copies(older, "/renamed") == {2}
    # The copy itself knows whose blocks it names.
    setrep(older, "/g", 2)
    assert copies(older, "/g") == {2}


def test_what_asks_for_too_little_since_before_the_level_is_mended_by_asking(older: World) -> None:
    older.write("/f", replication=3)
    then = older.txid
    setrep(older, "/f", 2)
    older.run(cmd.Restore("/f", then))
    finalize(older)
    assert copies(older, "/f") == {2}
    setrep(older, "/f", 3)
    assert copies(older, "/f") == {3}
