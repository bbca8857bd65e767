"""Reading from real DataNodes, some of which are bad."""

import random
import signal
import socket
from pathlib import Path

import pytest

from esdfs.blocks import MIB
from esdfs.checksum import Buffer
from esdfs.client.transfers import get_local, put_bytes
from esdfs.client.writer import WriteOptions
from esdfs.env_os import OsRng
from esdfs.errors import ReplicaCorrupt, Unavailable
from esdfs.rpc import datanode as dn
from esdfs.rpc.messages import BlockRequest
from tests.blocks import content, plain_frames
from tests.datanodes import Process
from tests.unit.client.conftest import World

NOISE = random.Random(2).randbytes(2 * MIB + 54_321)


@pytest.fixture
def stored(world: World) -> str:
    put_bytes(world.writing, NOISE, "/f", WriteOptions())
    return "/f"


def data_files(node: Process, world: World) -> list[Path]:
    """Where ``node`` keeps the blocks of /f."""
    blocks = {block["block_id"] for block in world.namespace.files["/f"]["located"]}
    found = (node.volume / "current").rglob("*.data")
    return [file for file in found if file.name.split("_")[0] in blocks]


def flip(file: Path, at: int = 1000) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte[0] ^ 1]))


def test_any_range_is_what_was_written(world: World, stored: str) -> None:
    remote = world.remote(stored)
    chance = random.Random(3)
    for _ in range(30):
        start = chance.randrange(len(NOISE))
        length = chance.choice([1, 100, 65_536, MIB, 2 * MIB])
        assert b"".join(bytes(p) for p in remote.pieces(start, length)) == NOISE[start : start + length]
    assert list(remote.pieces(len(NOISE), 10)) == []


def test_another_replica_is_read_when_the_first_node_is_gone(
    world: World, stored: str, fresh_nodes: list[Process]
) -> None:
    fresh_nodes[0].kill()
    assert world.content(stored) == NOISE


def test_a_damaged_replica_is_never_delivered(world: World, stored: str, nodes: list[Process]) -> None:
    damaged = data_files(nodes[0], world)
    assert len(damaged) == 3
    for file in damaged:
        flip(file)
    assert world.content(stored) == NOISE


def test_all_replicas_damaged_is_an_error_and_leaves_no_local_file(
    world: World, stored: str, nodes: list[Process], tmp_path: Path
) -> None:
    for node in nodes:
        for file in data_files(node, world):
            flip(file)
    with pytest.raises(Unavailable, match="cannot be read now"):
        get_local(world.remote(stored), tmp_path / "out", overwrite=False, rng=OsRng())
    assert list(tmp_path.iterdir()) == []


def test_a_replica_that_is_consistent_but_another_block_is_not_believed(
    world: World, stored: str, nodes: list[Process]
) -> None:
    # The NameNode's word against the DataNode's: every chunk verifies, the block is not what was written.
    blocks = world.namespace.files[stored]["located"]
    blocks[0]["crc32c"] = "00000000"
    remote = world.remote(stored)
    got = bytearray(len(NOISE))

    def write_at(offset: int, data: Buffer) -> None:
        got[offset : offset + len(data)] = data

    with pytest.raises(Exception, match="not what was written"):
        remote.copy(write_at)


@pytest.mark.parametrize("length", [0, 1000, MIB, MIB + 5])
@pytest.mark.parametrize("local", [True, False])
def test_a_replica_of_other_bytes_is_not_delivered_and_its_datanode_sets_it_aside(
    world: World, stored: str, nodes: list[Process], length: int, local: bool
) -> None:
    block = world.namespace.files[stored]["located"][0]
    block_id = int(block["block_id"])
    if local:
        block["locations"][0]["local_socket"] = str(next(nodes[0].volume.glob("*.sock")))
    channel = world.reading.channels.get(nodes[0].address)
    dn.delete(channel, BlockRequest(block_id=block_id, generation=1), timeout_s=20)
    (planted,) = dn.store_blocks(channel, plain_frames(block_id, content(length)), timeout_s=20)
    assert planted.error() is None
    got = bytearray(len(NOISE))

    def write_at(offset: int, data: Buffer) -> None:
        got[offset : offset + len(data)] = data

    world.remote(stored).copy(write_at)
    assert bytes(got) == NOISE
    with pytest.raises(ReplicaCorrupt, match="set aside"):
        dn.check(channel, BlockRequest(block_id=block_id), timeout_s=20)
    assert world.content(stored) == NOISE


def test_a_replica_too_short_for_a_range_is_left_for_another_and_set_aside(
    world: World, stored: str, nodes: list[Process]
) -> None:
    block_id = int(world.namespace.files[stored]["located"][0]["block_id"])
    channel = world.reading.channels.get(nodes[0].address)
    dn.delete(channel, BlockRequest(block_id=block_id, generation=1), timeout_s=20)
    dn.store_blocks(channel, plain_frames(block_id, content(1000)), timeout_s=20)
    assert b"".join(map(bytes, world.remote(stored).pieces(5000, 10))) == NOISE[5000:5010]
    with pytest.raises(ReplicaCorrupt, match="set aside"):
        dn.check(channel, BlockRequest(block_id=block_id), timeout_s=20)


def test_fresh_locations_are_asked_for_when_the_known_ones_are_stale(world: World, stored: str) -> None:
    remote = world.remote(stored)
    good = [block["locations"] for block in world.namespace.files[stored]["located"]]
    for block in remote.blocks:
        block.locations.clear()
    assert b"".join(bytes(p) for p in remote.pieces(0, len(NOISE))) == NOISE
    assert all(good)


def test_blocks_are_copied_to_their_places(world: World, stored: str, tmp_path: Path) -> None:
    steps: list[int] = []
    get_local(world.remote(stored), tmp_path / "out", overwrite=False, rng=OsRng(), progress=steps.append)
    assert (tmp_path / "out").read_bytes() == NOISE
    assert sum(steps) == len(NOISE)
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_node_that_hangs_costs_its_timeout_once_and_is_asked_last_from_then_on(
    world: World, stored: str, nodes: list[Process]
) -> None:
    # The stopped process keeps its sockets open: connections are made, answers never come.
    nodes[0].process.send_signal(signal.SIGSTOP)
    try:
        for block in world.namespace.files[stored]["located"]:
            block["locations"][0]["local_socket"] = nodes[0].ready.get("local_socket", "")
        assert world.content(stored) == NOISE
    finally:
        nodes[0].process.send_signal(signal.SIGCONT)
    assert world.reading.silent == {"dn-1"}
    assert world.content(stored) == NOISE


def test_a_local_socket_that_hangs_is_no_reason_to_leave_its_replica(
    world: World, stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.client.reader._LOCAL_TIMEOUT_S", 0.1)
    monkeypatch.setattr("esdfs.client.reader.ROUNDS", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.bind(str(tmp_path / "s"))
        deaf.listen(8)
        for block in world.namespace.files[stored]["located"]:
            del block["locations"][1:]
            block["locations"][0]["local_socket"] = str(tmp_path / "s")
        assert world.content(stored) == NOISE
    assert not world.reading.silent
