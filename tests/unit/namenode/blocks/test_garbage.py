import pytest

from tests.unit.namenode.blocks.world import BLOCK_BYTES, World


def test_an_aborted_files_blocks_are_deleted_where_they_were_promised(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.allocate(one, two)
    blocks.report("dn-1", stored=[(block_id, 1, BLOCK_BYTES)])
    blocks.abort(block_id)
    for node_id in ("dn-1", "dn-2"):
        assert blocks.commands(node_id, "delete") == [
            {"kind": "delete", "block_id": str(block_id), "generation": 1}
        ]
    assert blocks.holders(block_id) == []


def test_an_orphan_is_deleted_after_its_grace(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.allocate(one, two)
    del blocks.index.records[block_id]
    blocks.report("dn-1", stored=[(block_id, 1, BLOCK_BYTES)])
    assert blocks.commands("dn-1", "delete") == []
    blocks.wait(9_000)
    assert blocks.commands("dn-1", "delete") == []
    blocks.wait(1_000)
    assert len(blocks.commands("dn-1", "delete")) == 1
    assert blocks.commands("dn-1", "delete") == []


def test_what_the_namespace_knows_again_is_not_deleted(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.allocate(one, two)
    record = blocks.index.records.pop(block_id)
    blocks.report("dn-1", stored=[(block_id, 1, BLOCK_BYTES)])
    blocks.index.records[block_id] = record
    blocks.wait(10_000)
    assert blocks.commands("dn-1", "delete") == []


def test_garbage_that_may_not_exist_is_forgotten_and_garbage_that_does_is_not(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.allocate(one, two)
    blocks.report("dn-1", stored=[(block_id, 1, BLOCK_BYTES)])
    blocks.abort(block_id)
    sent = {"dn-1": 0, "dn-2": 0}
    for _ in range(6):
        for node_id in sent:
            sent[node_id] += len(blocks.commands(node_id, "delete"))
        blocks.wait(blocks.policy.delete_answer_ms, "dn-1", "dn-2")
        blocks.manager.cleanup()
    assert sent["dn-2"] <= 3
    assert blocks.manager.status()["queues"]["delete_given_up"] == 1
    assert blocks.heartbeat("dn-1")["full_report"]
    blocks.report("dn-1", full=True, first=True, last=True)
    blocks.settle()
    assert blocks.manager.status()["queues"]["delete_given_up"] == 0


def test_garbage_of_our_predecessor_is_found_again(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    # The abort was committed, and the process died before it could tell the block manager.
    del blocks.index.records[block_id]
    blocks.restart()
    blocks.join("dn-1", "dn-2", stored=[block_id])
    blocks.clock.now_ms += blocks.policy.orphan_grace_ms
    assert len(blocks.commands("dn-1", "delete")) == 1
    assert blocks.holders(block_id) == []


def released(blocks: World, *block_ids: int) -> None:
    """History forgot them: the namespace does, and says so."""
    for block_id in block_ids:
        del blocks.index.records[block_id]
    blocks.manager.on_released(block_ids)
    blocks.manager.tick()


def test_what_history_forgot_is_deleted_after_its_grace(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    released(blocks, block_id)
    assert blocks.holders(block_id) == []
    blocks.wait(blocks.policy.purge_grace_ms - 1_000)
    assert blocks.commands("dn-1", "delete") == []
    blocks.wait(1_000)
    for node_id in ("dn-1", "dn-2"):
        assert len(blocks.commands(node_id, "delete")) == 1
        blocks.report(node_id, removed=[(block_id, 1)])
    assert blocks.manager.status()["queues"]["delete_purged"] == 0


def test_many_released_blocks_are_worked_through_in_slices(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    written = [blocks.write(one, two) for _ in range(20)]
    for block_id in written:
        del blocks.index.records[block_id]
    blocks.manager.on_released(written)
    assert blocks.manager.status()["queues"]["released"] == len(written)
    while blocks.manager.status()["queues"]["released"]:
        blocks.manager.tick()
    assert blocks.manager.status()["queues"]["delete_purged"] == 2 * len(written)


def test_a_follower_orders_none_of_it_and_forgets_it_when_it_is_done(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    blocks.manager.leads(leading=False)
    released(blocks, block_id)
    blocks.wait(blocks.policy.purge_grace_ms)
    assert blocks.commands("dn-1", "delete") == []
    for node_id in ("dn-1", "dn-2"):
        blocks.report(node_id, removed=[(block_id, 1)])
    assert blocks.manager.status()["queues"]["delete_purged"] == 0


def test_what_was_released_before_a_crash_is_found_again_with_its_grace(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    block_id = blocks.write(one, two)
    released(blocks, block_id)
    blocks.restart()
    blocks.join("dn-1", "dn-2", stored=[block_id])
    assert blocks.commands("dn-1", "delete") == []
    blocks.wait(blocks.policy.purge_grace_ms)
    assert len(blocks.commands("dn-1", "delete")) == 1


def test_garbage_that_cannot_be_ordered_away_yet_waits_for_its_turn(
    blocks: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.namenode.blocks.garbage.ORDERS_MAX", 10)
    one, _ = blocks.join("dn-1", "dn-2")
    released = [blocks.write(one, replication=1) for _ in range(50)]
    blocks.settle()
    for block_id in released:
        del blocks.index.records[block_id]
    blocks.manager.on_released(released)
    orders = blocks.live(blocks.policy.purge_grace_ms + 120_000, "dn-1", "dn-2")
    assert orders["delete"] == 50
    assert blocks.store.blocks_of(one, limit=100) == []
