"""What random faults hit too rarely: an order to delete that is still to happen while another is considered.

In each, a block of two copies has three. A leader has dn-3 delete its copy, and dn-3 takes its time; then
dn-2 becomes the fullest. Whoever counts on dn-3 now has dn-2 delete its own, and one copy is left.
"""

from collections.abc import Callable

from tests.sim.blocks.namenode import SimNameNode
from tests.sim.blocks.stage import NODES, Stage, stage
from tests.sim.checkers import InvariantBrokenError

OTHERS = ("dn-1", "dn-2", "dn-4")


def _leads(on: Stage, leader: SimNameNode) -> None:
    """It has heard of all and gives orders."""
    on.until(lambda: not leader.manager.replicator.stopped, to=leader)


def _one_too_many(on: Stage, leader: SimNameNode, other: SimNameNode) -> int:
    """dn-3 has taken the leader's order, and dn-2 would be chosen now, as the other one knows, too."""
    _leads(on, leader)
    for name in NODES:
        on.speak(name, to=other)
    on.block("dn-3", "dn-4")
    block_id = on.block("dn-1", "dn-2", "dn-3")
    on.until(lambda: on.node("dn-3").holds("delete"), to=leader)
    for name in ("dn-1", "dn-4", "dn-4"):
        on.block("dn-2", name)
    for name in NODES:
        on.speak(name, to=other)
    return block_id


def _without_dn_3(on: Stage, leader: SimNameNode) -> None:
    """It has not heard of the leader, and all others have reported to that one."""
    for _ in range(4):
        on.speak(*OTHERS, to=leader)
    assert not on.node("dn-2").holds("delete"), "nobody knows yet what dn-3 will do"


def _ends_well(on: Stage, block_id: int, leader: SimNameNode) -> None:
    """dn-3 wakes up, and with time everything is as it should be."""
    for _ in range(40):
        for name in NODES:
            on.node(name).obey()
        on.speak(*NODES, to=leader)
    assert len(on.copies(block_id)) == 2


def a_deposed_leaders_order(on: Stage) -> None:
    """The second one hears from all, in its own epoch, that they have it: who has heard it obeys no other."""
    block_id = _one_too_many(on, on.first, on.second)
    on.cluster.elect(on.second)
    on.until(lambda: on.node("dn-2").holds("delete"), to=on.second, at_most_s=8)
    _ends_well(on, block_id, on.second)
    assert on.stats["fenced"] > 0


def a_report_from_before_the_election(on: Stage) -> None:
    """dn-3 is in the middle of a full report while the second one is elected, and has not heard of it."""
    block_id = _one_too_many(on, on.first, on.second)
    link = on.link("dn-3", on.second)
    link._full_due = True
    pages = link._report()
    next(pages)
    on.cluster.elect(on.second)
    for _ in pages:
        pass
    _without_dn_3(on, on.second)
    _ends_well(on, block_id, on.second)


def what_a_follower_heard(on: Stage) -> None:
    """All have reported to the second one while it followed."""
    block_id = _one_too_many(on, on.first, on.second)
    on.cluster.elect(on.second)
    _without_dn_3(on, on.second)
    _ends_well(on, block_id, on.second)


def elected_again_without_knowing_of_another(on: Stage) -> None:
    """The first one is elected again, and never heard of the second one, whose order dn-3 has taken."""
    _leads(on, on.first)
    on.first.cut_off = True
    on.cluster.elect(on.second)
    block_id = _one_too_many(on, on.second, on.first)
    on.cluster.elect(on.first)
    _without_dn_3(on, on.first)
    _ends_well(on, block_id, on.first)


def old_news_for_who_was_away(on: Stage) -> None:
    """While the second one was down a block was written, and moved. It is told where it was written."""
    _leads(on, on.first)
    on.speak(*NODES, to=on.second)
    on.second.crash()
    block_id = on.complete("dn-1", "dn-2")
    for old, new in (("dn-1", "dn-3"), ("dn-2", "dn-4")):
        on.node(new).store(block_id)
        on.node(old).lose(block_id)
    for name in ("dn-3", "dn-4"):
        on.node(name).capacity_blocks //= 100
    on.second.boot(fresh=True)
    on.cluster.elect(on.second)
    for _ in range(90):
        on.speak(*NODES, to=on.second)
        for name in NODES:
            on.node(name).obey()
    assert on.copies(block_id) == {"dn-3", "dn-4"}


def an_order_that_is_late(on: Stage) -> None:
    """The leader asks dn-3 what became of its order, and dn-3 still has the copy: the order is void."""
    block_id = _one_too_many(on, on.first, on.second)
    on.until(lambda: on.node("dn-2").holds("delete"), to=on.first)
    _ends_well(on, block_id, on.first)
    assert on.stats["expired"] > 0


STORIES: dict[str, Callable[[Stage], None]] = {
    story.__name__.replace("_", "-"): story
    for story in (
        a_deposed_leaders_order,
        a_report_from_before_the_election,
        what_a_follower_heard,
        elected_again_without_knowing_of_another,
        old_news_for_who_was_away,
        an_order_that_is_late,
    )
}


def tell(name: str, mutant_name: str = "") -> str:
    """Which invariant broke, and how; "" when none did.

    Raises:
        AssertionError: The story does not go as it was meant to.
    """
    with stage(mutant_name) as on:
        try:
            STORIES[name](on)
        except InvariantBrokenError as error:
            return str(error)
    return ""
