"""How soon DataNodes are asked to come again."""

import pytest

from esdfs.namenode.blocks.beat import next_heartbeat_ms
from esdfs.namenode.blocks.policy import Policy
from tests.unit.namenode.blocks.world import World


def next_ms(blocks: World, node_id: str) -> int:
    return int(blocks.heartbeat(node_id)["next_ms"])


def test_who_makes_copies_comes_again_soon_and_the_others_as_usual(blocks: World) -> None:
    one, *_ = blocks.join("dn-1", "dn-2", "dn-3")
    assert next_ms(blocks, "dn-1") == 1_000
    blocks.write(one)
    (order,) = blocks.commands("dn-1", "replicate")
    assert next_ms(blocks, "dn-1") == 200
    target = order["targets"][0]["node_id"]
    assert next_ms(blocks, target) == 1_000
    blocks.obey("dn-1", order)
    assert next_ms(blocks, "dn-1") == 1_000


def test_while_a_datanode_is_about_to_be_dead_everybody_comes_soon(blocks: World) -> None:
    blocks.join("dn-1", "dn-2", "dn-3")
    blocks.wait(12_000, "dn-2", "dn-3")
    assert next_ms(blocks, "dn-2") == 1_000
    blocks.wait(2_000, "dn-2", "dn-3")
    assert next_ms(blocks, "dn-2") == 200
    blocks.wait(2_000, "dn-2", "dn-3")
    assert next_ms(blocks, "dn-2") == 200
    blocks.wait(3_000, "dn-2", "dn-3")
    assert next_ms(blocks, "dn-2") == 1_000


def test_a_namenode_that_orders_nothing_is_in_no_hurry(blocks: World) -> None:
    one, *_ = blocks.join("dn-1", "dn-2", "dn-3")
    blocks.write(one)
    assert blocks.commands("dn-1", "replicate")
    blocks.manager.leads(False)
    assert next_ms(blocks, "dn-1") == 1_000


@pytest.mark.parametrize(
    ("usual_ms", "datanodes", "expected_ms"),
    [
        pytest.param(1_000, 6, 200, id="few"),
        pytest.param(1_000, 250, 500, id="all of them together not too often"),
        pytest.param(1_000, 5_000, 1_000, id="never later than usual"),
        pytest.param(100, 6, 100, id="nor than settings say"),
    ],
)
def test_soon_depends_on_how_many_there_are(usual_ms: int, datanodes: int, expected_ms: int) -> None:
    policy = Policy(heartbeat_interval_ms=usual_ms)
    assert next_heartbeat_ms(policy, datanodes, awaited=True) == expected_ms
    assert next_heartbeat_ms(policy, datanodes, awaited=False) == usual_ms
