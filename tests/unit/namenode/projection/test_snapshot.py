import pytest

from esdfs.errors import NotFound, ParentNotFound
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.engine import Internal
from esdfs.namenode.namespace import fanout
from esdfs.namenode.retaining import PurgeHistory
from tests.unit.namenode.world import World


def history(world: World, path: str) -> list[tuple[str, int, int]]:
    """(path, from, until) of its versions."""
    with world.snapshot() as view:
        return [(version.path, version.txid, version.until_txid) for version in view.history(path)]


def test_history_follows_renames_and_overwrites(world: World) -> None:
    world.run(cmd.MakeDirectory("/d"))
    world.write("/d/f", crc32c=1)
    first = world.txid
    world.run(cmd.Rename("/d/f", "/d/g"))
    renamed = world.txid
    world.write("/d/g", overwrite=True, crc32c=2)
    replaced = world.txid
    world.run(cmd.Delete("/d/g"))
    gone = world.txid

    assert history(world, "/d/g") == [
        ("/d/g", replaced, gone),
        ("/d/g", renamed, replaced),
        ("/d/f", first, renamed),
    ]


def test_history_of_what_lies_in_a_removed_directory(world: World) -> None:
    world.run(cmd.MakeDirectory("/d"))
    world.write("/d/f")
    written = world.txid
    world.run(cmd.Delete("/d", recursive=True))

    assert history(world, "/d/f") == [("/d/f", written, world.txid)]
    with pytest.raises(NotFound):
        history(world, "/never")
    with pytest.raises(ParentNotFound):
        history(world, "/never/x")


def test_an_inode_below_a_removed_directory_cannot_be_reached_but_can_in_the_past(world: World) -> None:
    world.run(cmd.MakeDirectory("/d"))
    inode = world.write("/d/f")
    before = world.txid
    world.run(cmd.Delete("/d", recursive=True))

    with world.snapshot() as view, pytest.raises(NotFound):
        view.by_id(inode)
    with world.snapshot(before) as view:
        assert view.by_id(inode)[0] == "/d/f"


def test_a_place_left_through_one_that_was_removed_in_the_same_transaction_is_kept(world: World) -> None:
    """A snapshot shows the place before; the one between was never seen."""
    for path in ("/c", "/c/d", "/x"):
        world.run(cmd.MakeDirectory(path))
    with world.snapshot() as view:
        inode = view.resolve("/c/d").inode
    pinned: int = world.run(cmd.CreateSnapshot("kept", "/", 0))["txid"]
    world.run(cmd.Rename("/c/d", "/x/d"), cmd.Delete("/x", recursive=True))
    world.settle(Internal(lambda writer: ev.HorizonMoved(writer.meta.applied_txid)))
    world.do_all(PurgeHistory())
    with world.snapshot(pinned) as view:
        assert view.by_id(inode)[0] == "/c/d"
    world.run(cmd.CreateSnapshot("again", "/c/d", pinned))


def test_while_a_restore_of_everything_is_under_way_the_past_is_found_by_id_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "FIRST_STEPS", 1)
    for path in ("/a", "/b", "/a/d", "/a/d/e"):
        world.run(cmd.MakeDirectory(path))
    with world.snapshot() as view:
        inode = view.resolve("/a/d/e").inode
    before = world.txid
    world.run(cmd.Rename("/a/d", "/b/d"))
    moved = world.txid
    world.run(cmd.Restore("/", before))
    steps = 0
    while unfinished := world.metadata.meta().unfinished:
        with world.snapshot(moved) as view:
            assert view.by_id(inode)[0] == "/b/d/e"
        world.run(cmd.CreateSnapshot(f"s{steps}", "/b/d/e", moved))
        (began_txid, _), steps = unfinished[0], steps + 1
        world.settle(Internal(lambda _, began=began_txid: ev.WorkContinued(began, 1)))  # type: ignore[misc]
    assert steps > 1
    with world.snapshot(moved) as view:
        assert view.by_id(inode)[0] == "/b/d/e"
    with world.snapshot() as view:
        assert view.by_id(inode)[0] == "/a/d/e"


def test_setting_replication_changes_the_blocks_target(world: World) -> None:
    world.write("/f")
    with world.snapshot() as view:
        block_id = view.resolve("/f").blocks[0].block_id
    world.run(cmd.SetAttributes("/f", replication=3))
    world.run(cmd.Copy("/f", "/g"))
    world.run(cmd.SetAttributes("/g", replication=2))

    with world.snapshot() as view:
        record = view.block(block_id)
        assert record is not None
        assert record.replication == 3, "a copy does not lower what its origin wants"


def test_linked_blocks_are_those_that_present_files_name_and_were_not_written_for(world: World) -> None:
    def linked() -> set[int]:
        with world.snapshot() as view:
            return {block_id for piece in view.linked_blocks() for block_id in piece}

    def blocks(path: str) -> set[int]:
        with world.snapshot() as view:
            return {block.block_id for block in view.resolve(path).blocks}

    world.run(cmd.MakeDirectory("/d"))
    for path in ("/own", "/copied", "/d/restored"):
        world.write(path)
    assert linked() == set()
    copied, restored = blocks("/copied"), blocks("/d/restored")
    world.run(cmd.Copy("/copied", "/d/copy"))
    assert linked() == copied
    before = world.txid
    world.run(cmd.Delete("/d", recursive=True))
    assert linked() == set(), "what is below a removed directory is not present"
    world.run(cmd.Restore("/d", before))
    assert linked() == copied | restored
