"""An operator has everything looked at now: said when that is done, and what is left."""

from tests.unit.namenode.blocks.world import World


def test_everybody_is_asked_for_a_report_and_what_was_lost_is_made_anew(blocks: World) -> None:
    one, two, _three = blocks.join("dn-1", "dn-2", "dn-3")
    block_id = blocks.write(one, two)
    for node_id in ("dn-1", "dn-2"):
        blocks.report(node_id, stored=((block_id, 1, 10),))
    blocks.settle()
    assert blocks.manager.recheck(begin=False)["busy"] == ""
    told = blocks.manager.recheck(begin=True)
    assert told["busy"] == "DataNodes are to report"
    for node_id in ("dn-1", "dn-2", "dn-3"):
        assert blocks.heartbeat(node_id)["full_report"]
    blocks.wait(blocks.policy.hint_ms, "dn-1", "dn-2", "dn-3")
    blocks.report("dn-1", full=True, first=True, last=True, stored=((block_id, 1, 10),))
    blocks.report("dn-2", full=True, first=True, last=True)
    blocks.report("dn-3", full=True, first=True, last=True)
    blocks.settle()
    told = blocks.manager.recheck(begin=False)
    assert (told["busy"], told["left"]) == ("copies are being made", 1)
    (order,) = blocks.commands("dn-1", "replicate")
    blocks.report(order["targets"][0]["node_id"], stored=((block_id, 1, 10),))
    blocks.settle()
    told = blocks.manager.recheck(begin=False)
    assert (told["busy"], told["left"]) == ("", 0)


def test_what_nobody_can_mend_is_left_and_is_not_waited_for(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    for node_id in ("dn-1", "dn-2"):
        blocks.report(node_id, corrupt=((block_id, 1),))
    blocks.settle()
    told = blocks.manager.recheck(begin=False)
    assert (told["busy"], told["left"]) == ("", 1)
