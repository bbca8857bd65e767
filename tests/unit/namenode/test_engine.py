import msgspec
import pytest

from esdfs.errors import AlreadyExists, IdempotencyMismatch, ParentNotFound
from esdfs.namenode import commands as cmd
from esdfs.namenode.projection.digest import digest
from tests.unit.namenode.world import World, asking

CLIENT = b"c" * 16


def test_the_same_request_twice_is_carried_out_once(world: World) -> None:
    request = asking(cmd.MakeDirectory("/a"), client=CLIENT, seq=1, request_hash=7)
    (first,) = world.settle(request)
    (second,) = world.settle(request)

    assert (second.txid, second.result) == (first.txid, first.result)
    assert second.replayed
    assert not first.replayed


def test_a_repeat_within_one_batch_gets_the_first_answer(world: World) -> None:
    request = asking(cmd.MakeDirectory("/a"), client=CLIENT, seq=1, request_hash=7)
    first, second = world.settle(request, request)

    assert second == msgspec.structs.replace(first, replayed=True)


def test_the_same_key_with_another_body_is_refused(world: World) -> None:
    world.settle(asking(cmd.MakeDirectory("/a"), client=CLIENT, seq=1, request_hash=7))
    (other,) = world.settle(asking(cmd.MakeDirectory("/b"), client=CLIENT, seq=1, request_hash=8))

    assert isinstance(other.error, IdempotencyMismatch)


def test_answers_are_remembered_across_a_restart_and_a_rebuild(world: World) -> None:
    request = asking(cmd.MakeDirectory("/a"), client=CLIENT, seq=1, request_hash=7)
    (first,) = world.settle(request)
    world.close()
    world.open()
    assert world.settle(request)[0].txid == first.txid

    world.store.clear()
    world.metadata.catch_up()
    assert world.settle(request)[0].txid == first.txid


def test_answers_are_forgotten_after_a_day(world: World) -> None:
    request = asking(cmd.MakeDirectory("/a"), client=CLIENT, seq=1, request_hash=7)
    world.settle(request)
    world.clock.sleep(25 * 3600)
    world.settle(asking(cmd.MakeDirectory("/b"), client=CLIENT, seq=2, request_hash=7))

    (late,) = world.settle(request)
    assert isinstance(late.error, AlreadyExists)


def test_a_transaction_is_one_txid_and_each_command_sees_the_ones_before(world: World) -> None:
    before = world.txid
    (settled,) = world.settle(
        asking(cmd.MakeDirectory("/a"), cmd.MakeDirectory("/a/b"), cmd.Rename("/a", "/c"))
    )

    assert settled.txid == world.txid == before + 1
    with world.snapshot() as view:
        assert view.resolve("/c/b").is_directory
        assert [version.path for version in view.history("/c")] == ["/c"]


def test_a_refused_command_undoes_its_whole_transaction_and_names_itself(world: World) -> None:
    before = world.txid
    refused, good = world.settle(
        asking(cmd.MakeDirectory("/a"), cmd.MakeDirectory("/no/b")), asking(cmd.MakeDirectory("/z"))
    )

    assert isinstance(refused.error, ParentNotFound)
    assert refused.error.details["command"] == 1
    assert good.error is None
    assert world.txid == before + 1
    with world.snapshot() as view:
        assert [name for name, _ in view.children(1)] == ["z"]


def test_an_aborted_batch_leaves_no_trace(world: World) -> None:
    before = digest(world.store)
    batch = world.engine.prepare([asking(cmd.MakeDirectory("/a"), client=CLIENT, seq=1)])
    batch.abort()

    assert digest(world.store) == before
    world.run(cmd.MakeDirectory("/a"))


def test_readers_do_not_see_a_batch_before_it_is_committed(world: World) -> None:
    batch = world.engine.prepare([asking(cmd.MakeDirectory("/a"))])
    with world.snapshot() as view:
        assert view.children(1) == []
    entries = world.replication.propose(batch.drafts)
    world.replication.commit(entries)
    batch.commit(entries)
    with world.snapshot() as view:
        assert [name for name, _ in view.children(1)] == ["a"]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_transaction_has_a_bounded_number_of_commands(world: World, count: int) -> None:
    (settled,) = world.settle(asking(*[cmd.MakeDirectory("/x")] * count))

    assert settled.error is not None
    assert settled.error.code == "invalid-request"


@pytest.mark.parametrize("name", ["", "x" * 600, "😀" * 200, "x" * 100_000])
def test_a_name_that_nothing_can_have_is_an_ordinary_refusal(world: World, name: str) -> None:
    opened = world.run(cmd.CreateFile("/f", "l", blocks=1))
    file_id, ((block_id, _, _),) = opened["inode"], opened["blocks"]
    written = cmd.WrittenBlock(block_id, 1, 1, 1, 0, [name])
    for command in (
        cmd.DeleteSnapshot(name),
        cmd.DropCursor(name),
        cmd.MoveCursor(name, 1),
        cmd.CreateSnapshot(name),
        cmd.SetDataNodeState(name, "in-service"),
        cmd.CompleteFile(file_id, "l", [written]),
    ):
        (settled,) = world.settle(asking(command))
        assert settled.error is not None, command
    assert world.run(cmd.MakeDirectory("/it-goes-on"))
