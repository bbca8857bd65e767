"""DataNodes drained, stopped for a while, and put back, while others write; and copies spread over racks."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from esdfs.client import DFSClient
from tests.blocks import content
from tests.cluster import QUICK, Cluster, cluster, eventually

FEW_BLOCKS = content(300_000)
SETTINGS = QUICK | {"nn.dead_after_ms": "2500"}


@pytest.fixture(scope="module")
def racks() -> Iterator[Cluster]:
    """Three NameNodes, and four DataNodes on two racks."""
    options = ("--namenodes", "3", "--datanodes", "4", "--racks", "2", "--block-size", "64K")
    with cluster(*options) as started:
        yield started


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three DataNodes that are missed soon; a script and the settings say where they stand."""
    script = tmp_path_factory.mktemp("racks") / "topology"
    script.write_text('#!/bin/sh\necho "/of/$1"\n')
    script.chmod(0o755)
    settings = SETTINGS | {"nn.topology_script": str(script), "nn.topology.dn-3": "/by/name"}
    with cluster("--datanodes", "3", "--block-size", "64K", settings=settings) as started:
        yield started


def node(live: Cluster, node_id: str) -> dict[str, Any]:
    """What is shown of a DataNode."""
    return next(row for row in live.rows("node", "list") if row["node_id"] == node_id)


def silent_s(live: Cluster, node_id: str) -> float:
    heard = datetime.fromisoformat(node(live, node_id)["last_heartbeat"])
    return (datetime.now(UTC) - heard).total_seconds()


def all_serve(live: Cluster) -> bool:
    rows = live.rows("node", "list")
    return all((row["status"], row["admin"]) == ("ACTIVE", "in-service") for row in rows)


def racks_of(live: Cluster, path: str) -> list[set[str]]:
    where = {row["node_id"]: row["rack"] for row in live.rows("node", "list")}
    return [{where[holder] for holder in holders} for holders in live.holders(path)]


def healthy(live: Cluster) -> bool:
    return b" 0 under-replicated, 0 corrupt, 0 missing" in live.run("fsck").stdout


def copies_on_disk(live: Cluster, path: str) -> list[int]:
    with live.client() as dfs:
        return [len(live.replicas(block.block_id)) for block in dfs.blocks(path)]


class Writer(threading.Thread):
    """Writes small files until told to stop; remembers those that were acknowledged."""

    def __init__(self, live: Cluster) -> None:
        super().__init__()
        self.written: dict[str, bytes] = {}
        self.failed: list[Exception] = []
        self._live = live
        self._stopping = threading.Event()

    def run(self) -> None:
        with self._live.client() as dfs:
            dfs.make_directory("/busy")
            while not self._stopping.is_set():
                path, data = f"/busy/{len(self.written)}", content(90_000, seed=len(self.written))
                try:
                    dfs.write_bytes(path, data)
                except Exception as error:  # noqa: BLE001 - the test fails with it
                    self.failed.append(error)
                    return
                self.written[path] = data
                self._stopping.wait(0.05)

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        assert not self.failed


def open_on(live: Cluster, dfs: DFSClient, path: str) -> tuple[Any, str]:
    """A file held open for writing, and a DataNode that a block of it is on."""
    file = dfs.open(path, "wb")
    file.write(content(100_000, seed=5))

    def targets() -> list[int]:
        rows = live.rows("journal", "tail", "-n", "200")
        events = [event for row in rows for event in row["event"].get("events", [row["event"]])]
        opened = {event["inode"] for event in events if event.get("name") == path[1:] and "lease" in event}
        blocks = [block for event in events if event.get("inode") in opened for block in event["blocks"]]
        return [target for block in blocks for target in block[2]]

    eventually(targets, what="blocks of an open file")
    numbers = {row["number"]: row["node_id"] for row in live.rows("node", "list")}
    return file, numbers[targets()[-1]]


def test_a_datanode_is_drained_while_others_write_and_a_leader_dies(racks: Cluster) -> None:
    with racks.client() as dfs:
        dfs.write_bytes("/before", FEW_BLOCKS)
        assert all(len(where) == 2 for where in racks_of(racks, "/before")), "a rack has all copies"
        held, going = open_on(racks, dfs, "/held")
        writer = Writer(racks)
        writer.start()
        racks.cli("node", "decommission", going, "--no-wait", "--why", "an old disk")

        eventually(lambda: node(racks, going)["progress"]["files_open"] >= 1)
        racks.kill("leader")
        eventually(lambda: node(racks, going)["progress"]["files_open"] == 1, what="only the held file")
        shown = node(racks, going)
        assert (shown["admin"], shown["admin_why"]) == ("decommissioning", "an old disk")
        assert not shown["progress"]["ready"]

        held.close()
        done = racks.cli("node", "decommission", going)
        assert done.stdout.decode() == f"{going} may be switched off for good\n"
        assert node(racks, going)["admin"] == "decommissioned"
        racks.kill(going)
        eventually(lambda: node(racks, going)["status"] == "DEAD")
        assert healthy(racks)
        writer.stop()
        for path, data in {
            "/before": FEW_BLOCKS,
            "/held": content(100_000, seed=5),
            **writer.written,
        }.items():
            assert dfs.read_bytes(path) == data
        assert all(going not in holders for holders in racks.holders("/held"))
        assert len(writer.written) > 3

        for other in sorted({"dn-1", "dn-2", "dn-3", "dn-4"} - {going})[:1]:
            racks.cli("node", "decommission", other, "--no-wait")
        refused = racks.run("node", "decommission", "dn-4" if going != "dn-4" else "dn-3")
        assert refused.returncode == 1
        assert b"1 DataNodes would serve, a new file needs 2" in refused.stderr
        (record, *_) = racks.rows("journal", "audit", "--kind", "datanode-state-set", "-n", "1")
        assert record["changes"][0]["fields"]["state"] == {"old": None, "new": "decommissioning"}


def test_racks_are_what_settings_and_script_say_and_hold_a_copy_each(three: Cluster) -> None:
    where = {row["node_id"]: row["rack"] for row in three.rows("node", "list")}
    assert where == {"dn-1": "/of/127.0.0.1", "dn-2": "/of/127.0.0.1", "dn-3": "/by/name"}
    with three.client() as dfs:
        dfs.write_bytes("/spread", FEW_BLOCKS)
    assert all("dn-3" in holders and len(holders) == 2 for holders in three.holders("/spread"))


def test_in_maintenance_silence_costs_no_copies_until_the_deadline(three: Cluster) -> None:
    with three.client() as dfs:
        dfs.write_bytes("/m", FEW_BLOCKS)
        before = copies_on_disk(three, "/m")
        eventually(lambda: all_serve(three))
        done = three.cli("node", "maintenance", "dn-1", "--for", "10m", "--why", "a new fan")
        assert done.stdout == b"dn-1 may be stopped\n"
        three.kill("dn-1")
        eventually(lambda: silent_s(three, "dn-1") > 3.0)  # longer than until a DataNode is dead
        shown = node(three, "dn-1")
        assert (shown["status"], shown["status_why"]) == ("MAINTENANCE", "a new fan")
        assert copies_on_disk(three, "/m") == before == [2] * 5
        assert dfs.read_bytes("/m") == FEW_BLOCKS

        three.cli("node", "maintenance", "dn-1", "--for", "1s", "--no-wait")  # a deadline can be moved
        eventually(lambda: node(three, "dn-1")["status"] == "DEAD")
        assert node(three, "dn-1")["status_why"] == "maintenance ended by its deadline"
        eventually(lambda: all(holders == {"dn-2", "dn-3"} for holders in three.holders("/m")))
        three.restart("dn-1")
        eventually(lambda: node(three, "dn-1")["status"] == "ACTIVE")
        eventually(lambda: copies_on_disk(three, "/m") == [2] * 5, what="what is too much is deleted")


def test_an_activated_datanode_serves_again(three: Cluster) -> None:
    eventually(lambda: all_serve(three))
    three.cli("node", "decommission", "dn-3", "--no-wait")
    with three.client() as dfs:
        dfs.write_bytes("/a", FEW_BLOCKS)
        assert all(holders == {"dn-1", "dn-2"} for holders in three.holders("/a"))
        assert three.cli("node", "activate", "dn-3").stdout == b"dn-3 is in service\n"
        dfs.write_bytes("/b", FEW_BLOCKS)
        eventually(lambda: healthy(three))
    assert node(three, "dn-3")["progress"] is None


def test_who_stops_waiting_leaves_the_state_and_is_told_so(three: Cluster) -> None:
    with three.client() as dfs:
        eventually(lambda: all_serve(three))
        held, going = open_on(three, dfs, "/waits")
        waiting = subprocess.Popen(
            three.command("node", "decommission", going), env=three.environment(), stderr=subprocess.PIPE
        )
        eventually(lambda: node(three, going)["admin"] == "decommissioning")
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=20)
        assert waiting.returncode == 130
        assert f"{going} stays decommissioning" in said.decode()
        assert node(three, going)["admin"] == "decommissioning"
        held.close()
        three.cli("node", "activate", going)
        assert dfs.read_bytes("/waits") == content(100_000, seed=5)


def test_more_and_fewer_copies_are_made_when_asked_for(three: Cluster) -> None:
    with three.client() as dfs:
        dfs.write_bytes("/r", FEW_BLOCKS)
    three.cli("setrep", "3", "/r")
    eventually(lambda: copies_on_disk(three, "/r") == [3] * 5)
    three.cli("setrep", "2", "/r")
    eventually(lambda: copies_on_disk(three, "/r") == [2] * 5)


def test_a_corrupt_copy_is_replaced_where_every_datanode_has_one(three: Cluster) -> None:
    with three.client() as dfs:
        three.cli("put", "--replication", "3", "-", "/c", stdin=FEW_BLOCKS)
        block = dfs.blocks("/c")[0]
        first = next(location.node_id for location in block.locations if location.is_leader)
        file = three.replicas(block.block_id)[first]
        good = file.read_bytes()
        file.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
        assert dfs.read_bytes("/c") == FEW_BLOCKS
        eventually(lambda: three.replicas(block.block_id)[first].read_bytes() == good)
        eventually(lambda: first in three.holders("/c")[0])
    assert healthy(three)


def test_after_a_mass_failure_an_operator_sees_why_nothing_is_copied_and_has_it_go_on() -> None:
    options = ("--datanodes", "5", "--block-size", "64K")
    with cluster(*options, settings=SETTINGS) as live, live.client() as dfs:
        for number in range(20):
            dfs.write_bytes(f"/{number}", FEW_BLOCKS)
        why = "3 of 5 DataNodes were lost at once: check the network"
        for node_id in ("dn-1", "dn-2", "dn-3"):
            live.kill(node_id)
        eventually(lambda: why in live.cli("cluster", "status").stdout.decode(), what="the brake")
        assert f"nothing is copied: {why}" in live.run("doctor").stdout.decode()
        assert b"esdfs_copying_stopped 1.0" in live.rest("GET", "/metrics").body
        before = live.rest("GET", "/cluster").body["blocks"]
        assert before["under_replicated"] > 0
        done = live.cli("cluster", "resume-copying")
        assert done.stdout == b"lost copies are made anew\n"
        eventually(
            lambda: live.rest("GET", "/cluster").body["blocks"]["under_replicated"] == 0,
            what="two copies of all that two DataNodes know",
        )
        assert b"esdfs_copying_stopped 0.0" in live.rest("GET", "/metrics").body
        for node_id in ("dn-1", "dn-2", "dn-3"):
            live.restart(node_id)
        eventually(lambda: healthy(live), what="every block whole")
