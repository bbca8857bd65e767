"""DataNodes that are killed at random, and disks that turn read-only under them."""

import os
import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.errors import EsdfsError, ReplicaNotFound
from esdfs.rpc import datanode as dn
from esdfs.rpc.channel import Channels
from esdfs.rpc.messages import BlockRequest
from tests.blocks import content, flip, plain_frames
from tests.cluster import eventually
from tests.datanodes import NameNode, Process, running


@pytest.fixture
def channels() -> Iterator[Channels]:
    with Channels() as channels:
        yield channels


def get(channels: Channels, node: Process, block_id: int) -> bytes:
    pieces = dn.read_range(channels.get(node.address), BlockRequest(block_id=block_id), timeout_s=30)
    return b"".join(bytes(piece) for piece in pieces)


def test_through_kills_at_random_moments_what_was_acknowledged_stays_and_the_rest_is_whole_or_absent(
    tmp_path: Path, channels: Channels
) -> None:
    draw = random.Random(11)
    written: dict[int, bytes] = {}
    acknowledged: set[int] = set()
    block_id = 0
    with running(tmp_path, [], 2) as (one, two):
        for victim in (one, two, two, one):
            killer = threading.Timer(0.05 + draw.random() * 0.3, victim.process.kill)
            killer.start()
            while victim.process.poll() is None:
                block_id += 1
                written[block_id] = content(draw.randrange(1, 3_000_000), seed=block_id)
                frames = plain_frames(block_id, written[block_id], targets=(two.target,))
                try:
                    (result,) = dn.store_blocks(channels.get(one.address), frames, timeout_s=30)
                except EsdfsError:
                    continue
                if not result.code:
                    acknowledged.add(block_id)
            killer.join()
            victim.wait()
            victim.start()
            for node in (one, two):
                for number, data in written.items():
                    try:
                        assert get(channels, node, number) == data
                    except ReplicaNotFound:
                        assert number not in acknowledged
        assert len(acknowledged) > 4
        for node in (one, two):
            assert node.files("corrupt") == []


@pytest.fixture
def breakable_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that `turn_read_only` makes refuse writes: a file system of its own if we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], check=True)
    yield disk
    if os.geteuid() == 0:
        subprocess.run(["umount", disk], check=True)


def turn_read_only(disk: Path) -> None:
    if os.geteuid() == 0:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    else:
        (disk / "volume" / "tmp").chmod(0o500)


def test_a_disk_that_turns_read_only_is_out_of_service_and_its_replicas_are_reported_lost(
    tmp_path: Path, breakable_disk: Path, channels: Channels
) -> None:
    namenode = NameNode()
    data = content(100_000)
    try:
        volumes = [str(breakable_disk / "volume")]
        with running(tmp_path, [namenode.url], 1, volumes=volumes) as (node,):
            dn.store_blocks(channels.get(node.address), plain_frames(1, data), timeout_s=30)
            entry = [1, 1, len(data)]
            namenode.wait_for(lambda: entry in namenode.reported("stored", "dn-1"), "the block is reported")
            turn_read_only(breakable_disk)
            (result,) = dn.store_blocks(channels.get(node.address), plain_frames(2, data), timeout_s=30)
            assert (result.code, result.failed_node_id) == ("disk-failed", "dn-1")
            namenode.wait_for(lambda: [1, 1] in namenode.reported("removed", "dn-1"), "the loss is reported")
            namenode.wait_for(
                lambda: namenode.bodies("/heartbeat")[-1]["volumes"][0]["failed"], "the heartbeat says so"
            )
            with pytest.raises(ReplicaNotFound):
                get(channels, node, 1)
    finally:
        namenode.close()


def test_the_scrubber_reports_what_nobody_reads(tmp_path: Path, channels: Channels) -> None:
    namenode = NameNode()
    try:
        with running(tmp_path, [namenode.url], 1) as (node,):
            for number in (1, 2):
                dn.store_blocks(
                    channels.get(node.address), plain_frames(number, content(200_000)), timeout_s=30
                )
            node.stop()
            flip(next((node.volume / "current").rglob("2_1.data")), 150_000)
            node.start(scrub_period_s=1)
            namenode.wait_for(lambda: [2, 1] in namenode.reported("corrupt", "dn-1"), "the damage is found")
            assert get(channels, node, 1) == content(200_000)
    finally:
        namenode.close()


def test_through_kills_while_replicas_move_to_an_added_volume_each_is_there_once_and_whole(
    tmp_path: Path, channels: Channels
) -> None:
    draw = random.Random(5)
    namenode = NameNode()
    try:
        with running(tmp_path, [namenode.url], 1, capacity_bytes=64 << 20, scan_interval_s=1) as (node,):
            written = {number: content(700_000 + number, seed=number) for number in range(1, 25)}
            for number, data in written.items():
                dn.store_blocks(channels.get(node.address), plain_frames(number, data), timeout_s=30)
            node.stop()
            roots = [node.volume, tmp_path / "added"]

            def on(root: Path) -> list[str]:
                return sorted(path.name for path in (root / "current").rglob("*.data"))

            node.start(volumes=[str(root) for root in roots], balance_bytes_per_s=6_000_000)
            for _ in range(3):
                some = len(on(roots[1])) + draw.randrange(1, 3)
                eventually(lambda some=some: len(on(roots[1])) >= some, what="replicas move")  # type: ignore[misc]  # a default argument
                node.kill()
                node.start()
                for number, data in written.items():
                    assert get(channels, node, number) == data
            namenode.wait_for(lambda: evenly(namenode), "both volumes are used evenly")
            names = on(roots[0]) + on(roots[1])
            assert sorted(names) == sorted(f"{number}_1.data" for number in written)
            assert namenode.reported("removed", "dn-1") == namenode.reported("corrupt", "dn-1") == []
            for number, data in written.items():
                assert get(channels, node, number) == data
    finally:
        namenode.close()


def evenly(namenode: NameNode) -> bool:
    used = [volume["used_bytes"] for volume in namenode.bodies("/heartbeat")[-1]["volumes"]]
    return len(used) == 2 and abs(used[0] - used[1]) < 0.1 * (64 << 20)
