"""Every replica has one state, and a reason unless a present file needs it."""

import pytest

from esdfs.blocks import DataNodeStatus
from esdfs.namenode.blocks.admin import Admin
from esdfs.namenode.blocks.unplaced import Found
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord
from esdfs.namenode.rest.replica_states import Need, judge, judge_unplaced
from tests.unit.namenode.rest.world import Copy, Node

RECORD = BlockRecord(1, 5, 10, 2, True)
NEXT = 100
GIVEN_OUT = Allocated(NEXT, ((50, 60),))


def node(number: int, *, status: DataNodeStatus = DataNodeStatus.ACTIVE, admin: str = "in-service") -> Node:
    return Node(number=number, node_id=f"dn-{number}", address="", status=status, admin=Admin(state=admin))


NODES = {
    1: node(1),
    2: node(2),
    3: node(3),
    4: node(4, status=DataNodeStatus.DEAD),
    5: node(5, admin="decommissioning"),
    6: node(6, status=DataNodeStatus.MAINTENANCE, admin="maintenance"),
}


def states(
    *copies: Copy, record: BlockRecord | None = RECORD, present: bool = True, id_: int = 7
) -> list[str]:
    return [found.state for found in judge(id_, Need(record, 2, present), copies, NODES, GIVEN_OUT)]


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        ([Copy(1, 5), Copy(2, 5)], ["needed", "needed"]),
        ([Copy(1, 5), Copy(2, 5), Copy(3, 5)], ["needed", "needed", "surplus"]),
        ([Copy(1, 4), Copy(2, 5), Copy(3, 5)], ["stale", "needed", "needed"]),
        ([Copy(1, 5, corrupt=True), Copy(2, 5), Copy(3, 5)], ["corrupt", "needed", "needed"]),
        ([Copy(4, 5), Copy(2, 5), Copy(3, 5)], ["unreachable", "needed", "needed"]),
        ([Copy(9, 5), Copy(2, 5)], ["unreachable", "needed"]),
        ([Copy(1, 6), Copy(2, 5)], ["ahead", "needed"]),
        ([Copy(5, 5), Copy(2, 5), Copy(3, 5)], ["surplus", "needed", "needed"]),
        ([Copy(5, 5), Copy(2, 5)], ["needed", "needed"]),
        ([Copy(6, 5), Copy(2, 5)], ["needed", "needed"]),
    ],
    ids=str,
)
def test_each_copy_of_a_present_files_block_has_its_state(copies: list[Copy], expected: list[str]) -> None:
    assert states(*copies) == expected


def test_what_only_the_past_shows_is_historical_and_too_much_of_it_surplus() -> None:
    copies = (Copy(1, 5), Copy(2, 5), Copy(3, 5), Copy(4, 5))
    assert states(*copies, present=False) == ["historical", "historical", "surplus", "unreachable"]


def test_what_nothing_knows_is_an_orphan_below_the_allocation_counter_and_an_alarm_from_it_on() -> None:
    assert states(Copy(1, 5), record=None, present=False) == ["orphan"]
    assert states(Copy(1, 5), record=None, present=False, id_=NEXT - 1) == ["orphan"]
    assert states(Copy(1, 5), Copy(4, 5), record=None, present=False, id_=NEXT) == ["ahead", "ahead"]
    assert states(Copy(1, 5), record=None, present=False, id_=59) == ["ahead"]


@pytest.mark.parametrize(
    ("found", "state", "why"),
    [
        (Found(1, NEXT, 1), "ahead", f"never allocated: the journal's next one is {NEXT}"),
        (Found(1, 50, 1), "ahead", "never allocated: the journal passed its id over"),
        (Found(1, 5, 9), "ahead", "its generation is later than the journal's"),
        (Found(1, 5, 1, "orphan", 60_000), "orphan", "no file that is known ever named its block"),
        (
            Found(1, 5, 1, "purged", 1_500),
            "orphan",
            "history that showed it is forgotten; to be deleted in 2 s",
        ),
        (Found(1, 5, 1, "given up"), "orphan", "gave the block up; to be deleted by its DataNode's next"),
        (Found(1, 5, 1, "purged", 0, sent=True), "orphan", "its deletion was ordered"),
    ],
)
def test_what_locations_do_not_tell_is_an_alarm_or_waits_for_its_deletion(
    found: Found, state: str, why: str
) -> None:
    judged = judge_unplaced(found, GIVEN_OUT)
    assert judged.state == state
    assert why in judged.why
