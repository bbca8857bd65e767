"""A DataNode is there and does not do its part: others take its place within seconds."""

import random
import threading
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from esdfs.blocks import MIB
from esdfs.client import pipeline, reader
from esdfs.client.transfers import put_bytes
from esdfs.client.writer import WriteOptions
from esdfs.errors import DeadlineExceeded
from esdfs.rpc import datanode as dn
from esdfs.rpc.channel import Channels
from esdfs.rpc.messages import BlockRequest, BlockResult, Frame, ReplicationRequest, Target
from esdfs.rpc.server import bind, new_server
from esdfs.rpc.servicer import CallState, DataNodeServicer
from tests.blocks import plain_frames
from tests.cluster import eventually
from tests.datanodes import Process
from tests.unit.client.conftest import World

NOISE = random.Random(3).randbytes(4 * MIB)
ACK_S = 0.4


class Late:
    """A DataNode on a real port that takes nothing (``deaf``), or everything and says nothing.

    To a reader it gives nothing, or the beginning.

    Attributes:
        behind: The DataNode it really is, once it has disappointed somebody.
    """

    def __init__(self, *, deaf: bool) -> None:
        self.deaf = deaf
        self.behind: Process | None = None
        self.disappointed = 0
        self._closing = threading.Event()
        self._channels = Channels()
        self._server = new_server(8, "late")
        DataNodeServicer(self, streams_max=6).add_to(self._server)
        self.address = f"127.0.0.1:{bind(self._server, '127.0.0.1', 0)}"
        self._server.start()

    def store(self, frames: Iterator[Frame], call: CallState) -> list[BlockResult]:
        if self.behind is not None and self.disappointed:
            return dn.store_blocks(self._channels.get(self.behind.address), frames, timeout_s=20)
        if not self.deaf:
            for _ in frames:
                pass
        while call.alive() and not self._closing.wait(0.02):
            pass
        self.disappointed += 1
        raise DeadlineExceeded("nobody listens any more")

    def retrieve(self, request: BlockRequest) -> Iterator[Frame]:
        if not self.deaf:
            assert self.behind is not None
            yield from islice(dn.retrieve(self._channels.get(self.behind.address), request, timeout_s=20), 2)
        self._closing.wait()
        raise DeadlineExceeded("nobody listens any more")

    def replicate(self, request: ReplicationRequest) -> BlockResult:
        raise NotImplementedError

    transfer = replicate

    def check(self, request: BlockRequest) -> BlockResult:
        raise NotImplementedError

    delete = check

    def close(self) -> None:
        self._closing.set()
        self._server.stop(None).wait()
        self._channels.close()


@pytest.fixture(params=[True, False], ids=["deaf", "mute"])
def late(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Late]:
    monkeypatch.setattr(pipeline, "_ACK_S", ACK_S)
    late = Late(deaf=request.param)
    yield late
    late.close()


@pytest.mark.parametrize("size", [MIB // 2, len(NOISE)], ids=["one frame", "more frames"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_block_goes_elsewhere_when_a_node_is_late(
    world: World, nodes: list[Process], late: Late, place: int, size: int
) -> None:
    targets = [node.target for node in nodes]
    targets.insert(place, Target("late", late.address))
    world.namespace.nodes = targets
    world.namespace.replication = max(2, place + 1)
    began = time.monotonic()
    put_bytes(world.writing, NOISE[:size], "/f", WriteOptions(block_size_bytes=len(NOISE)))
    assert time.monotonic() - began < 15
    (block,) = world.namespace.files["/f"]["located"]
    others = [node.node_id for node in nodes][: world.namespace.replication]
    assert set(block["replicas"]) == set(others), "nobody else was blamed"
    assert world.content("/f") == NOISE[:size]
    eventually(lambda: late.disappointed == 1, what="nobody to wait for it any more")


def test_whoever_is_late_gets_more_time_when_there_is_nobody_else(
    world: World, nodes: list[Process], late: Late
) -> None:
    late.behind = nodes[1]
    world.namespace.nodes = [nodes[0].target, Target("dn-2", late.address)]
    put_bytes(world.writing, NOISE, "/f", WriteOptions(block_size_bytes=len(NOISE)))
    (block,) = world.namespace.files["/f"]["located"]
    assert set(block["replicas"]) == {"dn-1", "dn-2"}
    assert late.disappointed == 1


@pytest.mark.parametrize("size", [MIB // 2, len(NOISE)], ids=["one frame", "more frames"])
def test_a_reader_goes_elsewhere_when_a_node_is_late(
    world: World, nodes: list[Process], late: Late, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(reader, "_STALL_S", ACK_S)
    monkeypatch.setattr(reader, "_LARGE_BYTES", MIB)
    late.behind = nodes[0]
    put_bytes(world.writing, NOISE[:size], "/f", WriteOptions(block_size_bytes=len(NOISE)))
    (block,) = world.namespace.files["/f"]["located"]
    block["locations"][0] |= {"address": late.address, "local_socket": ""}
    began = time.monotonic()
    assert world.content("/f") == NOISE[:size]
    assert time.monotonic() - began < 10
    if late.deaf or size == len(NOISE):
        assert world.reading.silent == {block["locations"][0]["node_id"]}


def test_a_caller_that_takes_its_time_gets_all_of_a_file(
    world: World, nodes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_STALL_S", 0.1)
    monkeypatch.setattr(reader, "_SLOWEST_BYTES_S", 10**9)
    monkeypatch.setattr(reader, "ROUNDS", 1)
    put_bytes(world.writing, NOISE, "/f", WriteOptions(block_size_bytes=len(NOISE)))
    for block in world.namespace.files["/f"]["located"]:
        for location in block["locations"]:
            location["local_socket"] = ""
    got, pause = b"", threading.Event()
    for piece in world.remote("/f").pieces(0, len(NOISE)):
        got += bytes(piece)
        pause.wait(0.2)
    assert got == NOISE
    assert not world.reading.silent


def test_a_source_that_takes_its_time_is_no_late_node(nodes: list[Process]) -> None:
    waits = threading.Event()

    def frames() -> Iterator[Frame]:
        for frame in plain_frames(900_001, NOISE):
            waits.wait(2 * ACK_S)
            yield frame

    with Channels() as channels:
        channel = channels.get(nodes[0].address)
        (result,) = dn.store_blocks(channel, frames(), timeout_s=30, stall_s=ACK_S)
    assert result.error() is None
