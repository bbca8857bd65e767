"""History judged by another policy, against recounts of every moment of it."""

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from esdfs.cli.journal_whatif import of_database
from esdfs.errors import EsdfsError
from esdfs.namenode import commands as cmd
from esdfs.namenode.engine import Internal
from esdfs.namenode.events import FeatureLevelRaised, WorkContinued
from esdfs.namenode.namespace.view import View, resolve
from esdfs.namenode.namespace.walk import walk_subtree
from esdfs.namenode.upcasters import LEVEL_NEWEST
from esdfs.namenode.whatif import Policy, Quota, QuotaReport, Report
from tests.unit.namenode.world import World

DAY_S = 86_400.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path / "nn")
    yield one
    one.close()


def judged(world: World, policy: Policy, *, to: int | None = None) -> Report:
    return of_database(world.config.database_url, policy, to)


def quota(world: World, path: str, max_bytes: int | None = None, max_files: int | None = None) -> QuotaReport:
    (found,) = judged(world, Policy((Quota(path, max_bytes, max_files),))).quotas
    return found


def usage(view: View, path: str) -> tuple[int, int]:
    """(bytes, files) at and below ``path``, by walking there."""
    try:
        top = resolve(view, path)
    except EsdfsError:
        return 0, 0
    sizes = [inode.size_bytes for _, _, inode in walk_subtree(view, top) if not inode.is_directory]
    return sum(sizes), len(sizes)


def test_a_put_beyond_the_limit_is_the_first_refused_and_later_ones_are_counted(world: World) -> None:
    world.run(cmd.MakeDirectory("/logs"))
    world.write("/logs/a", 60)
    world.write("/elsewhere", 1000)
    world.write("/logs/b", 50)
    at = world.txid
    world.write("/logs/c", 1)
    found = quota(world, "/logs", max_bytes=100)
    assert found.first is not None
    assert (found.refused, found.size_bytes, found.files, found.peak_bytes) == (2, 111, 3, 111)
    first = found.first
    assert (first.txid, first.principal, first.path, first.over_bytes) == (at, "ann", "/logs/b", 10)


def test_an_overwrite_counts_by_what_it_adds(world: World) -> None:
    world.write("/f", 90)
    world.write("/f", 40, overwrite=True)
    assert quota(world, "/", max_bytes=90).refused == 0
    world.write("/f", 91, overwrite=True)
    assert quota(world, "/", max_bytes=90).refused == 1


def test_shrinking_above_the_limit_is_not_refused(world: World) -> None:
    world.write("/f", 90)
    world.write("/f", 80, overwrite=True)
    found = quota(world, "/", max_bytes=10)
    assert (found.refused, found.peak_bytes, found.size_bytes) == (1, 90, 80)


def test_a_directory_that_is_moved_in_brings_all_below_it(world: World) -> None:
    world.run(cmd.MakeDirectory("/in"), cmd.MakeDirectory("/d/e", parents=True))
    world.write("/d/e/f", 30)
    world.write("/d/g", 30)
    world.run(cmd.Rename("/d", "/in/d"))
    found = quota(world, "/in", max_files=1)
    assert found.first is not None
    assert (found.first.txid, found.first.over_files, found.size_bytes) == (world.txid, 1, 60)
    world.run(cmd.Rename("/in/d", "/d"))
    assert quota(world, "/in", max_files=1).files == 0


def test_a_restored_directory_counts_again(world: World) -> None:
    world.run(cmd.MakeDirectory("/d"))
    world.write("/d/f", 30)
    at = world.txid
    world.run(cmd.Delete("/d", recursive=True))
    assert quota(world, "/d", max_bytes=29).size_bytes == 0
    world.run(cmd.Restore("/d", at, ""))
    found = quota(world, "/d", max_bytes=29)
    assert (found.size_bytes, found.refused) == (30, 2)


def test_a_restore_from_before_the_window_would_have_been_refused(world: World) -> None:
    world.write("/f", 30)
    written = world.txid
    world.write("/g", 5)
    at = world.txid
    world.clock.sleep(DAY_S)
    world.run(cmd.Delete("/f"))
    deleted = world.txid
    world.clock.sleep(3 * DAY_S)
    world.run(cmd.MakeDirectory("/d"))
    world.run(cmd.Restore("/f", at, ""))
    restored = world.txid
    strict = judged(world, Policy(window_s=86_400))
    (refused,) = strict.refused_restores
    assert (refused.txid, refused.path, refused.source_txid) == (restored, "/f", written)
    assert (refused.oldest_txid, refused.principal, strict.restores) == (deleted, "ann", 1)
    assert judged(world, Policy(window_s=30 * 86_400)).refused_restores == []
    assert len(judged(world, Policy(records_max=1)).refused_restores) == 1
    assert judged(world, Policy(records_max=1000)).refused_restores == []


def test_an_old_version_that_lasted_into_the_window_could_still_be_restored(world: World) -> None:
    world.write("/f", 30)
    world.run(cmd.Copy("/f", "/copy"))
    at = world.txid
    world.clock.sleep(9 * DAY_S)
    world.run(cmd.Delete("/f"))
    world.run(cmd.Restore("/f", at, ""))
    world.run(cmd.Copy("/copy", "/again"))
    report = judged(world, Policy(window_s=86_400))
    # The copy is of what is there: no restore.
    assert (report.restores, report.refused_restores) == (1, [])


def test_a_restore_of_a_directory_or_of_everything_needs_the_very_moment(world: World) -> None:
    world.settle(Internal(lambda _: FeatureLevelRaised(LEVEL_NEWEST)))
    world.run(cmd.MakeDirectory("/d"))
    world.write("/d/f", 30)
    at = world.txid
    world.run(cmd.CreateSnapshot("kept", "/d", at))
    world.clock.sleep(2 * DAY_S)
    world.run(cmd.Delete("/d", recursive=True))
    world.clock.sleep(2 * DAY_S)
    world.run(cmd.MakeDirectory("/e"))
    world.run(cmd.Restore("/d", at, "/held"))
    world.run(cmd.Restore("/", at, "", overwrite=True))
    report = judged(world, Policy(window_s=86_400))
    assert [(one.path, one.kind) for one in report.refused_restores] == [("/", "NamespaceRewound")]


def test_each_day_tells_what_history_held_and_what_would_have_been_let_go(world: World) -> None:
    world.write("/f", 30)
    world.run(cmd.Copy("/f", "/copy"))
    world.write("/g", 7)
    world.run(cmd.Delete("/f"))
    world.run(cmd.Delete("/g"))
    world.clock.sleep(DAY_S)
    world.run(cmd.Delete("/copy"))
    world.clock.sleep(2 * DAY_S)
    world.run(cmd.MakeDirectory("/d"))
    days = judged(world, Policy(window_s=86_400)).days
    # What /f and /copy share counts once, and only when both are gone.
    assert [(day.history_bytes, day.let_go_bytes) for day in days] == [(7, 0), (37, 7), (37, 37)]
    assert days[0].oldest_txid == 1
    days = judged(world, Policy(window_s=30 * 86_400)).days
    assert [day.let_go_bytes for day in days] == [0, 0, 0]


def test_a_restore_of_many_records_is_charged_once_it_is_whole(world: World) -> None:
    world.settle(Internal(lambda _: FeatureLevelRaised(LEVEL_NEWEST)))
    world.run(cmd.MakeDirectory("/d"))
    world.write("/seed", 1)
    for some in range(0, 700, 100):
        world.run(*[cmd.Copy("/seed", f"/d/{n:03}") for n in range(some, some + 100)])
    at = world.txid
    world.run(cmd.Restore("/d", at, "/again"))
    began = world.txid
    world.write("/meanwhile", 1)
    policy = Policy((Quota("/again", max_files=600),))
    before = judged(world, policy)
    assert (before.unjudged, before.txid, before.quotas[0].files) == (3, began - 1, 0)
    world.settle(Internal(lambda _: WorkContinued(began, 500)))
    after = judged(world, policy)
    (found,) = after.quotas
    assert found.first is not None
    assert (found.files, found.refused, found.first.txid, after.unjudged) == (700, 1, began, 0)


@pytest.mark.parametrize("seed", range(3))
def test_usage_and_refusals_are_those_of_a_recount_at_every_moment(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "nn")
    try:
        world.settle(Internal(lambda _: FeatureLevelRaised(LEVEL_NEWEST)))
        _live(world, random.Random(seed))
        places = ["/", "/a", "/a/b", "/c", "/a/f1"]
        report = judged(world, Policy(tuple(Quota(p, 40, 2) for p in places)))
        assert report.records == world.txid
        with world.metadata.present() as present:
            for found in report.quotas:
                moments = [usage(present.past(t), found.path) for t in range(1, world.txid + 1)]
                assert (found.size_bytes, found.files) == moments[-1], found.path
                assert found.peak_bytes == max(m[0] for m in moments)
                assert found.peak_files == max(m[1] for m in moments)
                refused = [
                    t
                    for t, (was, now) in enumerate(pairwise(moments), start=2)
                    if (now[0] > 40 and now[0] > was[0]) or (now[1] > 2 and now[1] > was[1])
                ]
                assert found.refused == len(refused), (found.path, refused)
                assert (found.first.txid if found.first else None) == (refused[0] if refused else None)
        assert sum(found.refused for found in report.quotas) > 3
    finally:
        world.close()


def _live(world: World, dice: random.Random) -> None:
    names = ["/a", "/c", "/a/b", "/a/f1", "/a/b/f2", "/c/f3", "/f4", "/c/b", "/c/b/f2"]
    done = 0
    for _ in range(140):
        path, other = dice.choice(names), dice.choice(names)
        past = dice.randrange(4, world.txid + 1)
        try:
            match dice.randrange(8):
                case 0 | 1 | 2:
                    world.write(path, dice.randrange(60), overwrite=True)
                case 3:
                    world.run(cmd.MakeDirectory(path, parents=True), cmd.Copy("/f4", f"{path}/copy"))
                case 4:
                    world.run(cmd.Rename(path, other, overwrite=True))
                case 5:
                    world.run(cmd.Delete(path, recursive=True))
                case 6:
                    world.run(cmd.MakeDirectory(path, parents=True))
                case _:
                    world.run(cmd.Restore(dice.choice([path, path, "/"]), past, "", overwrite=True))
        except EsdfsError:
            continue
        done += 1
    assert done > 40
