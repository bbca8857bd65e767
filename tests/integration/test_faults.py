"""A real cluster under faults: processes killed, disks that rot, writers that vanish."""

import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.blocks import MIB
from esdfs.client import DFSClient
from esdfs.errors import NotEnoughDataNodes
from tests.cluster import QUICK, Cluster, cluster, eventually

DATA = random.Random(3).randbytes(6 * MIB + 99)
SHORT_LEASES = {"nn.lease_soft_ms": "1500", "nn.lease_hard_ms": "3000"}
SCRUB = {"dn.scrub_period_s": "3"}


@pytest.fixture(scope="module")
def live() -> Iterator[Cluster]:
    """Nodes that are missed within seconds, writers within three."""
    with cluster("--block-size", "1M", settings={**QUICK, **SHORT_LEASES, **SCRUB}) as started:
        yield started


def statuses(live: Cluster) -> dict[str, str]:
    rows = live.rest("GET", "/datanodes").body["datanodes"]
    return {row["node_id"]: row["status"] for row in rows}


def everywhere(live: Cluster, dfs: DFSClient, path: str, *, without: str = "") -> bool:
    """Whether each block has two whole copies on disk, where the NameNode says, none on ``without``."""
    for block in dfs.blocks(path):
        replicas = live.replicas(block.block_id)
        known = {location.node_id for location in block.locations}
        whole = {node for node, file in replicas.items() if file.stat().st_size == block.stored_bytes}
        if len(known - {without}) < 2 or not known - {without} <= whole:
            return False
    return True


def test_a_reader_does_not_notice_that_a_datanode_is_killed(live: Cluster, dfs: DFSClient, home: str) -> None:
    dfs.write_bytes(f"{home}/f", DATA)
    victim = dfs.blocks(f"{home}/f")[0].locations[0].node_id
    reads, stop, errors = 0, threading.Event(), []

    def read() -> None:
        nonlocal reads
        while not stop.is_set():
            try:
                if dfs.read_bytes(f"{home}/f") != DATA:
                    errors.append("other bytes came back")
            except Exception as error:  # noqa: BLE001 - the test fails by it
                errors.append(repr(error))
            reads += 1

    reader = threading.Thread(target=read)
    reader.start()
    try:
        eventually(lambda: reads >= 2)
        live.kill(victim)
        after = reads
        eventually(lambda: reads >= after + 3)
    finally:
        stop.set()
        reader.join()
        live.restart(victim)
    assert errors == []


def test_the_blocks_of_a_dead_node_are_copied_to_others(live: Cluster, dfs: DFSClient, home: str) -> None:
    dfs.write_bytes(f"{home}/f", DATA)
    victim = dfs.blocks(f"{home}/f")[0].locations[0].node_id
    live.kill(victim)
    try:
        eventually(lambda: statuses(live)[victim] == "DEAD")
        eventually(lambda: everywhere(live, dfs, f"{home}/f", without=victim), what="two copies elsewhere")
        assert dfs.read_bytes(f"{home}/f") == DATA
    finally:
        live.restart(victim)
    eventually(lambda: statuses(live)[victim] == "ACTIVE")
    # What is one copy too many now goes away again, and never the last ones.
    eventually(
        lambda: all(len(live.replicas(block.block_id)) == 2 for block in dfs.blocks(f"{home}/f")),
        what="exactly two copies",
    )
    assert dfs.read_bytes(f"{home}/f") == DATA


def test_with_one_datanode_left_writes_are_refused_and_reads_go_on(
    live: Cluster, dfs: DFSClient, home: str
) -> None:
    dfs.write_bytes(f"{home}/f", b"written before")
    (block,) = dfs.blocks(f"{home}/f")
    left = block.locations[0].node_id
    others = [node for node in statuses(live) if node != left]
    for node in others:
        live.kill(node)
    try:
        eventually(lambda: [s for n, s in statuses(live).items() if n != left].count("ACTIVE") == 0)
        with live.client(timeout=2) as hasty, pytest.raises(NotEnoughDataNodes):
            hasty.write_bytes(f"{home}/g", b"nobody would keep a second copy")
        assert [s.path for s in dfs.list_directory(home)] == [f"{home}/f"]
        assert dfs.read_bytes(f"{home}/f") == b"written before"
    finally:
        for node in others:
            live.restart(node)
    eventually(lambda: list(statuses(live).values()).count("ACTIVE") == 3)
    dfs.write_bytes(f"{home}/g", b"now there is")
    assert dfs.read_bytes(f"{home}/g") == b"now there is"


def test_a_killed_put_leaves_nothing_visible_and_its_blocks_are_collected(
    live: Cluster, dfs: DFSClient, home: str
) -> None:
    def finalized() -> set[Path]:
        return {file for node in statuses(live) for file in (live.volume(node) / "current").rglob("*.data")}

    before = finalized()
    put = subprocess.Popen(
        live.command("put", "-", f"{home}/f"), stdin=subprocess.PIPE, env=live.environment()
    )
    assert put.stdin is not None
    put.stdin.write(DATA)
    put.stdin.flush()
    eventually(lambda: len(finalized() - before) >= 2, what="blocks on disk")
    put.kill()
    put.wait()
    put.stdin.close()
    assert dfs.list_directory(home) == []
    eventually(lambda: finalized() <= before, what="the blocks to be deleted")
    assert dfs.list_directory(home) == []
    dfs.write_bytes(f"{home}/f", b"the path is free")


def flip(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 0x10]))


def test_a_flipped_bit_is_never_read_and_is_repaired_on_either_node(
    live: Cluster, dfs: DFSClient, home: str
) -> None:
    dfs.write_bytes(f"{home}/f", DATA)
    chance = random.Random(4)
    for turn in (0, 1):
        for block in dfs.blocks(f"{home}/f"):
            node = block.locations[turn].node_id
            flip(live.replicas(block.block_id)[node], chance.randrange(block.stored_bytes))
        assert dfs.read_bytes(f"{home}/f") == DATA
        assert live.cli("cat", f"{home}/f").stdout == DATA
        # Those that no reader asked for are found by the scrubber.
        eventually(lambda: all_whole(live, dfs, f"{home}/f"), what="every replica to be whole again")


def all_whole(live: Cluster, dfs: DFSClient, path: str) -> bool:
    """Whether each block has two copies with the right bytes on disk."""
    for block in dfs.blocks(path):
        part = DATA[block.offset : block.offset + block.length_bytes]
        replicas = live.replicas(block.block_id)
        if len(replicas) < 2 or any(file.read_bytes() != part for file in replicas.values()):
            return False
    return True
