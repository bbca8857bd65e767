"""Witness, observers, changes of voters, transfer and going on alone, by the operator's commands."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esdfs.client import DFSClient
from esdfs.namenode.config import NameNodeConfig, load
from tests.cluster import Cluster, cluster, eventually
from tests.integration.test_failover import Writers, ask, leader
from tests.integration.test_upgrade import Node, free_port, run


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    """Two NameNodes and a witness."""
    with cluster("--namenodes", "2", "--witness", "--datanodes", "2", "--block-size", "1M") as started:
        yield started


def status(of: Cluster) -> dict[str, Any]:
    """`quorum status`, of who leads."""
    found: dict[str, Any] = {}

    def known() -> bool:
        done = of.run("quorum", "status", "--json")
        found.clear()
        found.update(json.loads(done.stdout) if done.returncode == 0 else {})
        return found.get("survives") is not None

    eventually(known, within_s=30)
    return found


def all_up(of: Cluster, voters: int) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def up() -> bool:
        found.update(status(of))
        return bool(found["up"] == len(found["voters"]) == voters)

    eventually(up, within_s=30)
    return found


def full_other_than(of: Cluster, node_id: str) -> str:
    (other,) = (n["id"] for n in of.info["namenodes"] if n["rest"] and n["id"] != node_id)
    return str(other)


def refusal(of: Cluster, *args: str) -> str:
    done = of.run(*args)
    said = done.stderr.decode()
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in said
    return said


def test_a_witness_has_no_rest_server_and_is_shown_as_what_it_is(trio: Cluster) -> None:
    told = all_up(trio, 3)
    witness = next(node for node in trio.info["namenodes"] if node["kind"] == "witness")

    assert (witness["id"], witness["rest"], len(trio.info["urls"])) == ("witness-1", "", 2)
    assert [(v["node_id"], v["kind"]) for v in told["voters"]] == [
        ("nn-1", "voter"),
        ("nn-2", "voter"),
        ("witness-1", "witness"),
    ]
    text = trio.cli("quorum", "status").stdout.decode()
    assert "survives the loss of 1 of 3 voters; 3 of 3 are up" in text
    assert not list((trio.dir / "witness-1").glob("projection*"))


def test_leadership_is_handed_over_by_command_while_clients_write(trio: Cluster) -> None:
    all_up(trio, 3)
    with trio.client() as client:
        client.make_directory("/moving")
    before = leader(trio)["id"]
    writers = Writers(trio, "/moving")
    try:
        for target in (full_other_than(trio, before), ""):
            writers.wait_for_more()
            epoch = status(trio)["epoch"]
            told = json.loads(trio.cli("quorum", "transfer", *([target] if target else []), "--json").stdout)
            assert told["leader"] == (target or before)
            assert told["epoch"] > epoch
            writers.wait_for_more()
    finally:
        writers.stop()
    assert writers.failed == []
    assert status(trio)["leader"] == before


def test_what_cannot_be_is_refused_with_a_reason(trio: Cluster) -> None:
    told = all_up(trio, 3)
    other = full_other_than(trio, told["leader"])
    assert "witness-1 is a witness" in refusal(trio, "quorum", "transfer", "witness-1")
    assert "nn-9 is no voter" in refusal(trio, "quorum", "transfer", "nn-9")
    assert "no observer nn-9 fetches" in refusal(trio, "quorum", "add", "nn-9")
    assert "nn-9 is no voter" in refusal(trio, "quorum", "remove", "nn-9")
    sent = ask(trio_url(trio, other), "POST", "/quorum/transfer", {"to": other})
    assert (sent.status, sent.headers["Location"]) == (
        307,
        trio_url(trio, told["leader"]) + "/quorum/transfer",
    )

    trio.kill(other)
    try:
        eventually(lambda: status(trio)["up"] == 2, within_s=30)
        assert (
            "survives the loss of none of 3 voters; 2 of 3 are up"
            in trio.cli("quorum", "status").stdout.decode()
        )
        assert f"{other} does not answer" in refusal(trio, "quorum", "transfer", other)
        assert other in refusal(trio, "quorum", "remove", "witness-1")
    finally:
        trio.restart(other)
    assert [voter["node_id"] for voter in all_up(trio, 3)["voters"]] == ["nn-1", "nn-2", "witness-1"]


def trio_url(of: Cluster, node_id: str) -> str:
    return str(next(node["rest"] for node in of.info["namenodes"] if node["id"] == node_id))


def test_a_leader_that_is_stopped_hands_over_before_it_goes(trio: Cluster) -> None:
    told = all_up(trio, 3)
    stopped, heir = told["leader"], full_other_than(trio, told["leader"])
    trio.kill(stopped, "TERM")
    try:
        after = status(trio)
        assert (after["leader"], after["epoch"]) == (heir, told["epoch"] + 1)
        records = ask(trio_url(trio, heir), "GET", "/journal?from=1&limit=1000").json()["records"]
        assert [r["event"]["leader_id"] for r in records if r["kind"] == "leader-changed"][-1] == heir
    finally:
        trio.restart(stopped)
    all_up(trio, 3)


def test_a_witness_that_alone_holds_the_last_record_hands_it_over(trio: Cluster) -> None:
    told = all_up(trio, 3)
    first, second = told["leader"], full_other_than(trio, told["leader"])
    trio.kill(second)
    with trio.client() as client:
        client.make_directory("/only-the-witness-has-it")
    trio.kill(first)
    try:
        trio.restart(second)
        with DFSClient(trio_url(trio, second)) as client:
            eventually(lambda: status(trio)["leader"] == second, within_s=30)
            assert client.stat("/only-the-witness-has-it").path == "/only-the-witness-has-it"
            client.make_directory("/and-goes-on")
    finally:
        trio.restart(first)
    all_up(trio, 3)


def test_a_node_that_lost_its_disk_joins_as_an_observer_and_votes_when_it_was_added(trio: Cluster) -> None:
    told = all_up(trio, 3)
    lost = full_other_than(trio, told["leader"])
    config = load(trio.dir / lost)
    trio.kill(lost)
    shutil.rmtree(config.path)
    rejoin(trio, config)
    trio.restart(lost)

    seen = {observer["node_id"]: observer for observer in status(trio)["observers"]}
    assert seen[lost]["storage_id"] not in {voter["storage_id"] for voter in told["voters"]}
    stale = ask(config.rest_url, "GET", "/files?path=/&consistency=stale")
    sent = ask(config.rest_url, "POST", "/directories", {"path": "/by-way-of-an-observer"})
    assert (stale.status, sent.status) == (200, 307)
    assert "votes with another disk" in refusal(trio, "quorum", "add", lost)

    assert f"{lost} votes no more" in trio.cli("quorum", "remove", lost).stdout.decode()
    said = trio.cli("quorum", "add", lost).stdout.decode()
    assert said == f"{lost} votes; voters: nn-1, nn-2, witness-1\n"
    assert "votes already" in trio.cli("quorum", "add", lost).stdout.decode()
    storage_id = seen[lost]["storage_id"]
    assert storage_id in {voter["storage_id"] for voter in all_up(trio, 3)["voters"]}

    trio.kill(told["leader"])  # now its vote is needed, and its journal
    try:
        with trio.client() as client:
            client.make_directory("/led-by-the-new-disk")
        assert status(trio)["leader"] == lost
    finally:
        trio.restart(told["leader"])
    all_up(trio, 3)


def rejoin(of: Cluster, config: NameNodeConfig, *more: str) -> None:
    """`namenode format --join` where ``config`` was."""
    of.cli(
        *("namenode", "format", "--dir", config.dir, "--node-id", config.node_id, "--join", of.url),
        *("--rest-port", str(config.rest_port), "--grpc-port", str(config.grpc_port), *more),
    )


def test_datanodes_find_a_namenode_that_joined_and_it_may_stay_an_observer(trio: Cluster) -> None:
    all_up(trio, 3)
    home = Path(tempfile.mkdtemp(prefix="esdfs-"))
    joined = NameNodeConfig(node_id="nn-9", dir=str(home), rest_port=free_port(), grpc_port=free_port())
    try:
        rejoin(trio, joined)
        with Node(load(home)) as node:
            eventually(lambda: node.get("/cluster")["datanodes"].get("ACTIVE") == 2, within_s=30)
            told = status(trio)
            assert [observer["node_id"] for observer in told["observers"]] == ["nn-9"]
            assert (told["survives"], len(told["voters"])) == (1, 3)
            assert node.get("/quorum?consistency=stale")["node_id"] == "nn-9"
    finally:
        shutil.rmtree(home)


# --- without the others ---


def test_one_of_two_goes_on_alone_and_the_other_must_join_anew() -> None:
    content = bytes(range(256)) * 4096 * 2
    with cluster("--namenodes", "2", "--datanodes", "2", "--block-size", "1M") as pair:
        with pair.client() as client:
            client.write_bytes("/kept", content)
        config, other = load(pair.dir / "nn-1"), load(pair.dir / "nn-2")
        forced = ("namenode", "force-standalone", "--dir", config.dir)
        assert "another process runs the NameNode" in refusal(pair, *forced)
        pair.kill("nn-2")
        pair.kill("nn-1")
        asked = refusal(pair, *forced)
        assert "nn-2 may have acknowledged cannot be known" in asked
        assert "--i-know-the-others-are-dead --dead nn-2" in asked
        assert "--dead must name the other voters" in refusal(pair, *forced, "--i-know-the-others-are-dead")
        done = pair.cli(*forced, "--i-know-the-others-are-dead", "--dead", "nn-2")
        assert "nn-1 is the only voter of generation 2" in done.stdout.decode()

        pair.restart("nn-1")
        told = status(pair)
        assert (told["leader"], told["generation"], len(told["voters"])) == ("nn-1", 2, 1)
        with DFSClient(config.rest_url) as client:
            assert client.read_bytes("/kept") == content
            client.write_bytes("/new", content)  # DataNodes obey it

        pair.run("local", "restart", "nn-2", "--dir", str(pair.dir))  # whether it was seen before it ended
        eventually(lambda: "can never rejoin" in (pair.dir / "logs" / "nn-2.log").read_text(), within_s=20)
        assert [voter["node_id"] for voter in status(pair)["voters"]] == ["nn-1"]

        shutil.rmtree(other.path)
        rejoin(pair, other)
        pair.restart("nn-2")
        eventually(lambda: pair.cli("quorum", "add", "nn-2"), within_s=20)
        pair.cli("quorum", "transfer", "nn-2")
        with pair.client() as client:
            assert client.read_bytes("/new") == content
        assert status(pair)["leader"] == "nn-2"


def test_a_cluster_of_one_is_opened_to_others() -> None:
    home = Path(tempfile.mkdtemp(prefix="esdfs-"))
    first = NameNodeConfig(
        node_id="nn-1", dir=str(home / "1"), rest_port=free_port(), grpc_port=free_port(), rest_workers=1
    )
    try:
        ports = ("--rest-port", str(first.rest_port), "--grpc-port", str(first.grpc_port))
        assert run("namenode", "format", "--dir", first.dir, *ports).returncode == 0
        second = NameNodeConfig(
            node_id="nn-2", dir=str(home / "2"), rest_port=free_port(), grpc_port=free_port()
        )
        join = (
            *("namenode", "format", "--dir", second.dir, "--node-id", "nn-2", "--join", first.rest_url),
            *("--rest-port", str(second.rest_port), "--grpc-port", str(second.grpc_port)),
        )
        with Node(first) as node:
            DFSClient(node.url).make_directory("/from-the-first-day")
            refused = run(*join)
            assert "formatted for one NameNode" in refused.stderr
            assert not (home / "2").exists()
        opened = run("namenode", "force-standalone", "--dir", first.dir, "--i-know-the-others-are-dead")
        assert opened.returncode == 0, opened.stderr
        with Node(first) as one:
            assert run(*join).returncode == 0
            with Node(second) as two:
                assert ask(two.url, "GET", "/files?path=/").status == 307  # not its word alone
                eventually(
                    lambda: run("--url", one.url, "quorum", "add", "nn-2").returncode == 0, within_s=20
                )
                moved = run("--url", one.url, "quorum", "transfer", "nn-2")
                assert re.match(r"nn-2 leads \(epoch \d+\)", moved.stdout), moved.stderr
                assert DFSClient(two.url).stat("/from-the-first-day").path == "/from-the-first-day"
                left = run("--url", two.url, "quorum", "remove", "nn-1")
                assert "nn-1 votes no more; voters: nn-2" in left.stdout, left.stderr
    finally:
        shutil.rmtree(home)
