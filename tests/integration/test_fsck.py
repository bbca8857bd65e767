"""`esdfs fsck` from files to replicas and back, on real DataNodes that hold what they should not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.client import DFSClient
from esdfs.rpc import datanode as dn
from esdfs.rpc.channel import Channels
from tests.blocks import content, flip, plain_frames, plant
from tests.cluster import QUICK, Cluster, cluster, eventually

DATA = content(50_000)
AHEAD = 999_999


@pytest.fixture(scope="module")
def live() -> Iterator[Cluster]:
    """Orphans stay for a minute."""
    with cluster("--block-size", "64K", "--datanodes", "3", settings=QUICK) as started:
        yield started


def put_aside(live: Cluster, node_id: str, block_id: int) -> None:
    """A replica that no NameNode asked for."""
    nodes = live.rest("GET", "/datanodes").body["datanodes"]
    address = next(node["address"] for node in nodes if node["node_id"] == node_id)
    with Channels() as channels:
        (result,) = dn.store_blocks(channels.get(address), plain_frames(block_id, DATA), timeout_s=20)
    assert result.error() is None


def given_up(live: Cluster) -> tuple[int, str]:
    """A block that was allocated once and is no file's, and a DataNode it was not meant for."""
    opened = live.rest("POST", "/files/upload", {"path": "/never"}).body
    aborted = live.rest("POST", f"/files/{opened['file_id']}/abort", {"lease": opened["lease"]})
    assert aborted.status == 200
    (block,) = opened["blocks"]
    (other,) = {"dn-1", "dn-2", "dn-3"} - {target["node_id"] for target in block["targets"]}
    return int(block["block_id"]), other


def lines(live: Cluster, *args: str) -> list[str]:
    return live.run("fsck", *args).stdout.decode().splitlines()


def only_block(dfs: DFSClient, path: str) -> str:
    (block,) = dfs.blocks(path)
    return block.block_id


def rot(files: dict[str, Path]) -> None:
    for file in files.values():
        flip(file, 1000)


def test_what_no_file_needs_is_named_and_what_is_ahead_of_the_journal_is_an_alarm_everywhere(
    live: Cluster, dfs: DFSClient
) -> None:
    dfs.write_bytes("/kept", DATA)
    dfs.write_bytes("/past", DATA)
    past = only_block(dfs, "/past")
    dfs.write_bytes("/original", DATA)
    live.cli("cp", "/original", "/copy")
    shared = only_block(dfs, "/copy")
    dfs.remove_file("/past")
    dfs.remove_file("/original")
    orphan, where = given_up(live)
    put_aside(live, where, orphan)
    assert live.run("fsck").returncode == 0
    put_aside(live, "dn-2", AHEAD)

    alarm = f"ALARM: block {AHEAD} generation 1 on dn-2: its block was never allocated"
    eventually(lambda: any(line.startswith(alarm) for line in lines(live)), what="the alarm in fsck")
    told = lines(live, "--replicas")
    assert any(line.startswith(f"ALARM: ahead: block {AHEAD} generation 1 on dn-2: ") for line in told)
    assert sum(line.startswith(f"historical: block {past} ") for line in told) == 2
    assert not any(f"block {shared} " in line for line in told)
    found = [line for line in told if line.startswith(f"orphan: block {orphan} generation 1 on {where}: ")]
    assert "no file that is known ever named its block; to be deleted in " in found[0]
    assert (
        "8 replicas, 4 needed, 2 historical, 0 surplus, 0 stale, 0 corrupt, 1 orphan, 0 unreachable, 1 ahead"
    ) in told

    done = live.run("fsck")
    assert done.returncode == 1
    assert b"1 replica is ahead of the journal: the metadata went back in time" in done.stderr
    assert live.run("fsck", "/kept").returncode == 0, "below a path there is no way back"
    rows = [json.loads(line) for line in live.run("fsck", "--json").stdout.splitlines()]
    ahead = [row["held"] for row in rows if row.get("held", {}).get("state") == "ahead"]
    assert [(one["block_id"], one["node_id"]) for one in ahead] == [(str(AHEAD), "dn-2")]
    assert {row["held"]["state"] for row in rows if "held" in row} == {"ahead", "historical", "orphan"}

    shown = live.rest("GET", "/cluster").body
    assert ([one["block_id"] for one in shown["alarms"]], shown["alarm_count"]) == ([str(AHEAD)], 1)
    assert alarm in live.cli("cluster", "status").stdout.decode()
    assert b"esdfs_replicas_ahead 1.0" in live.rest("GET", "/metrics").body
    doctor = live.run("doctor")
    assert doctor.returncode == 1
    assert b"problem  replicas: 1 replica is ahead of the journal" in doctor.stdout

    live.kill("dn-2")
    for suffix in ("data", "meta"):
        next(live.volume("dn-2").rglob(f"{AHEAD}_1.{suffix}")).unlink()
    live.restart("dn-2")
    eventually(lambda: live.run("fsck").returncode == 0, what="the alarm to be over")


def test_reading_everything_reads_what_only_the_past_needs(live: Cluster, dfs: DFSClient) -> None:
    dfs.write_bytes("/was", DATA)
    block_id = only_block(dfs, "/was")
    dfs.remove_file("/was")
    files = live.replicas(block_id)
    node_id = min(files)
    rot({node_id: files[node_id]})
    told = live.cli("fsck", "--repair", "--deep").stdout.decode()
    assert f"replica: block {block_id} on {node_id}: replica-corrupt: " in told
    eventually(
        lambda: (
            sum(line.startswith(f"historical: block {block_id} ") for line in lines(live, "--replicas")) == 2
        )
    )
    live.cli("restore", "/was", "--as-of", str(live.rest("GET", "/journal/head").body["last_txid"] - 1))
    assert dfs.read_bytes("/was") == DATA


@pytest.mark.parametrize("found_by", ["a reader", "fsck /", "fsck of a path"])
def test_a_replica_that_is_consistent_but_not_what_was_written_is_replaced(
    live: Cluster, dfs: DFSClient, tmp_path: Path, found_by: str
) -> None:
    path = f"/swapped-{found_by.replace(' ', '-').replace('/', 'all')}"
    dfs.write_bytes(path, DATA)
    block_id = only_block(dfs, path)
    eventually(lambda: live.holders(path)[0] == set(live.replicas(block_id)))
    node_id = dfs.blocks(path)[0].locations[0].node_id
    live.kill(node_id)
    plant(live.replicas(block_id)[node_id], content(len(DATA), seed=2))
    live.restart(node_id)
    eventually(lambda: node_id in live.holders(path)[0])

    if found_by == "a reader":

        def is_set_aside() -> bool:
            (tmp_path / "got").unlink(missing_ok=True)
            live.cli("get", path, str(tmp_path / "got"))
            assert (tmp_path / "got").read_bytes() == DATA
            return any((live.volume(node_id) / "corrupt").glob(f"{block_id}_*.data"))

        eventually(is_set_aside, what="the replica to be read from the DataNode that came back")
    else:
        top = [] if found_by == "fsck /" else [path]
        told = live.run("fsck", "--repair", "--deep", *top).stdout.decode()
        assert f"replica: block {block_id} on {node_id}: replica-corrupt: " in told
        assert "consistent, but not what was written" in told

    def is_replaced() -> bool:
        files = live.replicas(block_id)
        return len(files) >= 2 and all(file.read_bytes() == DATA for file in files.values())

    eventually(is_replaced, what="another copy of what was written")
    assert dfs.read_bytes(path) == DATA


def test_a_drained_datanode_that_waits_for_what_nobody_can_read_says_so(
    live: Cluster, dfs: DFSClient
) -> None:
    dfs.write_bytes("/lost", DATA)
    block_id = only_block(dfs, "/lost")
    files = live.replicas(block_id)
    assert len(files) == 2
    rot(files)
    live.run("fsck", "--repair", "--deep", "/lost")
    eventually(lambda: any(line.startswith("corrupt: /lost") for line in lines(live)))

    going = min(files)
    live.cli("node", "decommission", going, "--no-wait")
    why = f"(1 of them nobody can read: {block_id}; esdfs fsck names their files)"
    eventually(lambda: why in live.cli("node", "list").stdout.decode())
    told = f"{going}: decommissioning, 1 blocks to copy {why}, 0 files open"
    eventually(lambda: told in live.cli("cluster", "status").stdout.decode())
    assert told in lines(live)
    assert f"corrupt: /lost; block {block_id}: 2 corrupt copies" in "\n".join(lines(live))
    doctor = live.run("doctor").stdout.decode()
    assert f"warning  {told}" in doctor
    metric = f'esdfs_datanode_blocks_unreadable{{node_id="{going}"}} 1.0'
    assert metric.encode() in live.rest("GET", "/metrics").body
    corrupt = [line for line in lines(live, "--replicas") if line.startswith(f"corrupt: block {block_id} ")]
    assert len(corrupt) == 2
    assert all(line.endswith(" (/lost)") for line in corrupt)
    live.cli("node", "activate", going)
