"""Copies on real disks of blocks that several files name."""

from collections.abc import Iterator

import pytest

from tests.blocks import content
from tests.cluster import QUICK, Cluster, cluster, eventually

DATA = content(150_000)


@pytest.fixture(scope="module")
def live() -> Iterator[Cluster]:
    """Three DataNodes; a file has three blocks."""
    with cluster("--block-size", "64K", "--datanodes", "3", settings=QUICK) as started:
        yield started


def on_disk(live: Cluster, path: str) -> list[int]:
    with live.client() as dfs:
        return [len(live.replicas(block.block_id)) for block in dfs.blocks(path)]


def put(live: Cluster, path: str) -> int:
    """A file with three copies of each block; the txid after it."""
    live.cli("put", "--replication", "3", "-", path, stdin=DATA)
    eventually(lambda: on_disk(live, path) == [3] * 3)
    return int(live.rest("GET", "/cluster").body["last_txid"])


def is_agreed(live: Cluster) -> bool:
    """Whether files, the repair and the cluster's status all say that nothing is wanted."""
    repaired = live.run("fsck", "--repair")
    checked = live.run("fsck")
    wanted = live.rest("GET", "/cluster").body["blocks"]["under_replicated"]
    return not (repaired.returncode or checked.returncode or wanted)


def test_a_restored_file_gets_back_the_copies_it_had(live: Cluster) -> None:
    then = put(live, "/restored")
    live.cli("setrep", "2", "/restored")
    eventually(lambda: on_disk(live, "/restored") == [2] * 3)
    live.cli("restore", "/restored", "--as-of", str(then))
    eventually(lambda: on_disk(live, "/restored") == [3] * 3)
    assert is_agreed(live)
    live.cli("setrep", "2", "/restored")
    eventually(lambda: on_disk(live, "/restored") == [2] * 3)
    assert is_agreed(live)


def test_a_restored_directory_gets_back_the_copies_it_had(live: Cluster) -> None:
    live.cli("mkdir", "/tree")
    then = put(live, "/tree/f")
    live.cli("setrep", "2", "/tree/f")
    eventually(lambda: on_disk(live, "/tree/f") == [2] * 3)
    live.cli("restore", "/tree", "--as-of", str(then))
    eventually(lambda: on_disk(live, "/tree/f") == [3] * 3)
    assert is_agreed(live)


def test_a_copys_copies_are_not_taken_when_the_original_asks_for_fewer(live: Cluster) -> None:
    put(live, "/original")
    live.cli("cp", "/original", "/copy")
    live.cli("setrep", "2", "/original")
    assert is_agreed(live)
    assert on_disk(live, "/copy") == [3] * 3
    live.cli("setrep", "2", "/copy")
    eventually(lambda: on_disk(live, "/copy") == [2] * 3)
    live.cli("setrep", "3", "/copy")
    eventually(lambda: on_disk(live, "/original") == [3] * 3)
    assert is_agreed(live)
