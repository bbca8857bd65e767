"""History is forgotten for good: disks hold what the window and the snapshots show, and nothing else."""

from collections.abc import Iterator

import pytest

from esdfs.client import DFSClient
from esdfs.errors import Compacted, NotFound
from tests.cluster import QUICK, Cluster, cluster, eventually

SETTINGS = QUICK | {
    "nn.horizon_step_ms": "200",
    "nn.purge_grace_ms": "500",
    "nn.safe_mode_min_ms": "1000",
}
FILES = 12


@pytest.fixture(scope="module")
def live() -> Iterator[Cluster]:
    with cluster("--block-size", "1M", "--datanodes", "2", settings=SETTINGS) as started:
        yield started


def on_disk(live: Cluster) -> set[str]:
    """The blocks that any DataNode holds."""
    found: set[str] = set()
    for node in live.info["datanodes"]:
        files = (live.volume(node["id"]) / "current").rglob("*.data")
        found |= {file.name.split("_")[0] for file in files}
    return found


def blocks_of(dfs: DFSClient, paths: list[str], as_of: int | None = None) -> set[str]:
    return {block.block_id for path in paths for block in dfs.blocks(path, as_of=as_of)}


def head(live: Cluster) -> int:
    return int(live.rest("GET", "/journal/head").body["last_txid"])


def test_disks_shrink_to_what_the_window_and_the_snapshots_show(
    live: Cluster, dfs: DFSClient, home: str
) -> None:
    names = [f"{home}/{number}" for number in range(FILES)]
    for name in names:
        dfs.write_bytes(name, f"first {name}".encode())
    first = head(live)
    one = blocks_of(dfs, names[:1])
    dfs.create_snapshot("one", names[0])
    for name in names:
        dfs.write_bytes(name, f"second {name}".encode(), overwrite=True)
    second = head(live)
    live.cli("snapshot", "create", "all", home, "--as-of", str(first))
    old, new = blocks_of(dfs, names, first), blocks_of(dfs, names)
    assert on_disk(live) == old | new

    live.cli("retention", "set", "--days", "0", "--records", "1")
    for name in names[FILES // 2 :]:
        dfs.remove_file(name)
    dfs.make_directory(f"{home}/moves-on")
    present = blocks_of(dfs, names[: FILES // 2])
    eventually(lambda: on_disk(live) == old | present, what="the window's blocks to go, but not a snapshot's")
    with pytest.raises(Compacted):
        dfs.list_directory(home, as_of=second)
    answer = live.rest("GET", f"/directories{home}?as_of={second}")
    assert (answer.status, answer.body["code"]) == (410, "compacted")
    assert answer.body["oldest_txid"] > second
    for name in names:
        assert dfs.read_bytes(name, as_of="@all") == f"first {name}".encode()
    assert live.cli("get", "--as-of", "@all", names[1], "-").stdout == f"first {names[1]}".encode()
    assert {entry.path for entry in dfs.list_directory(home, as_of="@all")} == set(names)
    (report,) = live.rows("retention", "report")
    assert report["history"]["bytes"] == sum(len(f"first {name}") for name in names)
    assert report["history"] == report["snapshots"]
    assert [line["what"] for line in report["directories"]] == [home]

    # What is released and not yet ordered away dies with the process: it is found again.
    (namenode,) = live.info["namenodes"]
    dfs.delete_snapshot("all")
    live.kill(namenode["id"])
    live.restart(namenode["id"])
    eventually(lambda: on_disk(live) == one | present, what="what only that snapshot held to go")
    assert dfs.read_bytes(names[0], as_of="@one") == f"first {names[0]}".encode()
    with pytest.raises(NotFound, match="snapshot"):
        dfs.stat(names[0], as_of="@all")
    with pytest.raises(Compacted):
        dfs.list_directory(home, as_of="@one")
    dfs.delete_snapshot("one")
    eventually(lambda: on_disk(live) == present, what="only the present to be left")
    assert dfs.read_bytes(names[0]) == f"second {names[0]}".encode()
