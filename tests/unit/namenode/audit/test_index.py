"""What the index knows of each record, on disk or not yet: paths then, old and new, whose story it is."""

import shutil
from collections.abc import Iterator

import pytest

from esdfs.namenode import commands as cmd
from esdfs.namenode.audit.changes import Change
from esdfs.namenode.audit.questions import Question, find, inodes_at, seen_from
from esdfs.namenode.events import Kind
from tests.unit.namenode.audit.world import Audited
from tests.unit.namenode.world import World, asking


@pytest.fixture
def audited(world: World) -> Iterator[Audited]:
    made = Audited(world)
    made.index()
    yield made
    made.journal.close()


def kinds(found: list[tuple[int, Change]]) -> list[str]:
    return [Kind(change.kind).name for _, change in found]


def test_a_change_says_what_was_old_and_what_is_new(audited: Audited) -> None:
    audited.world.write("/f", 10)
    audited.world.run(cmd.SetAttributes("/f", mode=0o600, owner="bob"))
    audited.world.write("/f", 20, overwrite=True)
    fields = {Kind(one.kind).name: {name: (old, new) for name, old, new in one.fields}
              for _, one in reversed(audited.about("/f"))}  # fmt: skip
    assert fields["ATTRIBUTES_SET"] == {"mode": ("0644", "0600"), "owner": ("ann", "bob")}
    assert fields["FILE_COMPLETED"]["size_bytes"] == (10, 20)


def test_a_story_goes_through_renames_deletion_and_restoration(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/d"))
    world.write("/d/f")
    world.run(cmd.Rename("/d/f", "/d/g"))
    before = world.txid
    world.run(cmd.Delete("/d/g"))
    world.run(cmd.Restore("/d/g", before))
    found = audited.about("/d/g")
    assert kinds(found) == ["FILE_LINKED", "DELETED", "RENAMED", "FILE_COMPLETED", "FILE_OPENED"]
    assert [(one.old_path, one.path) for _, one in found][1:3] == [("/d/g", None), ("/d/f", "/d/g")]


def test_what_befalls_a_directory_befalls_what_is_below_it_and_nothing_after_that(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/a/b", parents=True))
    world.write("/a/b/f")
    world.run(cmd.Rename("/a", "/c"))
    world.run(cmd.Delete("/c/b", recursive=True))
    end = world.txid
    world.run(cmd.Rename("/c", "/e"))
    found = audited.about("/c/b/f")
    assert kinds(found) == ["DELETED", "RENAMED", "FILE_COMPLETED", "FILE_OPENED"]
    assert found[0][0] == end


def test_a_restored_tree_is_part_of_the_story_of_what_is_in_it(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/a/b", parents=True))
    world.write("/a/b/f")
    before = world.txid
    world.run(cmd.Restore("/a", before, "/copy"))
    linked = world.txid
    with world.snapshot() as view:
        inode = view.resolve("/copy").inode
    assert [txid for txid, _ in audited.about("/copy")] == [linked]
    assert audited.about("/a")[0][0] == linked
    assert audited.about("/copy", inodes=(inode + 2,))[0][0] == linked


def test_everything_below_a_directory_at_the_time_is_found(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/a/b", parents=True))
    world.run(cmd.MakeDirectory("/z"))
    world.write("/a/b/f")
    world.run(cmd.Rename("/a/b/f", "/z/f"))
    moved = world.txid
    world.run(cmd.SetAttributes("/z/f", mode=0o600))
    found = audited.about("/a", below=True)
    assert found[0][0] == moved
    assert {one.path for _, one in found} == {"/a", "/a/b", "/a/b/f", "/z/f"}


def test_questions_by_person_kind_and_time_narrow_each_other(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/a"))
    first = world.txid
    world.run(cmd.MakeDirectory("/b"))
    world.run(cmd.SetAttributes("/a", mode=0o700))
    assert kinds(audited.about("/a", principal="ann")) == ["ATTRIBUTES_SET", "DIRECTORY_MADE"]
    assert audited.about("/a", principal="bob") == []
    assert kinds(audited.about("/a", kinds=frozenset({int(Kind.ATTRIBUTES_SET)}))) == ["ATTRIBUTES_SET"]
    assert kinds(audited.about("/a", since=first + 1)) == ["ATTRIBUTES_SET"]
    assert kinds(audited.about("/", inodes=(), principal="ann", until=first)) == ["DIRECTORY_MADE"]


def test_a_feed_of_a_directory_is_by_component_and_sees_moves_in_out_and_above(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/p/a/b", parents=True))
    for path in ("/p/ab", "/p/x"):
        world.run(cmd.MakeDirectory(path))
    start = world.txid + 1
    wanted = []
    world.run(cmd.MakeDirectory("/p/ab/no"))
    for command in (
        cmd.MakeDirectory("/p/a/yes"),
        cmd.Rename("/p/ab", "/p/a/in"),
        cmd.Rename("/p/a/b", "/p/x/out"),
        cmd.Rename("/p", "/q"),
    ):
        world.run(command)
        wanted.append(world.txid)
    world.run(cmd.MakeDirectory("/q/a/no"))
    assert [txid for txid, _ in audited.feed("/p/a", first=start)] == wanted
    assert [txid for txid, _ in audited.feed("/p/a", int(Kind.RENAMED), first=start)] == wanted[1:]


def test_one_transaction_tells_each_of_its_changes(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/t"), cmd.MakeDirectory("/t/x"), cmd.Rename("/t", "/u"))
    told = [(Kind(one.kind).name, one.old_path, one.path) for _, one in audited.feed(first=world.txid)]
    assert told == [
        ("DIRECTORY_MADE", None, "/t"),
        ("DIRECTORY_MADE", None, "/t/x"),
        ("RENAMED", "/t", "/u"),
    ]
    assert [one.path for _, one in audited.feed("/u", first=world.txid)] == ["/u"]


def test_an_index_on_disk_says_the_same_as_one_made_while_reading(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/a/b", parents=True))
    world.write("/a/f", 10)
    world.write("/a/f", 30, overwrite=True)
    world.run(cmd.Rename("/a", "/c"))
    in_memory = audited.feed(), audited.about("/c/f"), audited.about("/c", below=True)
    assert audited.index() > 0
    assert audited.index() == 0
    assert (audited.feed(), audited.about("/c/f"), audited.about("/c", below=True)) == in_memory


def test_a_file_given_up_while_it_was_written_keeps_its_path(audited: Audited) -> None:
    world = audited.world
    opened = world.run(cmd.CreateFile("/f", "lease", blocks=1))
    world.run(cmd.AbortFile(opened["inode"], "lease"))
    assert kinds(audited.feed("/f")) == ["FILE_OPENED", "FILE_ABORTED"]


def test_after_a_gap_paths_come_from_the_projection_and_the_answer_says_since_when(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/a/b", parents=True))
    world.run(cmd.Rename("/a", "/c"))
    gap = world.txid
    world.journal.compact(world.journal.head().last_txid, limit=1000)
    shutil.rmtree(world.config.path / "audit.mdb")
    world.run(cmd.MakeDirectory("/c/b/x"))
    assert audited.index() == 2  # the last record is never compacted
    assert [one.path for _, one in audited.feed("/c", first=gap + 1)] == ["/c/b/x"]
    with audited.rows() as (rows, _):
        assert seen_from(rows) == gap


def test_a_question_about_one_path_in_a_long_journal_reads_its_records_only(audited: Audited) -> None:
    """Through REST's own look-up: of 50,000 records, the three asked for and the one before each."""
    world = audited.world
    world.run(cmd.MakeDirectory("/busy"))
    opened = world.txid + 1
    world.write("/busy/f")
    for number in range(200):
        world.settle(*(asking(cmd.MakeDirectory(f"/busy/d{number}-{n}")) for n in range(250)))
    world.run(cmd.SetAttributes("/busy/f", mode=0o600))
    audited.index()
    audited.journal.rows = 0
    found = audited.look("/busy/f")
    assert [entry.txid for _, entry, _ in found.entries if entry] == [world.txid, opened + 1, opened]
    assert len(found.before) == 3
    assert found.next is None
    assert audited.journal.rows <= 6


def test_a_question_that_few_of_many_records_fit_is_answered_in_bounded_steps(audited: Audited) -> None:
    world = audited.world
    world.run(cmd.MakeDirectory("/busy"))
    for number in range(30):
        world.run(cmd.MakeDirectory(f"/busy/{number}"))
    with audited.rows() as (rows, until):
        rare = Question(inodes_at(rows, ["busy"]), below=True, principal="bob", until=until)
        steps = []
        after: int | None = until + 1
        while after is not None:
            found, after = find(rows, rare._replace(until=after - 1), limit=5, steps_max=10)
            steps.append(found)
    assert steps == [[], [], [], []]
