from typing import Any

import pytest

from esdfs.errors import InvalidRequest
from esdfs.namenode.blocks.bodies import REPORT_ENTRIES_MAX
from esdfs.namenode.blocks.reports import FullReport, Verdict, judge
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord
from tests.unit.namenode.blocks.world import BLOCK_BYTES, World

RECORD = BlockRecord(1, 5, 10, 2, True)


@pytest.mark.parametrize(
    ("block_id", "generation", "record", "verdict"),
    [
        (3, 5, RECORD, Verdict.KNOWN),
        (3, 4, RECORD, Verdict.STALE),
        (3, 6, RECORD, Verdict.FUTURE),
        (3, 5, None, Verdict.ORPHAN),
        (10, 5, None, Verdict.FUTURE),
        (11, 5, None, Verdict.FUTURE),
        (12, 5, None, Verdict.ORPHAN),
        (14, 5, None, Verdict.FUTURE),
    ],
)
def test_what_a_reported_replica_is(
    block_id: int, generation: int, record: BlockRecord | None, verdict: Verdict
) -> None:
    assert judge(block_id, generation, record, Allocated(14, ((10, 12),))) is verdict


def test_what_a_full_report_does_not_name_is_gone_after_its_last_page(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    ids = [blocks.write(one, two) for _ in range(400)]
    blocks.report("dn-1", stored=[(block_id, 1, BLOCK_BYTES) for block_id in ids])
    kept = ids[::2]
    pages = [kept[:100], kept[100:]]
    for number, page in enumerate(pages):
        entries = [(block_id, 1, BLOCK_BYTES) for block_id in page]
        blocks.report("dn-1", full=True, first=number == 0, last=number == 1, stored=entries)
        blocks.settle()
        assert len(blocks.store.blocks_of(one, limit=1000)) == (400 if number == 0 else 200)
    assert blocks.store.blocks_of(one, limit=1000) == kept
    assert blocks.blocks()["under_replicated"] == 200


def test_a_full_report_made_before_a_write_does_not_refute_it(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two, reported=False)
    blocks.report("dn-1", full=True, first=True, last=True)
    blocks.settle()
    assert blocks.holders(block_id) == [one, two]
    # It never reports the copy it acknowledged: it is asked, and believed.
    blocks.wait(blocks.policy.hint_ms, "dn-1", "dn-2")
    blocks.manager.cleanup()
    assert blocks.heartbeat("dn-1")["full_report"]
    blocks.report("dn-1", full=True, first=True, last=True)
    blocks.settle()
    assert blocks.holders(block_id) == [two]


def test_what_only_the_journal_tells_of_justifies_no_deletion(blocks: World) -> None:
    """The file was written long ago and moved since; this NameNode was away and is told of it only now."""
    one, two, three, four = blocks.join("dn-1", "dn-2", "dn-3", "dn-4")
    block_id = blocks.write(one, two, reported=False)
    for number in (three, four):
        blocks.say(number, block_id)
    for node_id in ("dn-1", "dn-2"):
        blocks.report(node_id, full=True, first=True, last=True)
    orders = blocks.live(blocks.policy.hint_ms - 1_000, "dn-1", "dn-2", "dn-3", "dn-4")
    assert orders["delete"] == 0
    blocks.wait(2_000, "dn-1", "dn-2", "dn-3", "dn-4")
    blocks.manager.cleanup()
    for node_id in ("dn-1", "dn-2"):
        assert blocks.heartbeat(node_id)["full_report"]
        blocks.report(node_id, full=True, first=True, last=True)
    blocks.settle()
    assert blocks.holders(block_id) == [three, four]
    blocks.manager.cleanup()
    assert not blocks.heartbeat("dn-1")["full_report"]


def test_rot_that_is_found_before_the_file_is_complete_is_not_forgotten(blocks: World) -> None:
    one, two, _ = blocks.join("dn-1", "dn-2", "dn-3")
    block_id = blocks.allocate(one, two)
    for number in (one, two):
        blocks.say(number, block_id)
    blocks.settle()
    blocks.report("dn-1", corrupt=[(block_id, 1)])
    blocks.settle()
    blocks.complete(block_id, one, two)
    assert blocks.blocks()["under_replicated"] == 1


def test_what_a_dead_process_acknowledged_and_its_successor_does_not_name_is_gone_at_once(
    blocks: World,
) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two, reported=False)
    blocks.register("dn-1", incarnation=2)
    blocks.report("dn-1", incarnation=2, full=True, first=True, last=True)
    blocks.settle()
    assert blocks.holders(block_id) == [two]


def test_a_report_without_its_first_page_removes_nothing_and_is_asked_for_again(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    blocks.report("dn-1", full=True, last=True)
    blocks.settle()
    assert blocks.holders(block_id) == [one, two]
    assert blocks.heartbeat("dn-1")["full_report"]


def test_a_datanode_says_everything_at_registration_and_every_few_hours(blocks: World) -> None:
    blocks.register("dn-1")
    assert blocks.heartbeat("dn-1")["full_report"]
    blocks.join("dn-1")
    assert not blocks.heartbeat("dn-1")["full_report"]
    blocks.clock.now_ms += blocks.policy.full_report_every_ms
    assert blocks.heartbeat("dn-1")["full_report"]


def test_removed_and_corrupt_copies_count_no_more(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    gone, bad = blocks.write(one, two), blocks.write(one, two)
    blocks.report("dn-1", removed=[(gone, 1)], corrupt=[(bad, 1)])
    assert blocks.holders(gone) == [two]
    assert [replica.corrupt for replica in blocks.replicas(bad)] == [True, False]
    assert blocks.blocks()["under_replicated"] == 2


def test_a_removal_of_an_older_generation_does_not_touch_the_present_one(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    blocks.report("dn-1", removed=[(block_id, 0)])
    assert blocks.holders(block_id) == [one, two]


def test_a_block_we_never_allocated_is_an_alarm_and_never_deleted(blocks: World) -> None:
    blocks.join("dn-1", "dn-2")
    blocks.report("dn-1", stored=[(999, 1, 1)])
    for _ in range(5):
        blocks.wait(60_000, "dn-1", "dn-2")
        assert blocks.commands("dn-1", "delete") == []
    (alarm,) = blocks.manager.status()["alarms"]
    assert (alarm["block_id"], alarm["generation"], alarm["node_id"]) == ("999", 1, "dn-1")
    assert alarm["why"] == "its block was never allocated: the journal's next one is 1"
    assert blocks.manager.status()["alarm_count"] == 1


def test_what_a_datanode_has_that_was_never_allocated_is_passed_over_and_stays_an_alarm(
    blocks: World,
) -> None:
    blocks.join("dn-1", "dn-2")
    assert blocks.manager.foreign_below == 0
    blocks.report("dn-1", stored=[(7, 1, 1), (5, 1, 1), (1 << 50, 1, 1)])
    blocks.settle()
    assert blocks.manager.foreign_below == 8
    blocks.index.next_id, blocks.index.skipped = 9, ((1, 8),)
    for _ in range(3):
        blocks.wait(60_000, "dn-1", "dn-2")
        assert blocks.commands("dn-1", "delete") == []
    blocks.report("dn-1", stored=[(5, 1, 1)])
    blocks.wait(60_000, "dn-1", "dn-2")
    assert blocks.commands("dn-1", "delete") == []
    alarms = blocks.manager.status()["alarms"]
    assert [alarm["block_id"] for alarm in alarms] == ["5", "7", str(1 << 50)]
    assert alarms[0]["why"] == "its block was never allocated: the journal passed its id over, and keeps it"


def test_a_datanode_that_registers_says_which_ids_it_has_before_its_first_report(blocks: World) -> None:
    blocks.index.next_id = 50
    blocks.register("dn-1", highest_block_id=49)
    assert blocks.manager.foreign_below == 0
    blocks.register("dn-2", highest_block_id=70)
    assert blocks.manager.foreign_below == 71


def test_an_alarm_ends_when_a_full_report_names_its_replica_no_more(blocks: World) -> None:
    blocks.join("dn-1", "dn-2")
    blocks.report("dn-1", stored=[(998, 1, 1), (999, 1, 1)])
    blocks.report("dn-2", stored=[(998, 1, 1)])
    blocks.wait(1_000, "dn-1", "dn-2")
    blocks.report("dn-1", full=True, first=True, stored=[(999, 1, 1)])
    blocks.wait(1_000, "dn-1", "dn-2")
    blocks.report("dn-1", stored=[(997, 1, 1)])
    blocks.report("dn-1", full=True, last=True)
    blocks.settle()
    alarms = blocks.manager.status()["alarms"]
    told = [(alarm["block_id"], alarm["node_id"]) for alarm in alarms]
    assert told == [("997", "dn-1"), ("998", "dn-2"), ("999", "dn-1")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stored", [["x", 1, 1]]),
        ("stored", [[1, 1]]),
        ("stored", [[-1, 1, 1]]),
        ("stored", [[0, 1, 1]]),
        ("stored", [[1 << 63, 1, 1]]),
        ("stored", [[1, -1, 1]]),
        ("stored", [[1, 1, -1]]),
        ("removed", [[-1, 1]]),
        ("removed", [[1, -1]]),
        ("corrupt", [[-1, 1]]),
        ("corrupt", [[1, (1 << 64) - 1]]),
        ("failed_replications", [[-1, 1, "dn-2"]]),
        ("failed_replications", [[1, 1, ""]]),
        ("failed_replications", [[1, 1, "d" * 256]]),
        ("removed", [[1, 1]] * (REPORT_ENTRIES_MAX + 1)),
        ("incarnation", -1),
        ("seq", -1),
        ("epoch", 1 << 63),
    ],
)
def test_a_report_that_is_not_one_is_refused(blocks: World, field: str, value: Any) -> None:
    blocks.join("dn-1")
    block_id = blocks.write(1)
    with pytest.raises(InvalidRequest, match=field):
        blocks.report("dn-1", **{"full": True, "first": True, "last": True, field: value})
    blocks.settle()
    assert blocks.holders(block_id) == [1], "nothing of it was applied"


def test_what_a_page_of_ids_has_that_a_full_report_does_not_name() -> None:
    report = FullReport(0, 1)
    report.page([9, 2, 5])
    report.seal()
    assert report.absent([1, 2, 3, 5, 9, 10]) == [1, 3, 10]
    assert report.absent([2, 5]) == []
    assert report.absent([11]) == [11]
