"""Retention and snapshots: what is refused, what is pinned, what stays readable."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.errors import (
    AlreadyExists,
    Compacted,
    EsdfsError,
    FutureTxid,
    InvalidRequest,
    NotFound,
    UpgradeNeeded,
)
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.commands import Command
from esdfs.namenode.engine import Internal
from esdfs.namenode.retaining import MoveHorizon, PurgeHistory
from tests.unit.namenode.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def forget(world: World) -> int:
    """Have the past begin now and forget what is behind it; the oldest txid."""
    world.settle(Internal(lambda writer: ev.HorizonMoved(writer.meta.applied_txid)))
    purge(world)
    return world.metadata.meta().oldest_txid


def purge(world: World) -> int:
    """Forget all that may be forgotten; in how many records."""
    return world.do_all(PurgeHistory())


def tree(world: World, as_of: int, path: str = "/") -> set[str]:
    with world.snapshot(as_of) as view:
        top = view.resolve(path)
        names = {top.inode: path}
        for parent, name, inode in view.walk(top):
            if parent is not None:
                names[inode.inode] = f"{names[parent].rstrip('/')}/{name}"
        return set(names.values())


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (cmd.CreateSnapshot(""), InvalidRequest),
        (cmd.CreateSnapshot("a/b"), InvalidRequest),
        (cmd.CreateSnapshot("@a"), InvalidRequest),
        (cmd.CreateSnapshot("a\nb"), InvalidRequest),
        (cmd.CreateSnapshot("ü" * 128), InvalidRequest),
        (cmd.CreateSnapshot("known"), AlreadyExists),
        (cmd.CreateSnapshot("new", "/nothing"), NotFound),
        (cmd.CreateSnapshot("new", "/", 1 << 40), FutureTxid),
        (cmd.DeleteSnapshot("new"), NotFound),
        (cmd.SetRetention(-1), InvalidRequest),
        (cmd.SetRetention(None, -1), InvalidRequest),
    ],
)
def test_what_cannot_be_kept_is_refused(world: World, command: Command, refusal: type[EsdfsError]) -> None:
    world.run(cmd.CreateSnapshot("known"))
    before = world.txid
    with pytest.raises(refusal):
        world.run(command)
    assert world.txid == before


@pytest.mark.parametrize("command", [cmd.SetRetention(1), cmd.CreateSnapshot("a"), cmd.DeleteSnapshot("a")])
def test_below_its_feature_level_nothing_of_it_is_written(
    world: World, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.namenode.projection.views.PresentView.feature_level", lambda _: 2)
    world.run(cmd.MakeDirectory("/a"))
    with pytest.raises(UpgradeNeeded, match="esdfs upgrade finalize"):
        world.run(command)
    with world.metadata.present() as view:
        assert not MoveHorizon(world.config, world.clock).is_due(view)
        assert not PurgeHistory().is_due(view)


def test_retention_keeps_what_is_not_named(world: World) -> None:
    assert world.run(cmd.SetRetention(window_s=60)) == {"window_s": 60, "records_max": 0}
    assert world.run(cmd.SetRetention(records_max=5)) == {"window_s": 60, "records_max": 5}
    before = world.txid
    assert world.run(cmd.SetRetention(60, 5)) == {"window_s": 60, "records_max": 5}
    assert world.txid == before


def test_a_snapshot_of_the_past_stays_readable_when_the_window_has_moved_on(world: World) -> None:
    world.run(cmd.MakeDirectory("/a/b", parents=True))
    world.write("/a/b/f", crc32c=1)
    then = world.txid
    world.write("/a/b/f", overwrite=True, crc32c=2)
    world.run(cmd.CreateSnapshot("past", as_of=then))
    world.run(cmd.Delete("/a", recursive=True))
    forget(world)

    assert tree(world, then) == {"/", "/a", "/a/b", "/a/b/f"}
    with world.snapshot(then) as view:
        assert view.resolve("/a/b/f").crc32c == 1
    with pytest.raises(Compacted):
        tree(world, then + 1)


def test_outside_a_subtrees_snapshot_nothing_is_told(world: World) -> None:
    for path in ("/a/b/c", "/a/other", "/else"):
        world.run(cmd.MakeDirectory(path, parents=True))
    then = world.txid
    with world.snapshot() as view:
        outside = view.resolve("/else").inode
    world.run(cmd.CreateSnapshot("part", "/a/b"))
    world.run(cmd.Delete("/a", recursive=True))
    world.run(cmd.Delete("/else", recursive=True))
    oldest = forget(world)

    assert tree(world, then, "/a/b") == {"/a/b", "/a/b/c"}
    for path in ("/a/other", "/else", "/never", "/a/b2"):
        with pytest.raises(Compacted) as refused, world.snapshot(then) as view:
            view.resolve(path)
        assert refused.value.details["oldest_txid"] == oldest
    for path in ("/", "/a"):
        with pytest.raises(Compacted), world.snapshot(then) as view:
            view.children(view.resolve(path).inode)
    with pytest.raises(Compacted), world.snapshot(then) as view:
        view.by_id(outside)
    with pytest.raises(Compacted):
        world.run(cmd.CreateSnapshot("more", "/a", then))
    with pytest.raises(Compacted):
        world.run(cmd.Restore("/a", then))
    world.run(cmd.CreateSnapshot("less", "/a/b/c", then))
    world.run(cmd.DeleteSnapshot("part"))
    purge(world)
    assert tree(world, then, "/a/b/c") == {"/a/b/c"}
    with pytest.raises(Compacted), world.snapshot(then) as view:
        view.children(view.resolve("/a/b").inode)


def test_a_deleted_snapshot_is_gone_at_once_and_its_blocks_when_purged(world: World) -> None:
    world.write("/f")
    then = world.txid
    with world.snapshot() as view:
        (block,) = view.resolve("/f").blocks
    world.run(cmd.CreateSnapshot("s"))
    world.run(cmd.Delete("/f"))
    forget(world)
    assert world.released == []
    world.run(cmd.DeleteSnapshot("s"))
    with pytest.raises(Compacted):
        tree(world, then)
    assert world.released == []
    purge(world)
    assert world.released == [block.block_id]


def test_a_copy_keeps_the_blocks_of_what_was_forgotten(world: World) -> None:
    world.write("/f")
    world.run(cmd.Copy("/f", "/g"))
    world.run(cmd.Delete("/f"))
    forget(world)
    assert world.released == []
    world.run(cmd.Delete("/g"))
    forget(world)
    assert len(world.released) == 1


def test_a_files_versions_share_its_blocks(world: World) -> None:
    world.write("/f")
    for mode in range(10):
        world.run(cmd.SetAttributes("/f", mode=mode))
    world.run(cmd.Rename("/f", "/g"))
    forget(world)
    assert world.released == []
    with world.snapshot() as view:
        assert view.block(view.resolve("/g").blocks[0].block_id) is not None


def test_forgetting_is_bounded_work(world: World) -> None:
    world.run(*(cmd.MakeDirectory(f"/d/{i}/{j}", parents=True) for i in range(30) for j in range(30)))
    world.run(cmd.Delete("/d", recursive=True))
    world.settle(Internal(lambda writer: ev.HorizonMoved(writer.meta.applied_txid)))
    assert purge(world) >= 3
    with world.metadata.present() as view:
        assert not list(view.entries(2, b""))


def test_nothing_is_forgotten_while_a_restore_reads_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esdfs.namenode.namespace.fanout.FIRST_STEPS", 1)
    world.run(*(cmd.MakeDirectory(f"/d/{i}", parents=True) for i in range(10)))
    then = world.txid
    world.run(cmd.Delete("/d", recursive=True))
    world.run(cmd.Restore("/d", then))
    world.settle(Internal(lambda writer: ev.HorizonMoved(writer.meta.applied_txid)))
    assert purge(world) == 0
    world.settle(Internal(lambda _: ev.HistoryPurged(500)))
    began_txid, _ = world.metadata.meta().unfinished[0]
    world.settle(Internal(lambda _: ev.WorkContinued(began_txid, 500)))
    assert tree(world, world.txid, "/d") == {"/d", *(f"/d/{i}" for i in range(10))}
    assert purge(world)
    assert tree(world, world.txid, "/d") == {"/d", *(f"/d/{i}" for i in range(10))}


def test_the_horizon_follows_the_window_when_something_ended(world: World) -> None:
    chore = MoveHorizon(world.config, world.clock)

    def is_due() -> bool:
        world.clock.now_us += world.config.horizon_step_ms * 1_000
        with world.metadata.present() as view:
            return chore.is_due(view)

    world.run(cmd.SetRetention(window_s=3600))
    world.run(cmd.MakeDirectory("/a"))
    made = world.txid
    assert not is_due()
    world.clock.now_us += 3_600_000_000
    assert is_due()
    world.settle(Internal(chore.make))
    assert world.metadata.meta().oldest_txid == made
    world.clock.now_us += 3_600_000_000
    assert not is_due()  # nothing changed since: a cluster at rest writes no records
    world.run(cmd.SetAttributes("/a", mode=0))
    changed = world.txid
    world.run(cmd.SetRetention(window_s=0, records_max=1))
    assert is_due()
    world.settle(Internal(chore.make))
    assert world.metadata.meta().oldest_txid == changed


def test_history_tells_the_versions_that_can_be_read(world: World) -> None:
    world.write("/f", crc32c=1)
    pinned = world.txid
    world.run(cmd.CreateSnapshot("s"))
    for crc32c in (2, 3, 4):
        world.write("/f", overwrite=True, crc32c=crc32c)
    world.run(cmd.MakeDirectory("/later"))
    world.settle(Internal(lambda writer: ev.HorizonMoved(writer.meta.applied_txid)))
    with world.snapshot() as view:
        versions = view.history("/f")
    assert [(version.inode.crc32c, version.path) for version in versions] == [(4, "/f"), (1, "/f")]
    assert versions[1].txid == pinned


def test_what_only_history_holds_is_counted_once_where_it_was(world: World) -> None:
    day_us = 86_400_000_000
    for name in ("a", "b"):
        world.run(cmd.MakeDirectory(f"/{name}"))
        world.write(f"/{name}/f", size_bytes=100)
        world.run(cmd.SetAttributes(f"/{name}/f", mode=0))
    world.run(cmd.Copy("/a/f", "/a/still"))
    world.clock.now_us += day_us
    world.run(cmd.Delete("/a/f"))
    world.run(cmd.Delete("/b", recursive=True))
    world.clock.now_us += 2 * day_us
    world.write("/c", size_bytes=7)
    world.run(cmd.CreateSnapshot("c"))
    world.write("/c", size_bytes=8, overwrite=True)
    world.clock.now_us += 60_000_000
    world.run(cmd.MakeDirectory("/later"))
    with world.snapshot() as view:
        told = view.costs(1, world.clock.now_us)
    assert (told.present.bytes, told.present.raw_bytes) == (108, 216)
    assert (told.history.contents, told.history.bytes, told.history.raw_bytes) == (2, 107, 214)
    assert [(line.what, line.bytes) for line in told.directories] == [("/b", 100), ("/", 7)]
    assert [line.bytes for line in told.days] == [7, 100]
    assert {one.days: one.bytes for one in told.shorter} == {1: 100, 2: 100, 3: 0, 7: 0, 14: 0, 30: 0}
    forget(world)
    with world.snapshot() as view:
        told = view.costs(0, world.clock.now_us)
    assert told.history == told.snapshots
    assert told.history.bytes == 7


def test_a_directory_that_was_removed_and_brought_back_keeps_what_is_below_it(world: World) -> None:
    world.run(cmd.MakeDirectory("/d/below", parents=True))
    before = world.txid
    # Its last version lasts no longer than this transaction, so its end is noted at once.
    world.run(cmd.SetAttributes("/d", mode=0o700), cmd.Delete("/d", recursive=True))
    world.run(cmd.Restore("/", before))
    forget(world)
    assert tree(world, world.txid) == {"/", "/d", "/d/below"}


def test_what_was_made_and_removed_within_one_transaction_leaves_nothing(world: World) -> None:
    world.write("/f")
    world.run(
        cmd.MakeDirectory("/d/e", parents=True),
        cmd.Copy("/f", "/d/e/g"),
        cmd.Rename("/f", "/d/f"),
        cmd.Delete("/d", recursive=True),
    )
    forget(world)
    assert len(world.released) == 1
    with world.metadata.present() as view:
        assert [view.block(block_id) for block_id in world.released] == [None]
        assert not view.children(2, after="", limit=10)


def test_a_snapshot_of_a_subtree_is_compared_within_it_and_nowhere_else(world: World) -> None:
    world.run(cmd.MakeDirectory("/kept/d", parents=True), cmd.MakeDirectory("/other"))
    world.write("/kept/d/f", crc32c=1)
    world.write("/other/g", crc32c=1)
    world.run(cmd.CreateSnapshot("s", "/kept"))
    with world.snapshot() as view:
        pinned = view.pins()[0].txid
    world.write("/kept/d/f", overwrite=True, crc32c=2)
    world.write("/other/g", overwrite=True, crc32c=2)
    world.run(cmd.Rename("/other", "/kept/moved-in"))
    forget(world)

    with world.snapshot() as view:
        told = view.difference(pinned, world.txid, "/kept")
        assert [(change.change, change.path) for change in told] == [
            ("modified", "/kept/d/f"),
            ("added", "/kept/moved-in"),
            ("added", "/kept/moved-in/g"),
        ]
        for path in ("/", "/other"):
            with pytest.raises(Compacted):
                view.difference(pinned, world.txid, path)
