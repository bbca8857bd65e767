import pytest

from esdfs.errors import NotFound, ParentNotFound
from esdfs.namenode import commands as cmd
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
