"""Large restores on real processes: answered at once, read when whole, through the loss of a leader."""

from collections.abc import Iterator
from typing import Any

import pytest

from esdfs.client import DFSClient
from tests.cluster import Cluster, cluster, eventually
from tests.integration.test_failover import leader

MANY = 20_000
PER_REQUEST = 1_000


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with cluster("--namenodes", "3", "--datanodes", "2", "--block-size", "1M") as started:
        yield started


@pytest.fixture
def dfs(trio: Cluster) -> Iterator[DFSClient]:
    with trio.client(timeout=60.0) as client:
        yield client


def paths(dfs: DFSClient, top: str, as_of: int | None = None) -> list[str]:
    return sorted(entry.path for _, below, files in dfs.walk(top, as_of=as_of) for entry in [*below, *files])


def fill(dfs: DFSClient, top: str) -> int:
    """``MANY`` copies of a small file, and a large one; returns the txid with all of them."""
    dfs.make_directory(top)
    dfs.write_bytes(f"{top}/small", b"s" * 1000)
    dfs.write_bytes(f"{top}/large", b"l" * (3 << 20))
    txid = 0
    for first in range(0, MANY, PER_REQUEST):
        copies = [
            {"kind": "copy", "source": f"{top}/small", "target": f"{top}/{first}/{n}"}
            for n in range(PER_REQUEST - 1)
        ]
        txid = dfs.transact([{"kind": "make-directory", "path": f"{top}/{first}"}, *copies])
    return txid


def test_a_large_tree_comes_back_whole_though_the_leader_is_lost_halfway(
    trio: Cluster, dfs: DFSClient
) -> None:
    then = fill(dfs, "/big")
    wanted = paths(dfs, "/big")
    assert len(wanted) == MANY + 2
    dfs.remove_directory("/big", recursive=True)
    status = dfs.restore("/big", then)
    assert status.path == "/big"
    trio.kill(leader(trio)["id"])

    assert paths(dfs, "/big") == wanted  # asked again until all of it is there
    assert dfs.read_bytes("/big/large") == b"l" * (3 << 20)

    for node in trio.info["namenodes"]:
        trio.restart(node["id"])
    eventually(lambda: len(set(trio.digests())) == 1, within_s=60)


def test_the_whole_namespace_goes_back_and_forth(trio: Cluster, dfs: DFSClient) -> None:
    then = fill(dfs, "/whole")
    wanted = paths(dfs, "/")
    dfs.rename("/whole", "/renamed")
    dfs.write_bytes("/renamed/small", b"changed", overwrite=True)
    dfs.remove_directory(f"/renamed/{PER_REQUEST}", recursive=True)
    changed = paths(dfs, "/")

    told = [row["change"] for row in trio.rows("restore", "/", "--as-of", str(then), "--dry-run")]
    assert (told.count("added"), told.count("renamed")) == (PER_REQUEST, 1)
    trio.cli("restore", "/", "--as-of", str(then))
    assert paths(dfs, "/") == wanted
    assert dfs.read_bytes("/whole/small") == b"s" * 1000
    trio.cli("restore", "/", "--as-of", str(_before(dfs)))
    assert paths(dfs, "/") == changed
    assert dfs.read_bytes("/renamed/small") == b"changed"


def _before(dfs: DFSClient) -> int:
    """The txid before the last restore of all."""
    head = dfs.control.get("/journal/head", dict[str, Any])["last_txid"]
    page = dfs.control.get("/journal", dict[str, Any], **{"from": max(1, head - 999), "limit": 1000})
    return max(int(r["txid"]) for r in page["records"] if r["kind"] == "namespace-rewound") - 1


def test_what_differs_and_what_fits_is_told_of_any_moment(trio: Cluster, dfs: DFSClient) -> None:
    dfs.make_directory("/told")
    before = dfs.write_bytes("/told/a.txt", b"a").txid
    dfs.rename("/told/a.txt", "/told/b.txt")
    dfs.write_bytes("/told/c.log", b"cc")
    after = dfs.stat("/told/c.log").txid

    lines = trio.cli("diff", str(before), str(after), "/told").stdout.decode().splitlines()
    assert lines == ["R  /told/a.txt -> /told/b.txt", "A  /told/c.log"]
    backwards = trio.rows("diff", str(after), str(before), "/told")
    assert [(row["change"], row["path"]) for row in backwards] == [
        ("renamed", "/told/a.txt"),
        ("deleted", "/told/c.log"),
    ]
    done = trio.rows("diff", str(before), str(after), "/told", "--ops")
    assert [row["kind"] for row in done if row["kind"] != "file-opened"] == ["renamed", "file-completed"]
    assert dfs.diff(before, None, "/told").changes == dfs.diff(before, after, "/told").changes
    assert [row["path"] for row in trio.rows("find", "/told", "--name", "*.txt")] == ["/told/b.txt"]
    then = trio.rows("find", "/told", "--name", "*.txt", "--type", "f", "--as-of", str(before))
    assert [row["path"] for row in then] == ["/told/a.txt"]
