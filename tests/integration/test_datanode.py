"""Three real DataNode processes, their data channel, and the NameNodes they talk to."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esdfs.blocks import MIB
from esdfs.checksum import crc32c
from esdfs.errors import (
    EpochFenced,
    EsdfsError,
    IdentityConflict,
    InvalidRequest,
    Overloaded,
    PeerFailed,
    ReplicaCorrupt,
    ReplicaNotFound,
)
from esdfs.rpc import datanode as dn
from esdfs.rpc.channel import Channels
from esdfs.rpc.local import LocalReaders
from esdfs.rpc.messages import BlockRequest, BlockResult, Frame, ReplicationRequest
from tests.blocks import compressed_frames, content, flip, plain_frames
from tests.cluster import eventually
from tests.datanodes import NameNode, Process, running

DATA = content(5 * MIB + 12_345)


@pytest.fixture(scope="module")
def namenode() -> Iterator[NameNode]:
    namenode = NameNode()
    yield namenode
    namenode.close()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, namenode: NameNode) -> Iterator[list[Process]]:
    with running(tmp_path_factory.mktemp("nodes"), [namenode.url], 3) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def channels() -> Iterator[Channels]:
    with Channels() as channels:
        yield channels


@pytest.fixture
def block_id(request: pytest.FixtureRequest) -> int:
    """A number of its own for each test."""
    return crc32c(request.node.nodeid.encode())


def put(channels: Channels, first: Process, frames: Iterator[Frame]) -> list[BlockResult]:
    return dn.store_blocks(channels.get(first.address), frames, timeout_s=60)


def get(channels: Channels, node: Process, block_id: int, offset: int = 0, length: int = 0) -> bytes:
    request = BlockRequest(block_id=block_id, offset=offset, length=length)
    pieces = dn.read_range(channels.get(node.address), request, timeout_s=60)
    return b"".join(bytes(piece) for piece in pieces)


# --- writing and reading ---


@pytest.mark.parametrize("size", [0, 1, 65536, len(DATA)])
def test_a_block_is_on_every_node_of_its_pipeline(
    nodes: list[Process], channels: Channels, block_id: int, size: int
) -> None:
    one, two, three = nodes
    frames = plain_frames(block_id, DATA[:size], targets=(two.target, three.target))
    (result,) = put(channels, one, frames)
    assert result.error() is None
    assert [receipt.node_id for receipt in result.receipts] == ["dn-1", "dn-2", "dn-3"]
    assert {receipt.crc32c for receipt in result.receipts} == {crc32c(DATA[:size])}
    for node in nodes:
        assert get(channels, node, block_id) == DATA[:size]


def test_compressed_blocks_come_back_whole_and_in_ranges(
    nodes: list[Process], channels: Channels, block_id: int
) -> None:
    text = b"lorem ipsum dolor sit amet " * 100_000
    (result,) = put(channels, nodes[0], compressed_frames(block_id, text, targets=(nodes[1].target,)))
    assert result.error() is None
    assert result.receipts[1].stored_bytes < len(text) // 10
    for node in nodes[:2]:
        assert get(channels, node, block_id) == text
        assert get(channels, node, block_id, MIB - 5, 10) == text[MIB - 5 : MIB + 5]


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (MIB - 1, 2), (3 * MIB + 5, MIB), (len(DATA) - 1, 0)])
def test_a_range_is_read(
    nodes: list[Process], channels: Channels, block_id: int, offset: int, length: int
) -> None:
    put(channels, nodes[0], plain_frames(block_id, DATA))
    expected = DATA[offset : offset + length if length else None]
    assert get(channels, nodes[0], block_id, offset, length) == expected


def test_several_blocks_share_a_stream(nodes: list[Process], channels: Channels, block_id: int) -> None:
    def frames() -> Iterator[Frame]:
        for number in range(4):
            yield from plain_frames(
                block_id + number, DATA[: MIB + number], targets=(nodes[1].target,) if number == 0 else ()
            )

    results = put(channels, nodes[0], frames())
    assert [result.block_id for result in results] == [block_id + number for number in range(4)]
    assert all(len(result.receipts) == 2 and not result.code for result in results)
    assert get(channels, nodes[1], block_id + 3) == DATA[: MIB + 3]


def test_a_block_that_is_not_there_says_so(nodes: list[Process], channels: Channels, block_id: int) -> None:
    with pytest.raises(ReplicaNotFound):
        get(channels, nodes[0], block_id)
    with pytest.raises(ReplicaNotFound):
        dn.check(channels.get(nodes[0].address), BlockRequest(block_id=block_id), timeout_s=10)


def test_a_stream_for_another_cluster_is_refused(
    nodes: list[Process], channels: Channels, block_id: int, namenode: NameNode
) -> None:
    namenode.wait_for(lambda: namenode.bodies("/heartbeat", "dn-1"), "dn-1 is registered")
    with pytest.raises(IdentityConflict, match="cluster-1"):
        put(channels, nodes[0], plain_frames(block_id, DATA, cluster_id="cluster-2"))
    put(channels, nodes[0], plain_frames(block_id, DATA, cluster_id="cluster-1"))


def test_the_socket_for_readers_of_this_host_is_advertised_and_serves(
    nodes: list[Process], channels: Channels, block_id: int, namenode: NameNode
) -> None:
    put(channels, nodes[0], plain_frames(block_id, DATA))
    namenode.wait_for(lambda: namenode.bodies("/register"), "it registers")
    sockets = {body["node_id"]: body["local_socket"] for body in namenode.bodies("/register")}
    readers = LocalReaders()
    pieces = readers.read_range(sockets["dn-1"], BlockRequest(block_id=block_id), timeout_s=10)
    assert b"".join(bytes(piece) for piece in pieces) == DATA
    readers.close()


# --- bad streams ---


def test_bytes_that_change_on_the_way_are_stored_nowhere(
    nodes: list[Process], channels: Channels, block_id: int
) -> None:
    def frames() -> Iterator[Frame]:
        for number, frame in enumerate(plain_frames(block_id, DATA, targets=(nodes[1].target,))):
            data = bytearray(frame.data)
            data[100] ^= number == 3
            fields = {name: getattr(frame, name) for name in frame.__struct_fields__}
            yield Frame(**{**fields, "data": bytes(data)})

    (result,) = put(channels, nodes[0], frames())
    assert (result.code, result.receipts) == ("checksum-mismatch", ())
    for node in nodes[:2]:
        with pytest.raises(ReplicaNotFound):
            get(channels, node, block_id)
    wait_until_gone(nodes[:2])  # the second hears of it when the first has answered


def test_a_stream_that_ends_within_a_block_leaves_nothing(
    nodes: list[Process], channels: Channels, block_id: int
) -> None:
    frames = list(plain_frames(block_id, DATA, targets=(nodes[1].target,)))[:-1]
    (result,) = put(channels, nodes[0], iter(frames))
    assert (result.code, result.receipts) == ("invalid-request", ())
    for node in nodes[:2]:
        with pytest.raises(ReplicaNotFound):
            get(channels, node, block_id)


def test_a_client_that_vanishes_leaves_nothing(
    nodes: list[Process], channels: Channels, block_id: int
) -> None:
    written = threading.Event()
    go_on = threading.Event()

    def frames() -> Iterator[Frame]:
        for number, frame in enumerate(plain_frames(block_id, DATA, targets=(nodes[1].target,))):
            if number == 3:
                written.set()
                go_on.wait(30)
            yield frame

    call = dn.StoreCall(channels.get(nodes[0].address), frames(), timeout_s=60)
    assert written.wait(30)
    call.cancel()
    go_on.set()
    with pytest.raises(EsdfsError):
        call.results()
    # Both notice; then the same block can be written anew, as soon as nobody writes it any more.
    wait_until_gone(nodes[:2])

    def written_anew() -> bool:
        (result,) = put(channels, nodes[0], plain_frames(block_id, DATA, targets=(nodes[1].target,)))
        assert result.code in {"", Overloaded.code, PeerFailed.code}
        return len(result.receipts) == 2

    eventually(written_anew)


def wait_until_gone(nodes: list[Process]) -> None:
    tick = threading.Event()
    for _ in range(1000):
        if all(node.files("tmp") == [] for node in nodes):
            return
        tick.wait(0.01)
    raise AssertionError("temporary files stay")


def test_nonsense_is_refused(nodes: list[Process], channels: Channels) -> None:
    with pytest.raises(InvalidRequest):
        put(channels, nodes[0], iter(()))
    call: Any = channels.get(nodes[0].address).stream_unary("/esdfs.v1.DataNodeService/StoreBlock")
    with pytest.raises(Exception, match="not a BlockData"):
        call(iter([b"\x0a\xff"]), timeout=10)


# --- orders ---


def test_copies_are_verified_and_reported(
    nodes: list[Process], channels: Channels, block_id: int, namenode: NameNode
) -> None:
    put(channels, nodes[0], plain_frames(block_id, DATA))
    target = {"node_id": "dn-2", "address": nodes[1].address}
    namenode.commands.append(
        {
            "to": "dn-1",
            "kind": "replicate",
            "block_id": str(block_id),
            "generation": 1,
            "targets": [target],
        }
    )
    entry = [block_id, 1, len(DATA)]
    namenode.wait_for(lambda: entry in namenode.reported("stored", "dn-2"), "dn-2 reports its copy")
    assert get(channels, nodes[1], block_id) == DATA


def test_a_copy_that_cannot_be_made_is_reported(
    nodes: list[Process], channels: Channels, block_id: int, namenode: NameNode
) -> None:
    put(channels, nodes[0], plain_frames(block_id, DATA))
    namenode.commands.append(
        {
            "to": "dn-1",
            "kind": "replicate",
            "block_id": str(block_id),
            "generation": 1,
            "targets": [{"node_id": "dn-9", "address": "127.0.0.1:1"}],
        }
    )
    entry = [block_id, 1, "dn-9"]
    namenode.wait_for(
        lambda: entry in namenode.reported("failed_replications", "dn-1"), "the failed copy is reported"
    )


def test_a_copy_for_a_node_that_has_one_is_no_failure(
    nodes: list[Process], channels: Channels, block_id: int, namenode: NameNode
) -> None:
    put(channels, nodes[0], plain_frames(block_id, DATA, targets=(nodes[1].target,)))
    for target in (nodes[1], nodes[2]):
        namenode.commands.append(
            {
                "to": "dn-1",
                "kind": "replicate",
                "block_id": str(block_id),
                "generation": 1,
                "targets": [{"node_id": target.node_id, "address": target.address}],
            }
        )
        # Orders for one block run one at a time: the second is given when the first is under way or over.
        namenode.wait_for(lambda: not namenode.commands, "the order is delivered")
        count = len(namenode.bodies("/heartbeat", "dn-1"))
        namenode.wait_for(lambda n=count: len(namenode.bodies("/heartbeat", "dn-1")) > n + 3, "it had time")  # type: ignore[misc]  # a default argument
    entry = [block_id, 1, len(DATA)]
    namenode.wait_for(lambda: entry in namenode.reported("stored", "dn-3"), "dn-3 reports its copy")
    assert [e for e in namenode.reported("failed_replications", "dn-1") if e[0] == block_id] == []


def test_a_delete_is_carried_out_and_reported(
    nodes: list[Process], channels: Channels, block_id: int, namenode: NameNode
) -> None:
    put(channels, nodes[0], plain_frames(block_id, DATA))
    command = {"to": "dn-1", "kind": "delete", "block_id": str(block_id), "generation": 1}
    namenode.commands.append(command)
    entry = [block_id, 1]
    namenode.wait_for(lambda: entry in namenode.reported("removed", "dn-1"), "the delete is reported")
    with pytest.raises(ReplicaNotFound):
        get(channels, nodes[0], block_id)


def test_transfer_moves_a_block(nodes: list[Process], channels: Channels, block_id: int) -> None:
    put(channels, nodes[0], compressed_frames(block_id, DATA))
    request = ReplicationRequest(
        block_id=block_id, generation=1, targets=(nodes[2].target,), epoch=1, cluster_id="cluster-1"
    )
    result = dn.transfer(channels.get(nodes[0].address), request, timeout_s=30)
    assert [receipt.node_id for receipt in result.receipts] == ["dn-3"]
    assert get(channels, nodes[2], block_id) == DATA
    with pytest.raises(ReplicaNotFound):
        get(channels, nodes[0], block_id)


def test_a_damaged_replica_is_neither_served_nor_copied_and_is_reported_at_once(
    nodes: list[Process], channels: Channels, block_id: int, namenode: NameNode
) -> None:
    put(channels, nodes[0], plain_frames(block_id, DATA, targets=(nodes[1].target,)))
    for node in nodes[:2]:
        (path,) = (node.volume / "current").rglob(f"{block_id}_1.data")
        flip(path, 4 * MIB)
    request = ReplicationRequest(block_id=block_id, generation=1, targets=(nodes[2].target,), epoch=1)
    with pytest.raises(ReplicaCorrupt):
        dn.replicate(channels.get(nodes[0].address), request, timeout_s=30)
    with pytest.raises(ReplicaNotFound):
        get(channels, nodes[2], block_id)
    served = bytearray()

    def serve() -> None:
        for piece in dn.read_range(
            channels.get(nodes[1].address), BlockRequest(block_id=block_id), timeout_s=30
        ):
            served.extend(piece)

    with pytest.raises(ReplicaCorrupt):
        serve()
    assert bytes(served) == DATA[: 4 * MIB]
    for node_id in ("dn-1", "dn-2"):
        namenode.wait_for(
            lambda node_id=node_id: [block_id, 1] in namenode.reported("corrupt", node_id),  # type: ignore[misc]  # a default argument
            f"{node_id} reports the corruption",
        )


def test_a_deep_check_finds_damage_a_shallow_one_does_not(
    nodes: list[Process], channels: Channels, block_id: int
) -> None:
    put(channels, nodes[0], plain_frames(block_id, DATA))
    channel = channels.get(nodes[0].address)
    assert dn.check(channel, BlockRequest(block_id=block_id, deep=True), timeout_s=30).error() is None
    (path,) = (nodes[0].volume / "current").rglob(f"{block_id}_1.data")
    flip(path, 0)
    assert dn.check(channel, BlockRequest(block_id=block_id), timeout_s=30).error() is None
    with pytest.raises(ReplicaCorrupt):
        dn.check(channel, BlockRequest(block_id=block_id, deep=True), timeout_s=30)


# --- processes that die ---


def test_a_failed_hop_is_named_and_nothing_is_kept(tmp_path: Path, channels: Channels, block_id: int) -> None:
    with running(tmp_path, [], 3) as (one, two, three):
        three.kill()
        frames = plain_frames(block_id, DATA, targets=(two.target, three.target))
        (result,) = put(channels, one, frames)
        assert (result.code, result.failed_node_id) == ("peer-failed", "dn-3")
        assert one.files("tmp") == two.files("tmp") == []


def test_a_node_killed_in_the_middle_of_a_write_shows_nothing_of_it(
    tmp_path: Path, channels: Channels, block_id: int
) -> None:
    with running(tmp_path, [], 2) as (one, two):
        put(channels, one, plain_frames(block_id, DATA, targets=(two.target,)))

        def frames() -> Iterator[Frame]:
            for number, frame in enumerate(plain_frames(block_id + 1, DATA, targets=(two.target,))):
                if number == 4:
                    tick = threading.Event()
                    while not two.files("tmp"):
                        tick.wait(0.01)
                    two.kill()
                yield frame

        (result,) = put(channels, one, frames())
        assert (result.code, result.failed_node_id) == ("peer-failed", "dn-2")
        assert two.files("tmp") == [f"{block_id + 1}_1.data"]
        two.start()
        assert get(channels, two, block_id) == DATA
        for node in (one, two):
            with pytest.raises(ReplicaNotFound):
                get(channels, node, block_id + 1)
            assert node.files("tmp") == []
        (result,) = put(channels, one, plain_frames(block_id + 1, DATA, targets=(two.target,)))
        assert len(result.receipts) == 2


def test_everything_acknowledged_survives_a_kill(tmp_path: Path, channels: Channels) -> None:
    with running(tmp_path, [], 1) as (node,):
        for number in range(1, 20):
            (result,) = put(channels, node, plain_frames(number, DATA[: number * 50_000]))
            assert not result.code
        node.kill()
        node.start()
        for number in range(1, 20):
            assert get(channels, node, number) == DATA[: number * 50_000]


def test_streams_over_the_limit_are_refused_and_short_calls_still_answered(
    tmp_path: Path, channels: Channels, block_id: int
) -> None:
    with running(tmp_path, [], 1, streams_max=2) as (node,):
        put(channels, node, plain_frames(block_id, content(24 * MIB)))
        request = BlockRequest(block_id=block_id)
        channel = channels.get(node.address)
        reads = [dn.read_range(channel, request, timeout_s=30) for _ in range(2)]
        for read in reads:
            next(read)  # they hold their places: 23 MiB do not fit into what gRPC buffers
        with pytest.raises(Overloaded):
            next(dn.read_range(channel, request, timeout_s=30))
        assert dn.check(channel, request, timeout_s=10).error() is None
        for read in reads:
            read.close()  # type: ignore[attr-defined]  # it is a generator


# --- disks ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        yield tmp_path  # the reserve below is what fills it then
        return
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


def test_a_full_disk_refuses_and_keeps_nothing_half(
    small_disk: Path, channels: Channels, block_id: int
) -> None:
    reserve = 0 if os.geteuid() == 0 else os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    with running(small_disk, [], 1, reserve_bytes=reserve) as (node,):
        if reserve == 0:
            put(channels, node, plain_frames(block_id, DATA))
        # Its size is not announced: it is found out while writing.
        unannounced = [
            Frame(**{**{n: getattr(f, n) for n in f.__struct_fields__}, "total_size": 0})
            for f in plain_frames(block_id + 1, DATA)
        ]
        (result,) = put(channels, node, iter(unannounced))
        assert (result.code, result.failed_node_id) == ("volume-full", "dn-1")
        (result,) = put(channels, node, plain_frames(block_id + 1, DATA))
        assert (result.code, result.failed_node_id) == ("volume-full", "dn-1")
        assert node.files("tmp") == []
        if reserve == 0:
            assert get(channels, node, block_id) == DATA
            put(channels, node, plain_frames(block_id + 2, DATA[:MIB]))
            assert get(channels, node, block_id + 2) == DATA[:MIB]


# --- membership ---


def test_a_fresh_node_adopts_its_cluster_and_tells_every_namenode_everything(
    tmp_path: Path, channels: Channels, block_id: int
) -> None:
    leader, follower = NameNode(), NameNode()
    try:
        with running(tmp_path, [leader.url, follower.url], 1, token="secret") as (node,):  # noqa: S106 - a test's
            for namenode in (leader, follower):
                namenode.wait_for(lambda n=namenode: n.bodies("/heartbeat"), "it is heard")  # type: ignore[misc]  # a default argument
                (registration,) = namenode.bodies("/register")
                assert registration["cluster_id"] in ("", "cluster-1")
                assert f"{registration['hostname']}:{registration['port']}" == node.address
                assert len(registration["volumes"]) == 1
                assert namenode.calls[0][3] == "Bearer secret"
                beat = namenode.bodies("/heartbeat")[-1]
                assert beat["incarnation"] == registration["incarnation"]
                assert set(beat["load"]) == {
                    *("streams", "read_bytes_s", "write_bytes_s", "fsync_p99_ms"),
                    *("read_p50_ms", "read_p99_ms", "store_p50_ms", "store_p99_ms"),
                }
                namenode.wait_for(lambda n=namenode: n.bodies("/blocks"), "a full report comes")  # type: ignore[misc]  # a default argument
                assert namenode.bodies("/blocks")[0]["full"]
            assert '"cluster_id":"cluster-1"' in (node.volume / "VERSION").read_text()
            put(channels, node, plain_frames(block_id, DATA))
            entry = [block_id, 1, len(DATA)]
            for namenode in (leader, follower):
                namenode.wait_for(lambda n=namenode: entry in n.reported("stored", "dn-1"), "it is told")  # type: ignore[misc]  # a default argument
            # Asked for, everything is said again.
            before = len(leader.bodies("/blocks"))
            leader.full_report = True
            leader.wait_for(
                lambda: any(b["full"] and entry in b["stored"] for b in leader.bodies("/blocks")[before:]),
                "a full report names the block",
            )
            # Forgotten, it registers again.
            leader.known.clear()
            leader.wait_for(lambda: len(leader.bodies("/register")) == 2, "it registers again")
    finally:
        leader.close()
        follower.close()


def test_everything_is_reported_again_now_and_then(tmp_path: Path) -> None:
    namenode = NameNode()
    try:
        with running(tmp_path, [namenode.url], 1, full_report_interval_s=1):
            namenode.wait_for(lambda: len(namenode.bodies("/blocks")) >= 2, "it reports again unasked")
            assert [body["full"] for body in namenode.bodies("/blocks")[:2]] == [True, True]
    finally:
        namenode.close()


def test_it_comes_again_when_it_is_asked_to(tmp_path: Path) -> None:
    namenode = NameNode()
    namenode.interval_ms, namenode.next_ms = 600_000, 50
    try:
        with running(tmp_path, [namenode.url], 1):
            namenode.wait_for(lambda: len(namenode.bodies("/heartbeat")) > 2, "it comes sooner than usual")
    finally:
        namenode.close()


def test_orders_of_a_deposed_leader_are_refused_also_after_a_restart(
    tmp_path: Path, channels: Channels, block_id: int
) -> None:
    namenode = NameNode()
    namenode.epoch = 7
    try:
        with running(tmp_path, [namenode.url], 1) as (node,):
            put(channels, node, plain_frames(block_id, DATA))
            namenode.wait_for(lambda: namenode.bodies("/heartbeat"), "it is heard")
            delete = BlockRequest(block_id=block_id, generation=1, epoch=6)
            namenode.wait_for(lambda: len(namenode.bodies("/heartbeat")) > 1, "the epoch is known")
            with pytest.raises(EpochFenced):
                dn.delete(channels.get(node.address), delete, timeout_s=10)
            node.kill()
            namenode.epoch = 6
            node.start()
            with pytest.raises(EpochFenced):
                dn.delete(channels.get(node.address), delete, timeout_s=10)
            namenode.commands.append({"kind": "delete", "block_id": str(block_id), "generation": 1})
            beats = len(namenode.bodies("/heartbeat"))
            namenode.wait_for(lambda: not namenode.commands, "the order is delivered")
            namenode.wait_for(lambda: len(namenode.bodies("/heartbeat")) > beats + 2, "it had time")
            assert get(channels, node, block_id) == DATA
    finally:
        namenode.close()


def test_a_node_waits_for_a_namenode_that_is_away(tmp_path: Path) -> None:
    namenode = NameNode()
    namenode.refusal = (503, "unavailable")
    try:
        with running(tmp_path, [namenode.url, "http://127.0.0.1:1"], 1):
            namenode.wait_for(lambda: len(namenode.calls) >= 2, "it tried twice")
            namenode.refusal = None
            namenode.wait_for(lambda: namenode.bodies("/heartbeat"), "it is heard")
    finally:
        namenode.close()


@pytest.mark.parametrize("how", ["refused", "another cluster"])
def test_a_node_that_does_not_belong_here_exits_and_says_why(tmp_path: Path, how: str) -> None:
    namenode = NameNode()
    try:
        with running(tmp_path, [namenode.url], 1) as (node,):
            namenode.wait_for(lambda: namenode.bodies("/blocks"), "it is registered")
            node.stop()
            if how == "refused":
                namenode.refusal = (409, "identity-conflict")
            else:
                namenode.cluster_id = "cluster-2"
            node.start()
            assert node.wait() == 1
            log = node.log.read_text()
            assert ("as the test wants it" if how == "refused" else "cluster-2") in log
    finally:
        namenode.close()


def test_a_second_process_on_the_same_volume_does_not_start(tmp_path: Path) -> None:
    with running(tmp_path, [], 1), pytest.raises(RuntimeError, match="in use by another process"):
        Process("dn-1", tmp_path, [])


def test_sigterm_ends_it_well(tmp_path: Path) -> None:
    with running(tmp_path, [], 1) as (node,):
        assert node.stop() == 0
