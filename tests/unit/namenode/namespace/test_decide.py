"""Each refusal has its own code, and a refusal changes nothing."""

import pytest

from esdfs.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    EsdfsError,
    IncompleteFile,
    InvalidPath,
    InvalidRequest,
    IsADirectory,
    LeaseHeld,
    LeaseLost,
    MoveIntoItself,
    NotADirectory,
    NotEnoughDataNodes,
    NotFound,
    ParentNotFound,
    PreconditionFailed,
)
from esdfs.namenode import commands as cmd
from esdfs.namenode.commands import Command
from tests.unit.namenode.world import World


@pytest.fixture
def tree(world: World) -> World:
    """/d/e/ and /d/f (a file), /empty/."""
    world.run(cmd.MakeDirectory("/d/e", parents=True))
    world.run(cmd.MakeDirectory("/empty"))
    world.write("/d/f")
    return world


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (cmd.MakeDirectory("/d"), AlreadyExists),
        (cmd.MakeDirectory("/d/f"), AlreadyExists),
        (cmd.MakeDirectory("/d/f", parents=True), AlreadyExists),
        (cmd.MakeDirectory("/"), AlreadyExists),
        (cmd.MakeDirectory("/no/x"), ParentNotFound),
        (cmd.MakeDirectory("/d/f/x"), NotADirectory),
        (cmd.MakeDirectory("/d/f/x/y", parents=True), NotADirectory),
        (cmd.MakeDirectory("d"), InvalidPath),
        (cmd.MakeDirectory("/a/../b"), InvalidPath),
        (cmd.MakeDirectory("/a//b"), InvalidPath),
        (cmd.MakeDirectory("/a\x00b"), InvalidPath),
        (cmd.MakeDirectory("/" + "n" * 256), InvalidPath),
        (cmd.MakeDirectory("/x", mode=0o10000), InvalidRequest),
        (cmd.CreateFile("/d/f", "l"), AlreadyExists),
        (cmd.CreateFile("/d", "l", overwrite=True), IsADirectory),
        (cmd.CreateFile("/", "l"), IsADirectory),
        (cmd.CreateFile("/no/x", "l"), ParentNotFound),
        (cmd.CreateFile("/x", ""), InvalidRequest),
        (cmd.CreateFile("/x", "l", replication=1), InvalidRequest),
        (cmd.CreateFile("/x", "l", replication=33), InvalidRequest),
        (cmd.CreateFile("/x", "l", block_size_bytes=1), InvalidRequest),
        (cmd.CreateFile("/d/f", "l", overwrite=True, if_version=1), PreconditionFailed),
        (cmd.CreateFile("/x", "l", if_version=1), PreconditionFailed),
        (cmd.AddBlocks(999, "l"), LeaseLost),
        (cmd.CompleteFile(999, "l"), LeaseLost),
        (cmd.Rename("/no", "/x"), NotFound),
        (cmd.Rename("/d", "/d/e/x"), MoveIntoItself),
        (cmd.Rename("/d/e", "/empty"), AlreadyExists),
        (cmd.Rename("/empty", "/d", overwrite=True), DirectoryNotEmpty),
        (cmd.Rename("/d/f", "/empty", overwrite=True), IsADirectory),
        (cmd.Rename("/empty", "/d/f", overwrite=True), NotADirectory),
        (cmd.Rename("/", "/x"), InvalidRequest),
        (cmd.Rename("/d", "/"), AlreadyExists),
        (cmd.Rename("/d", "/no/x"), ParentNotFound),
        (cmd.Delete("/no"), NotFound),
        (cmd.Delete("/d"), DirectoryNotEmpty),
        (cmd.Delete("/d/f", only="directory"), NotADirectory),
        (cmd.Delete("/empty", only="file"), IsADirectory),
        (cmd.Delete("/empty", only="socket"), InvalidRequest),
        (cmd.Delete("/"), InvalidRequest),
        (cmd.Delete(file_id=999), NotFound),
        (cmd.Delete("/d/f", if_version=1), PreconditionFailed),
        (cmd.SetAttributes("/d/f", mode=0o10000), InvalidRequest),
        (cmd.SetAttributes("/d", replication=2), IsADirectory),
        (cmd.SetAttributes("/d/f", replication=1), InvalidRequest),
        (cmd.SetAttributes("/d/f", owner=""), InvalidRequest),
        (cmd.Copy("/d", "/x"), IsADirectory),
        (cmd.Copy("/d/f", "/d/f"), InvalidRequest),
        (cmd.Restore("/d", 3), NotFound),
        (cmd.Restore("/d", 3, "/"), InvalidRequest),
    ],
    ids=lambda value: f"{value}"[:60] if isinstance(value, type) else repr(value)[:60],
)
def test_a_refusal_has_its_own_code_and_changes_nothing(
    tree: World, command: Command, refusal: type[EsdfsError]
) -> None:
    before = tree.txid

    with pytest.raises(refusal) as refused:
        tree.run(command)

    assert refused.value.code == refusal.code
    assert tree.txid == before


def test_parents_makes_what_is_missing_and_accepts_what_exists(world: World) -> None:
    world.run(cmd.MakeDirectory("/a"))
    made = world.run(cmd.MakeDirectory("/a/b/c", parents=True))
    again = world.run(cmd.MakeDirectory("/a/b/c", parents=True))

    assert (made["existed"], again["existed"]) == (False, True)
    assert again["inode"] == made["inode"]


def test_a_file_is_invisible_until_complete(world: World) -> None:
    opened = world.run(cmd.CreateFile("/f", "l", blocks=1))

    with world.snapshot() as view, pytest.raises(NotFound):
        view.resolve("/f")
    with pytest.raises(LeaseLost):
        world.run(cmd.Delete(file_id=opened["inode"]))


def test_another_writer_is_held_off_until_the_soft_limit(world: World) -> None:
    first = world.run(cmd.CreateFile("/f", "mine", blocks=1))
    with pytest.raises(LeaseHeld):
        world.run(cmd.CreateFile("/f", "yours"))

    for _ in range(61):
        world.clock.sleep(1)
        world.leases.tick()
    second = world.run(cmd.CreateFile("/f", "yours"))

    assert second["inode"] != first["inode"]
    with pytest.raises(LeaseLost):
        world.run(cmd.CompleteFile(first["inode"], "mine"))
    world.run(cmd.CompleteFile(second["inode"], "yours"))


def test_a_file_of_another_lease_cannot_be_touched(world: World) -> None:
    opened = world.run(cmd.CreateFile("/f", "mine", blocks=1))

    for command in (
        cmd.AddBlocks(opened["inode"], "yours"),
        cmd.CompleteFile(opened["inode"], "yours"),
        cmd.AbortFile(opened["inode"], "yours"),
    ):
        with pytest.raises(LeaseLost):
            world.run(command)


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 9},
        {"length_bytes": 0},
        {"length_bytes": (1 << 20) + 1},
        {"replicas": ["dn-1"]},
        {"replicas": ["dn-1", "dn-1"]},
        {"replicas": ["dn-1", "dn-9"]},
        {"block_id": 77},
    ],
    ids=str,
)
def test_a_block_that_was_not_written_well_does_not_complete_a_file(
    world: World, change: dict[str, object]
) -> None:
    opened = world.run(cmd.CreateFile("/f", "l", blocks=1))
    ((block_id, generation, _),) = opened["blocks"]
    good: dict[str, object] = {
        "block_id": block_id,
        "generation": generation,
        "length_bytes": 5,
        "stored_bytes": 5,
        "crc32c": 1,
        "replicas": ["dn-1", "dn-2"],
    }

    bad = cmd.WrittenBlock(**(good | change))  # type: ignore[arg-type]  # a row of the table above
    with pytest.raises(IncompleteFile):
        world.run(cmd.CompleteFile(opened["inode"], "l", [bad]))
    world.run(cmd.CompleteFile(opened["inode"], "l", [cmd.WrittenBlock(**good)]))  # type: ignore[arg-type]


def test_blocks_that_were_not_used_are_given_up_with_completion(world: World) -> None:
    opened = world.run(cmd.CreateFile("/f", "l", blocks=2))
    (first, gen, _), (second, _, _) = opened["blocks"]

    world.run(
        cmd.CompleteFile(opened["inode"], "l", [cmd.WrittenBlock(first, gen, 5, 5, 1, ["dn-1", "dn-2"])])
    )

    assert world.metadata.block(second) is None
    record = world.metadata.block(first)
    assert record is not None
    assert record.complete


def test_too_few_datanodes_refuse_the_write_with_that_reason(world: World) -> None:
    world.placer.live = 1

    with pytest.raises(NotEnoughDataNodes, match="1 live"):
        world.run(cmd.CreateFile("/f", "l", blocks=1))


def test_completing_below_a_removed_directory_is_refused(world: World) -> None:
    world.run(cmd.MakeDirectory("/d"))
    opened = world.run(cmd.CreateFile("/d/f", "l"))
    world.run(cmd.Delete("/d", recursive=True))

    with pytest.raises(NotFound, match="removed while it was written"):
        world.run(cmd.CompleteFile(opened["inode"], "l"))


def test_a_directory_renamed_while_a_file_is_written_keeps_the_file(world: World) -> None:
    world.run(cmd.MakeDirectory("/d"))
    opened = world.run(cmd.CreateFile("/d/f", "l"))
    world.run(cmd.Rename("/d", "/moved"))
    world.run(cmd.CompleteFile(opened["inode"], "l"))

    with world.snapshot() as view:
        assert view.resolve("/moved/f").inode == opened["inode"]
