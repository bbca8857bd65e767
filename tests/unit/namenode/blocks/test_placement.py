import msgspec
import pytest

from esdfs.errors import NotEnoughDataNodes
from esdfs.namenode.blocks.manager import NeedsJournal
from esdfs.namenode.blocks.placement import Candidate, choose
from tests.unit.namenode.blocks.world import BLOCK_BYTES, Index, SeededRng, World


def place(world: World, replication: int = 2, exclude: set[str] | None = None) -> tuple[int, ...]:
    (targets,) = world.manager.place(1, replication, exclude or set(), BLOCK_BYTES)
    return targets


def test_copies_go_to_distinct_datanodes_and_hosts_first(blocks: World) -> None:
    a, b = blocks.register("dn-1", host="x"), blocks.register("dn-2", host="x")
    c = blocks.register("dn-3", host="y")
    for targets in blocks.manager.place(50, 2, set(), BLOCK_BYTES):
        assert c in targets
    for targets in blocks.manager.place(50, 3, set(), BLOCK_BYTES):
        assert sorted(targets) == [a, b, c]


def test_free_space_and_load_decide_how_often_one_is_chosen() -> None:
    rng = SeededRng(1)
    among = [Candidate(1, "a", 900, 0), Candidate(2, "b", 100, 0), Candidate(3, "c", 900, 8)]
    first = [choose(among, 1, rng)[0] for _ in range(2000)]
    assert first.count(1) > 5 * first.count(2) > 0
    assert first.count(1) > 5 * first.count(3) > 0


def test_the_late_the_full_and_the_excluded_get_nothing(blocks: World) -> None:
    blocks.join("dn-1", "dn-2", "dn-3", "dn-4", "dn-5")
    blocks.heartbeat("dn-2", available_space=BLOCK_BYTES - 1)
    blocks.want("dn-3", "maintenance", 60_000)
    assert {n for _ in range(20) for n in place(blocks, exclude={"dn-1"})} == {4, 5}
    blocks.wait(6_000, "dn-1", "dn-4")
    assert set(place(blocks)) == {1, 4}


def test_promises_use_up_room_until_they_are_kept_but_never_more_than_half(blocks: World) -> None:
    one, two = blocks.join("dn-1", "dn-2")
    blocks.heartbeat("dn-1", available_space=3 * BLOCK_BYTES // 2)
    blocks.heartbeat("dn-2", available_space=8 * BLOCK_BYTES)
    block_id = blocks.allocate(one, two)
    with pytest.raises(NotEnoughDataNodes, match="1 with room"):
        place(blocks)
    blocks.complete(block_id, one, two)
    assert set(place(blocks)) == {one, two}
    blocks.heartbeat("dn-1", available_space=2 * BLOCK_BYTES)
    for _ in range(9):
        blocks.allocate(one, two)
    assert set(place(blocks)) == {one, two}


def test_below_the_minimum_writes_are_refused_and_the_message_says_what_to_do(blocks: World) -> None:
    blocks.join("dn-1")
    with pytest.raises(NotEnoughDataNodes, match="1 live DataNodes, 2 needed for 2 copies: start more"):
        place(blocks)
    blocks.join("dn-2")
    assert len(place(blocks, 3)) == 2
    with pytest.raises(NotEnoughDataNodes, match="1 excluded by the writer"):
        place(blocks, exclude={"dn-2"})


def test_a_degraded_cluster_writes_what_it_can(tmp_path_factory: pytest.TempPathFactory) -> None:
    world = World(tmp_path_factory.mktemp("blocks"), index=Index(allow_degraded=True))
    with pytest.raises(NotEnoughDataNodes, match="0 live"):
        place(world)
    world.join("dn-1")
    assert place(world) == (1,)
    world.close()


def test_a_new_datanode_is_journaled_before_it_registers(blocks: World) -> None:
    body = msgspec.msgpack.encode({"node_id": "n", "uuid": "u", "incarnation": 1, "hostname": "h", "port": 1})
    with pytest.raises(NeedsJournal) as needed:
        blocks.manager.register(body)
    assert (needed.value.node_id, needed.value.uuid) == ("n", "u")
    blocks.index.numbers["n"] = (12, "u")
    answer = blocks.manager.register(body)
    assert answer == {"cluster_id": "c-1", "number": 12, "heartbeat_interval_ms": 1000, "epoch": 1}


def test_a_datanode_that_has_less_than_no_load_is_chosen_all_the_same() -> None:
    odd = [Candidate(number, f"h-{number}", 0, -1) for number in (1, 2)]
    assert len(choose(odd, 2, SeededRng(1))) == 2
