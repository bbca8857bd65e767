"""Named readers of the journal: forward only, not too often, and part of a transaction when asked to be."""

import pytest

from esdfs.errors import AlreadyExists, FutureTxid, InvalidPath, NotFound, UpgradeNeeded
from esdfs.namenode import commands as cmd
from esdfs.namenode.namespace.inodes import Cursor
from tests.unit.namenode.world import World

SECOND_US = 1_000_000


def cursor(world: World, name: str = "c") -> Cursor | None:
    with world.metadata.present() as view:
        return view.cursor(name)


def test_a_cursor_moves_forward_only_unless_it_is_reset(world: World) -> None:
    for number in range(5):
        world.run(cmd.MakeDirectory(f"/{number}"))
    world.run(cmd.MoveCursor("c", 5))
    txid = world.txid
    assert world.run(cmd.MoveCursor("c", 3)) == {"name": "c", "txid": 5}
    assert world.run(cmd.MoveCursor("c", 5)) == {"name": "c", "txid": 5}
    assert world.txid == txid
    assert world.run(cmd.MoveCursor("c", 3, reset=True)) == {"name": "c", "txid": 3}
    kept = cursor(world)
    assert kept is not None
    assert (kept.txid, kept.principal) == (3, "ann")


def test_moves_within_a_second_are_for_later_if_the_reader_allows_that(world: World) -> None:
    for number in range(5):
        world.run(cmd.MakeDirectory(f"/{number}"))
    world.run(cmd.MoveCursor("c", 1, coalesce=True))
    assert world.run(cmd.MoveCursor("c", 2, coalesce=True)) == {"name": "c", "txid": 1}
    assert world.run(cmd.MoveCursor("c", 3)) == {"name": "c", "txid": 3}
    world.clock.now_us += SECOND_US
    assert world.run(cmd.MoveCursor("c", 4, coalesce=True)) == {"name": "c", "txid": 4}


def test_a_move_that_was_put_off_brings_no_dropped_cursor_back(world: World) -> None:
    world.run(cmd.MoveCursor("c", 1))
    assert world.run(cmd.MoveCursor("c", 2, belated=True)) == {"name": "c", "txid": 2}
    world.run(cmd.DropCursor("c"))
    txid = world.txid
    assert world.run(cmd.MoveCursor("c", 3, belated=True)) == {"name": "c", "txid": 0}
    assert (cursor(world), world.txid) == (None, txid)


def test_what_is_not_there_yet_cannot_be_dealt_with(world: World) -> None:
    with pytest.raises(FutureTxid):
        world.run(cmd.MoveCursor("c", world.txid + 1))
    with pytest.raises(InvalidPath):
        world.run(cmd.MoveCursor("a/b", 1))
    with pytest.raises(NotFound, match="no cursor is named c"):
        world.run(cmd.DropCursor("c"))
    assert cursor(world) is None


def test_a_cursor_moves_with_the_change_it_belongs_to_or_not_at_all(world: World) -> None:
    world.run(cmd.MakeDirectory("/d"))
    with pytest.raises(AlreadyExists):
        world.run(cmd.MoveCursor("c", 1), cmd.MakeDirectory("/d"))
    assert cursor(world) is None
    world.run(cmd.MakeDirectory("/e"), cmd.MoveCursor("c", 1))
    assert cursor(world) is not None


def test_cursors_come_back_when_the_projection_is_rebuilt(world: World) -> None:
    world.run(cmd.MoveCursor("c", 1))
    world.run(cmd.MoveCursor("gone", 1))
    world.run(cmd.DropCursor("gone"))
    before = cursor(world)
    world.close()
    world.open(anew=True)
    assert (cursor(world), cursor(world, "gone")) == (before, None)


def test_a_cluster_that_older_releases_are_part_of_keeps_no_cursors(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.namenode.projection.views.PresentView.feature_level", lambda _: 2)
    with pytest.raises(UpgradeNeeded, match="esdfs upgrade finalize"):
        world.run(cmd.MoveCursor("c", 1))
