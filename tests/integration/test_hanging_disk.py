"""A DataNode one of whose disks hangs: the rest of it serves on, and what was there is copied elsewhere."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.blocks import content
from tests.cluster import QUICK, Cluster, cluster, eventually

SETTINGS = QUICK | {"dn.disk_hangs_after_s": "1", "nn.dead_after_ms": "60000"}
HANGING = "dn-1"


@pytest.fixture
def live() -> Iterator[Cluster]:
    with cluster("--datanodes", "3", "--volumes", "2", "--block-size", "64K", settings=SETTINGS) as started:
        yield started


def node(live: Cluster) -> dict[str, Any]:
    return next(row for row in live.rows("node", "list") if row["node_id"] == HANGING)


def healthy(live: Cluster) -> bool:
    return b" 0 under-replicated, 0 corrupt, 0 missing" in live.run("fsck").stdout


def test_a_disk_that_hangs_is_noticed_and_costs_its_own_replicas_only(live: Cluster) -> None:
    files = {f"/f{n}": content(150_000, seed=n) for n in range(12)}
    with live.client() as dfs:
        for path, data in files.items():
            dfs.write_bytes(path, data)
    disk, other = live.volumes(HANGING)
    had = sorted(file.name for file in (disk / "current").rglob("*.data"))
    assert had, "the disk that will hang has replicas"
    live.kill(HANGING)
    pipe = disk / "tmp" / "probe"
    os.mkfifo(pipe)  # opening it to write hangs until somebody reads
    live.restart(HANGING)

    eventually(lambda: node(live)["failed_volumes"] == 1, what="the NameNode to hear of the disk that hangs")
    (why,) = [volume["failed_why"] for volume in node(live)["volumes"] if volume["failed"]]
    assert why.startswith(f"{disk}: a write of 4 KiB hangs")
    assert "1 of 2 disks failed" in live.cli("cluster", "status").stdout.decode()
    eventually(lambda: healthy(live), what="what the disk had to be copied elsewhere")
    assert node(live)["status"] == "ACTIVE"
    kept = set((other / "current").rglob("*.data"))
    with live.client() as dfs:
        for number in range(12):
            files[f"/more{number}"] = content(100_000, seed=100 + number)
            dfs.write_bytes(f"/more{number}", files[f"/more{number}"])
        assert {path: dfs.read_bytes(path) for path in files} == files
    assert set((other / "current").rglob("*.data")) > kept, "its other disk takes new blocks"

    live.kill(HANGING)
    pipe.unlink()
    live.restart(HANGING)
    eventually(lambda: node(live)["failed_volumes"] == 0, what="the disk to be back, with no operator")
    eventually(lambda: healthy(live))
    with live.client() as dfs:
        assert {path: dfs.read_bytes(path) for path in files} == files
