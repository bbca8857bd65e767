"""/datanodes/{node_id}/state: what the engine is asked, and how a DataNode is shown on its way."""

import asyncio

import msgspec
import pytest

from esdfs.namenode.blocks.admin import Admin
from esdfs.namenode.commands import SetDataNodeState
from tests.unit.namenode.rest.world import MTIME_US, World


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({"state": "in-service"}, SetDataNodeState("dn-1", "in-service")),
        (
            {"state": "decommissioning", "why": "old", "force": True},
            SetDataNodeState("dn-1", "decommissioning", why="old", force=True),
        ),
        ({"state": "maintenance", "for_s": 60}, SetDataNodeState("dn-1", "maintenance", for_s=60)),
        (
            {"state": "maintenance", "until": "2026-01-31T12:00:00.123456Z"},
            SetDataNodeState("dn-1", "maintenance", until_us=MTIME_US),
        ),
    ],
)
def test_an_operators_wish_reaches_the_engine(
    world: World, given: dict[str, object], command: SetDataNodeState
) -> None:
    world.engine.reply = [{"node_id": "dn-1", "state": command.state, "until_us": command.until_us}]
    answer = world.post("/datanodes/dn-1/state", given)
    assert answer.status_code == 200
    until = "2026-01-31T12:00:00.123456Z" if command.until_us else None
    assert (answer.json["state"], answer.json["until"]) == (command.state, until)
    assert world.engine.executed().commands == [command]


@pytest.mark.parametrize(
    "given", [{}, {"state": 1}, {"state": "x", "until": "soon"}, {"state": "x", "no": 1}]
)
def test_what_is_no_wish_is_refused_at_the_edge(world: World, given: dict[str, object]) -> None:
    assert world.post("/datanodes/dn-1/state", given).status_code == 400
    assert world.engine.calls == []


def test_a_datanode_is_shown_with_what_is_wanted_of_it_and_how_far_that_is(world: World) -> None:
    nodes = world.locations.nodes
    admin = Admin(
        state="maintenance",
        until_us=MTIME_US,
        why="a fan",
        blocks_left=3,
        unreadable=2,
        unreadable_first=(7, 9),
        files_open=1,
    )
    nodes[1] = msgspec.structs.replace(nodes[1], admin=admin)
    one, two, _ = world.get("/datanodes").json["datanodes"]
    assert (one["admin"], one["admin_until"], one["admin_why"]) == (
        "maintenance",
        "2026-01-31T12:00:00.123456Z",
        "a fan",
    )
    assert one["progress"] == {
        "blocks_left": 3,
        "unreadable": 2,
        "unreadable_first": ["7", "9"],
        "files_open": 1,
        "ready": False,
    }
    assert (two["admin"], two["admin_until"], two["progress"]) == ("in-service", None, None)
    lines = world.get("/metrics").text.splitlines()
    assert 'esdfs_datanode_blocks_left{node_id="dn-1"} 3.0' in lines
    assert 'esdfs_datanode_blocks_unreadable{node_id="dn-1"} 2.0' in lines
    assert 'esdfs_datanode_in_service{node_id="dn-1"} 0.0' in lines
    assert 'esdfs_datanode_in_service{node_id="dn-2"} 1.0' in lines


@pytest.mark.parametrize(("blocks", "yields"), [(10, False), (5_000, True)])
def test_a_large_page_of_a_report_leaves_as_much_time_to_others_as_it_took(
    world: World, monkeypatch: pytest.MonkeyPatch, blocks: int, yields: bool
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(delay_s: float) -> None:
        slept.append(delay_s)
        await sleep(delay_s)

    monkeypatch.setattr("esdfs.namenode.rest.datanodes.asyncio.sleep", note)
    world.engine.reply = {"epoch": 3}
    page = {"incarnation": 5, "stored": [[block_id, 1, 100] for block_id in range(1, blocks + 1)]}
    assert world.post("/datanodes/dn-1/blocks", page).status_code == 200
    assert any(delay_s > 0 for delay_s in slept) == yields
