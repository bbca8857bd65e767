"""DataNodes with little room: nothing half-written stays, and what fits elsewhere goes there."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.blocks import MIB
from esdfs.errors import EsdfsError
from tests.cluster import Cluster, cluster, eventually

SMALL_BYTES = 6 * MIB


@pytest.fixture(scope="module")
def live() -> Iterator[Cluster]:
    """Three DataNodes, the first on a volume of its own of 6 MiB."""
    mounted: list[Path] = []

    def mount(directory: Path) -> None:
        volume = directory / "dn-1" / "data"
        volume.mkdir(parents=True)
        options = f"size={SMALL_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(volume)], check=True)
        mounted.append(volume)

    try:
        with cluster("--block-size", "1M", prepare=mount) as started:
            try:
                yield started
            finally:
                started.down()
    finally:
        for volume in mounted:
            subprocess.run(["umount", str(volume)], check=True)


def test_files_beyond_the_small_disk_go_to_the_others_and_come_back(live: Cluster) -> None:
    contents = {f"/f{n}": random.Random(n).randbytes(2 * MIB + n) for n in range(8)}
    with live.client() as dfs:
        for path, content in contents.items():
            dfs.write_bytes(path, content)
        for path, content in contents.items():
            assert dfs.read_bytes(path) == content
    assert used(live.volume("dn-1")) <= SMALL_BYTES
    assert list((live.volume("dn-1") / "tmp").iterdir()) == [], "nothing half-written stays"


def test_with_no_second_node_that_has_room_a_file_is_refused_and_leaves_nothing(live: Cluster) -> None:
    live.kill("dn-3")
    try:
        with live.client(timeout=5) as dfs:
            with pytest.raises(EsdfsError):
                dfs.write_bytes("/too-large", bytes(10 * MIB))
            assert not dfs.exists("/too-large")
        eventually(lambda: list((live.volume("dn-1") / "tmp").iterdir()) == [], what="tmp to be empty")
    finally:
        live.restart("dn-3")


def used(volume: Path) -> int:
    return sum(file.stat().st_size for file in volume.rglob("*") if file.is_file())


def test_a_namenode_whose_disk_is_nearly_full_refuses_changes_and_serves_reads() -> None:
    """It keeps room for its journal, rather than find out in the middle of a record that there is none."""
    with cluster("--datanodes", "1", "--set", f"nn.free_bytes_min={1 << 50}") as short:
        refused = short.rest("POST", "/directories", {"path": "/a"})
        assert (refused.status, refused.body["code"]) == (507, "insufficient-storage")
        assert "read-only until there is room" in refused.body["detail"]
        assert short.rest("GET", "/directories/").status == 200
        assert short.rest("GET", "/files?path=/a").status == 404
