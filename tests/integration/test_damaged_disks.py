"""What a NameNode's disk lost or damaged while it was down is noticed at its start, and mended."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.client import DFSClient
from tests.cluster import Cluster, cluster, eventually
from tests.integration.test_failover import ask, leader


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with cluster("--namenodes", "3", "--datanodes", "1", "--block-size", "1M") as started:
        yield started


def follower(trio: Cluster) -> dict[str, str]:
    leads = leader(trio)["id"]
    found: dict[str, str] = next(node for node in trio.info["namenodes"] if node["id"] != leads)
    return found


def make(trio: Cluster, home: str, count: int) -> None:
    with DFSClient(",".join(trio.info["urls"])) as client:
        client.make_directory(home)
        for number in range(count):
            client.make_directory(f"{home}/{number}")


def directory(trio: Cluster, node: dict[str, str]) -> Path:
    return trio.dir / node["id"]


def journal(trio: Cluster, node: dict[str, str]) -> Path:
    return directory(trio, node) / "journal.sqlite"


def damage(trio: Cluster, node: dict[str, str], statement: str) -> None:
    database = sqlite3.connect(journal(trio, node))
    with database:
        database.execute(statement)
    database.close()


def caught_up(trio: Cluster, node: dict[str, str]) -> bool:
    """Whether the node's journal ends where the leader's does, and its namespace is the same."""
    urls = (node["rest"], leader(trio)["rest"])
    ends, digests = (
        [ask(url, "GET", path).json() for url in urls]
        for path in ("/cluster", "/journal/digest?consistency=stale")
    )
    return bool(ends[0]["last_txid"] == ends[1]["last_txid"] and digests[0] == digests[1])


def verified(trio: Cluster, node: dict[str, str]) -> None:
    done = trio.run("journal", "verify", "--db", f"sqlite:///{journal(trio, node)}", "--json")
    assert done.returncode == 0, done.stderr


def test_a_damaged_record_is_kept_aside_and_fetched_again(trio: Cluster) -> None:
    make(trio, "/damaged", 40)
    node = follower(trio)
    eventually(lambda: caught_up(trio, node))
    trio.kill(node["id"])
    damage(trio, node, "UPDATE journal SET payload = X'00' WHERE txid = 20")
    make(trio, "/meanwhile", 5)
    trio.restart(node["id"])

    eventually(lambda: caught_up(trio, node))
    verified(trio, node)
    (kept,) = (directory(trio, node) / "damaged").glob("journal-from-20.*.jsonl")
    rows = [json.loads(row) for row in kept.read_text().splitlines()]
    assert rows[0]["txid"] == 20
    assert rows[0]["payload"] == "AA=="


def test_a_node_that_lost_its_tail_does_not_lead_before_it_has_it_again(trio: Cluster) -> None:
    node = follower(trio)
    eventually(lambda: caught_up(trio, node))
    trio.kill(node["id"])
    older = directory(trio, node) / "older.db"
    with sqlite3.connect(journal(trio, node)) as source, sqlite3.connect(older) as copy:
        source.backup(copy)
    trio.restart(node["id"])
    make(trio, "/lost-tail", 30)
    eventually(lambda: caught_up(trio, node))
    trio.kill(node["id"])

    # The disk goes back to what it was, as after a lying one or a torn restore.
    for suffix in ("", "-wal", "-shm"):
        Path(f"{journal(trio, node)}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(older, journal(trio, node))
    others = [each["id"] for each in trio.info["namenodes"] if each["id"] != node["id"]]
    for other in others:
        trio.kill(other)
    trio.restart(node["id"])
    trio.restart(others[0])

    # Two of three are up; only the one that has everything may lead.
    eventually(lambda: leader(trio)["id"] == others[0])
    eventually(lambda: caught_up(trio, node))
    trio.restart(others[1])
    with DFSClient(node["rest"]) as client:
        assert len(list(client.list_directory("/lost-tail"))) == 30
    verified(trio, node)


def test_a_node_without_its_floor_learns_it_from_the_leader(trio: Cluster) -> None:
    node = follower(trio)
    trio.kill(node["id"])
    (directory(trio, node) / "ack_floor").unlink()
    trio.restart(node["id"])
    make(trio, "/without-floor", 3)

    eventually(lambda: caught_up(trio, node))
    first = leader(trio)["id"]
    trio.kill(first)  # its vote is needed now
    try:
        eventually(lambda: leader(trio)["id"] != first)
        make(trio, "/with-floor", 1)
    finally:
        trio.restart(first)


def test_an_operator_may_vouch_for_what_is_left(trio: Cluster) -> None:
    node = follower(trio)
    eventually(lambda: caught_up(trio, node))
    trio.kill(node["id"])
    command = ("namenode", "trust-journal", "--dir", str(directory(trio, node)))
    sound = trio.run(*command)
    assert (sound.returncode, b"Nothing that it acknowledged is missing" in sound.stderr) == (0, True)

    damage(trio, node, "DELETE FROM journal WHERE txid > (SELECT last_txid - 2 FROM journal_head)")
    broken = trio.run(*command)
    assert broken.returncode != 0
    damage(
        trio,
        node,
        "UPDATE journal_head SET (last_txid, epoch, chain) ="
        " (SELECT txid, epoch, chain FROM journal ORDER BY txid DESC LIMIT 1)",
    )
    refused = trio.run(*command)
    assert refused.returncode != 0
    assert b"at least 2 records are missing" in refused.stderr
    assert b"--accept-loss 2" in refused.stderr
    wrong = trio.run(*command, "--accept-loss", "1")
    assert wrong.returncode != 0
    assert trio.run(*command, "--accept-loss", "2").returncode == 0
    assert b"Nothing that it acknowledged is missing" in trio.run(*command).stderr

    (directory(trio, node) / "ack_floor").unlink()
    assert b"--i-know-it-is-complete" in trio.run(*command).stderr
    assert trio.run(*command, "--i-know-it-is-complete").returncode == 0
    running = trio.run("namenode", "trust-journal", "--dir", str(directory(trio, leader(trio))))
    assert b"another process runs" in running.stderr
    trio.restart(node["id"])
    eventually(lambda: caught_up(trio, node))
