"""What operators want of DataNodes: journaled, refused where it would stop writing, over by itself."""

from typing import Any

import pytest

from esdfs.errors import InvalidRequest, NotFound, TooFewServing, UpgradeNeeded
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.namespace.datanode_states import MAINTENANCE_S_MAX, holds
from tests.unit.namenode.world import World

SECOND_US = 1_000_000


def wish(world: World, number: int = 1) -> ev.DataNodeStateSet | None:
    with world.metadata.present() as view:
        return view.datanode_state(number)


def want(world: World, state: str, node_id: str = "dn-1", **more: Any) -> object:
    world.placer.live = 3
    return world.run(cmd.SetDataNodeState(node_id, state, **more))


def test_a_state_is_kept_over_a_restart_and_a_rebuild(world: World) -> None:
    want(world, "decommissioning", why="an old disk")
    kept = ev.DataNodeStateSet(1, "dn-1", "decommissioning", 0, "an old disk")
    assert wish(world) == kept
    world.close()
    world.open()
    assert wish(world) == kept
    world.close()
    world.open(anew=True)
    assert wish(world) == kept
    assert wish(world, 2) is None


def test_a_maintenance_ends_by_its_deadline_without_a_record(world: World) -> None:
    want(world, "maintenance", for_s=60)
    kept = wish(world)
    assert kept is not None
    assert holds(kept, kept.until_us - 1)
    assert not holds(kept, kept.until_us)


def test_what_is_so_already_is_not_journaled_again(world: World) -> None:
    txid = world.txid
    assert want(world, "in-service") == {"node_id": "dn-1", "state": "in-service", "until_us": 0}
    assert world.txid == txid
    want(world, "maintenance", for_s=60)
    txid = world.txid
    world.clock.now_us += 61 * SECOND_US
    want(world, "in-service")
    assert world.txid == txid, "its deadline has ended it"
    want(world, "decommissioning")
    txid = world.txid
    want(world, "decommissioning")
    assert world.txid == txid
    want(world, "in-service")
    assert world.txid == txid + 1


def test_too_few_left_in_service_are_refused_unless_one_insists(world: World) -> None:
    world.placer.live = 2
    for state, for_s in (("decommissioning", 0), ("maintenance", 60)):
        with pytest.raises(TooFewServing, match="without dn-1 1 DataNodes would serve, a new file needs 2"):
            world.run(cmd.SetDataNodeState("dn-1", state, for_s))
    assert wish(world) is None
    world.run(cmd.SetDataNodeState("dn-1", "decommissioning", force=True))
    assert wish(world) is not None


def test_what_is_not_understood_is_refused_and_says_what_to_do(world: World) -> None:
    refused: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("gone", {}, "state must be"),
        ("maintenance", {}, "either for_s or until"),
        ("maintenance", {"for_s": 1, "until_us": 1 << 60}, "either for_s or until"),
        ("maintenance", {"for_s": MAINTENANCE_S_MAX + 1}, "within 30 days"),
        ("maintenance", {"until_us": 1}, "after now"),
        ("decommissioning", {"for_s": 1}, "no deadline"),
        ("decommissioning", {"why": "two\nlines"}, "one line"),
    )
    for state, more, why in refused:
        with pytest.raises(InvalidRequest, match=why):
            want(world, state, **more)
    with pytest.raises(NotFound, match="dn-9"):
        want(world, "decommissioning", "dn-9")


def test_a_cluster_that_older_releases_may_join_keeps_no_states(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.namenode.namespace.datanode_states.LEVEL_STATES", 99)
    with pytest.raises(UpgradeNeeded, match="esdfs upgrade finalize"):
        want(world, "decommissioning")
