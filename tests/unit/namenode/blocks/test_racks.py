"""Racks: who says where a DataNode stands, and that no rack holds all copies."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from esdfs.errors import InvalidRequest
from esdfs.namenode.blocks.health import Level
from esdfs.namenode.blocks.locations import DataNodeRow
from esdfs.namenode.blocks.racks import DEFAULT_RACK, Racks
from esdfs.namenode.blocks.trimming import most_dispensable
from tests.unit.namenode.blocks.test_draining import queue
from tests.unit.namenode.blocks.world import BLOCK_BYTES, SILENT, Clock, World

LARGE_BYTES = 128 << 20
ALL = ("dn-1", "dn-2", "dn-3", "dn-4")


def spread(world: World, **racks: str) -> None:
    """DataNodes of one host, with the racks they name themselves."""
    for name, rack in racks.items():
        node_id = name.replace("_", "-")
        world.register(node_id, host="127.0.0.1", rack=rack)
        world.report(node_id, full=True, first=True, last=True)
    world.settle()


def registration(node_id: str, host: str) -> bytes:
    body = {"node_id": node_id, "uuid": "u", "incarnation": 1, "hostname": host, "port": 9}
    return msgspec.msgpack.encode(body)


def script(directory: Path, body: str) -> str:
    file = directory / "topology"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return str(file)


def test_settings_go_before_the_script_and_the_script_before_what_it_says_itself(tmp_path: Path) -> None:
    racks = Racks(
        {"dn-1": "/a", "h-2": "/b"}, script(tmp_path, 'echo "/of/$1"; echo x >> $0.calls'), Clock(), SILENT
    )

    async def learn() -> None:
        for node_id, host in (("dn-1", "h-1"), ("dn-2", "h-2"), ("dn-3", "h-3"), ("dn-4", "h-3")):
            await racks.learn(registration(node_id, host))

    asyncio.run(learn())
    assert racks.of("dn-1", "h-1", "/own") == "/a"
    assert racks.of("dn-2", "h-2", "/own") == "/b"
    assert racks.of("dn-3", "h-3", "/own") == "/of/h-3"
    assert (tmp_path / "topology.calls").read_text() == "x\n", "once for each host that the settings lack"


@pytest.mark.parametrize("body", ["exit 3", "echo nonsense", "echo", "exec sleep 60"])
def test_without_an_answer_of_the_script_its_own_word_counts(
    tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.namenode.blocks.racks._SCRIPT_S", 0.3)
    racks = Racks({}, script(tmp_path, body), Clock(), SILENT)
    asyncio.run(racks.learn(registration("dn-1", "h-1")))
    assert racks.of("dn-1", "h-1", "/own") == "/own"
    assert racks.of("dn-1", "h-1", "") == DEFAULT_RACK
    assert racks.of("dn-1", "h-1", "no rack") == DEFAULT_RACK


def test_a_script_that_is_not_there_and_a_body_that_is_no_registration(tmp_path: Path) -> None:
    racks = Racks({}, str(tmp_path / "nothing"), Clock(), SILENT)
    asyncio.run(racks.learn(registration("dn-1", "h-1")))
    with pytest.raises(InvalidRequest):
        asyncio.run(racks.learn(b"\xc1"))


class Script:
    """In place of the program: says nothing, until it is let go."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.running: list[str] = []
        self.most = 0
        self.released = asyncio.Event()
        self.rack = ""

    async def __call__(self, script: str, host: str) -> str:
        del script
        assert host not in self.running, "one run for each host at a time"
        self.calls.append(host)
        self.running.append(host)
        self.most = max(self.most, len(self.running))
        try:
            await self.released.wait()
        finally:
            self.running.remove(host)
        if not self.rack:
            raise TimeoutError
        return self.rack


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Script:
    found = Script()
    monkeypatch.setattr("esdfs.namenode.blocks.racks._run", found)
    monkeypatch.setattr("esdfs.namenode.blocks.racks._WAIT_S", 0.05)
    return found


async def idle() -> None:
    """All that can go on has gone on."""
    for _ in range(100):
        await asyncio.sleep(0)


def test_a_script_that_hangs_keeps_no_datanode_out(hanging: Script) -> None:
    racks = Racks({}, "/script", Clock(), SILENT)
    bodies = [registration(f"dn-{number}", f"h-{number}") for number in range(20)]

    async def register() -> float:
        began = asyncio.get_running_loop().time()
        for _ in range(3):  # they give up, and come again
            await asyncio.gather(*map(racks.learn, bodies))
        took = asyncio.get_running_loop().time() - began
        assert len(hanging.running) == hanging.most == 8
        hanging.released.set()
        await idle()
        assert sorted(hanging.calls) == sorted(f"h-{number}" for number in range(20))
        return took

    assert asyncio.run(register()) < 2, "together, not one after another"
    assert racks.of("dn-1", "h-1", "/own") == "/own"


def test_a_real_script_that_hangs_is_ended_and_does_not_hold_up_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.namenode.blocks.racks._SCRIPT_S", 0.3)
    racks = Racks({}, script(tmp_path, "exec sleep 60"), Clock(), SILENT)

    async def register() -> None:
        async with asyncio.timeout(5):
            await asyncio.gather(*(racks.learn(registration(f"dn-{n}", f"h-{n}")) for n in range(20)))

    asyncio.run(register())


def test_a_failure_is_remembered_for_a_while_and_nobody_waits_for_the_next_try(hanging: Script) -> None:
    clock = Clock()
    racks = Racks({}, "/script", clock, SILENT)
    body = registration("dn-1", "h-1")

    async def register() -> None:
        hanging.released.set()
        await racks.learn(body)
        assert hanging.calls == ["h-1"]
        clock.sleep(59)
        await racks.learn(body)
        assert racks.by_now("dn-1", "h-1") == ""
        await idle()
        assert hanging.calls == ["h-1"], "it failed just now"
        hanging.released.clear()
        hanging.rack = "/late"
        clock.sleep(1)
        assert racks.by_now("dn-1", "h-1") == ""
        await racks.learn(body)
        await idle()
        assert hanging.calls == ["h-1", "h-1"]
        assert hanging.running == ["h-1"], "nobody waited for it"
        hanging.released.set()
        await idle()
        assert racks.by_now("dn-1", "h-1") == "/late"

    asyncio.run(register())
    assert racks.of("dn-1", "h-1", "/own") == "/late"


def test_a_rack_that_is_learned_late_counts_from_the_next_heartbeat_on(
    blocks: World, hanging: Script
) -> None:
    racks = Racks({}, "/script", blocks.clock, SILENT)
    blocks.manager.racks = racks
    one, two, three = blocks.join("dn-1", "dn-2", "dn-3")
    block_id = blocks.write(one, two)
    for node_id in ("dn-1", "dn-2"):
        blocks.report(node_id, stored=[(block_id, 1, BLOCK_BYTES)])
    hanging.rack = "/late"

    async def learn() -> None:
        for node_id in ("dn-1", "dn-2"):
            await racks.learn(registration(node_id, f"host of {node_id}"))
        hanging.released.set()
        await idle()

    asyncio.run(learn())
    assert blocks.store.datanodes()[one].rack == DEFAULT_RACK
    assert blocks.live(30_000, "dn-1", "dn-2", "dn-3") == {"replicate": 1, "delete": 1}
    assert blocks.store.datanodes()[one].rack == "/late"
    assert three in blocks.holders(block_id), "both copies were on one rack"


def test_on_one_host_copies_still_go_to_two_racks(blocks: World) -> None:
    spread(blocks, dn_1="/a", dn_2="/a", dn_3="/a", dn_4="/b")
    for targets in blocks.manager.place(100, 2, set(), BLOCK_BYTES):
        assert 4 in targets
        assert len(set(targets)) == 2
    for targets in blocks.manager.place(100, 3, set(), BLOCK_BYTES):
        assert 4 in targets
        assert len(set(targets)) == 3


def test_copies_on_one_rack_are_mended_and_the_racks_remain(blocks: World) -> None:
    spread(blocks, dn_1="/a", dn_2="/a", dn_3="/b")
    block_id = blocks.write(1, 2)
    blocks.report("dn-1", stored=[(block_id, 1, BLOCK_BYTES)])
    blocks.report("dn-2", stored=[(block_id, 1, BLOCK_BYTES)])
    assert queue(blocks, Level.BADLY_PLACED) == 1
    assert blocks.blocks()["under_replicated"] == 0
    assert blocks.live(5_000, "dn-1", "dn-2", "dn-3") == {"replicate": 1, "delete": 1}
    assert 3 in blocks.holders(block_id)
    assert len(blocks.holders(block_id)) == 2
    assert queue(blocks, Level.BADLY_PLACED) == 0


def test_copies_on_one_host_are_mended_while_there_is_one_rack(blocks: World) -> None:
    for number, host in enumerate(("one", "one", "two", "two"), 1):
        blocks.register(f"dn-{number}", host=host)
        blocks.report(f"dn-{number}", full=True, first=True, last=True, stored=[])
    block_id = blocks.write(1, 2)
    blocks.report("dn-1", stored=[(block_id, 1, BLOCK_BYTES)])
    blocks.report("dn-2", stored=[(block_id, 1, BLOCK_BYTES)])
    assert queue(blocks, Level.BADLY_PLACED) == 1
    assert blocks.live(5_000, "dn-1", "dn-2", "dn-3", "dn-4") == {"replicate": 1, "delete": 1}
    first, second = blocks.holders(block_id)
    assert first in {1, 2}
    assert second in {3, 4}
    assert queue(blocks, Level.BADLY_PLACED) == 0


def test_what_was_written_on_one_host_is_mended_when_there_is_another(blocks: World) -> None:
    for number in (1, 2):
        blocks.register(f"dn-{number}", host="one")
        blocks.report(f"dn-{number}", full=True, first=True, last=True, stored=[])
    block_id = blocks.write(1, 2)
    assert blocks.live(40_000, "dn-1", "dn-2") == {}
    blocks.register("dn-3", host="two")
    blocks.report("dn-3", full=True, first=True, last=True, stored=[])
    blocks.live(5_000, "dn-1", "dn-2", "dn-3")
    assert 3 in blocks.holders(block_id)
    assert len(blocks.holders(block_id)) == 2


def test_one_copy_is_enough_for_who_asked_for_one_however_many_racks_there_are(blocks: World) -> None:
    spread(blocks, dn_1="/a", dn_2="/b")
    block_id = blocks.write(1, 2, replication=1)
    blocks.report("dn-1", stored=[(block_id, 1, BLOCK_BYTES)])
    blocks.report("dn-2", stored=[(block_id, 1, BLOCK_BYTES)])
    assert blocks.live(5_000, "dn-1", "dn-2") == {"delete": 1}
    assert len(blocks.holders(block_id)) == 1


def test_without_room_on_another_rack_nothing_is_copied_in_vain(blocks: World) -> None:
    spread(blocks, dn_1="/a", dn_2="/a", dn_3="/a", dn_4="/b")
    block_id = blocks.write(1, 2)
    blocks.heartbeat("dn-4", available_space=BLOCK_BYTES - 1)
    assert blocks.live(3_000, "dn-1", "dn-2", "dn-3") == {}
    assert blocks.holders(block_id) == [1, 2]


def two_large(world: World, *holders: int) -> set[int]:
    """Two blocks with these copies; dn-4 and dn-5 stand apart, and take one of them at a time."""
    spread(world, dn_1="/a", dn_2="/a", dn_3="/a", dn_4="/b", dn_5="/b")
    blocks = {world.write(*holders, replication=len(holders)) for _ in range(2)}
    for block_id in sorted(blocks):
        world.index.records[block_id] = world.index.records[block_id]._replace(length_bytes=LARGE_BYTES)
        for number in holders:
            world.report(f"dn-{number}", stored=[(block_id, 1, LARGE_BYTES)])
    return blocks


def ordered(world: World, seconds: int, *node_ids: str) -> dict[int, str]:
    """Blocks that these DataNodes are ordered to copy within this time, and where to."""
    found: dict[int, str] = {}
    for _ in range(seconds):
        world.clock.now_ms += 1_000
        world.settle()
        orders = [order for node_id in node_ids for order in world.commands(node_id, "replicate")]
        found |= {int(order["block_id"]): order["targets"][0]["node_id"] for order in orders}
    return found


def test_a_copy_waits_for_a_busy_datanode_on_another_rack(tmp_path: Path) -> None:
    world = World(tmp_path, streams_per_target=1)
    blocks = two_large(world, 1, 2, 4)
    first = ordered(world, 18, "dn-1", "dn-2", "dn-3", "dn-5")
    assert list(first.values()) == ["dn-5"], "dn-3 is free, and on the rack of both copies left"
    world.report("dn-5", stored=[(block_id, 1, LARGE_BYTES) for block_id in first])
    (other,) = blocks - first.keys()
    assert ordered(world, 1, "dn-1", "dn-2", "dn-3", "dn-5") == {other: "dn-5"}
    world.close()


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    world = World(tmp_path, streams_per_target=1, rack_wait_ms=10_000, copy_timeout_ms=60_000)
    two_large(world, 1, 2, 4)
    assert list(ordered(world, 22, "dn-1", "dn-2", "dn-3", "dn-5").values()) == ["dn-5"]
    assert list(ordered(world, 8, "dn-1", "dn-2", "dn-3", "dn-5").values()) == ["dn-3"]
    world.close()


def test_a_last_copy_does_not_wait_for_a_rack(tmp_path: Path) -> None:
    world = World(tmp_path, streams_per_target=1)
    two_large(world, 1, 4)
    found = ordered(world, 18, "dn-1", "dn-2", "dn-3", "dn-5")
    assert len(found) == 2
    assert list(found.values()).count("dn-5") == 1
    world.close()


def test_what_can_still_be_read_from_a_drained_datanode_waits_for_a_rack(tmp_path: Path) -> None:
    world = World(tmp_path, streams_per_target=1)
    two_large(world, 1, 4)
    world.want("dn-4", "decommissioning")
    assert list(ordered(world, 5, *ALL, "dn-5").values()) == ["dn-5"]
    world.close()


def test_without_a_datanode_on_another_rack_that_has_room_a_copy_goes_anywhere(tmp_path: Path) -> None:
    world = World(tmp_path)
    two_large(world, 1, 2, 4)
    found: dict[int, str] = {}
    for _ in range(18):
        world.heartbeat("dn-5", available_space=LARGE_BYTES - 1)
        found |= ordered(world, 1, "dn-1", "dn-2", "dn-3")
    assert list(found.values()) == ["dn-3", "dn-3"]
    world.close()


def test_what_lacks_copies_goes_before_what_is_badly_placed(tmp_path: Path) -> None:
    world = World(tmp_path, streams_per_source=1)
    spread(world, dn_1="/a", dn_2="/a", dn_3="/b")
    badly = world.write(1, 2)
    alone = world.write(1)
    orders = world.commands("dn-1", "replicate")
    assert [int(order["block_id"]) for order in orders][:1] == [alone]
    assert badly != alone
    world.close()


def test_the_only_copy_of_a_rack_is_deleted_only_when_no_rack_has_two() -> None:
    def row(number: int, rack: str, available: int, host: str = "h") -> DataNodeRow:
        return DataNodeRow(
            number=number, node_id="", uuid="", incarnation=1, hostname=host, port=1, rack=rack,
            available_space=available,
        )  # fmt: skip

    first, second, third = row(1, "/a", 50), row(2, "/a", 90), row(3, "/b", 1)
    assert most_dispensable([first, second, third]) is second
    assert most_dispensable([third, first, second]) is first
    assert most_dispensable([first, third]) is third
    x, y, z = row(1, "/a", 5, "x"), row(2, "/a", 5, "y"), row(3, "/a", 9, "y")
    assert most_dispensable([x, y, z]) is y
    assert most_dispensable([]) is None
