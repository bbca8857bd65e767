"""NameNodes as processes: they take checkpoints, compact journals, and go on from another's checkpoint."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest
import urllib3
from msgspec.structs import replace

from esdfs.errors import Compacted
from esdfs.ids import Txid
from esdfs.journal.engines import sqlite_url
from esdfs.journal.entry import Entry
from esdfs.journal.sql import open_reader
from esdfs.journal.verify import verify
from esdfs.namenode.checkpoints.archive import Archive, read_segment
from esdfs.namenode.config import load, save
from tests.cluster import QUICK, Cluster, cluster, eventually
from tests.integration.test_quorum_admin import rejoin

EVERY = 30
RETAIN = 10
SETTINGS = {**QUICK, "nn.checkpoint_every_records": str(EVERY), "nn.journal_retain_records": str(RETAIN)}
BATCH = 40


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    """Two NameNodes and a witness."""
    options = ("--namenodes", "2", "--witness", "--datanodes", "1")
    with cluster(*options, settings=SETTINGS) as started:
        yield started


def get(url: str, path: str) -> Any:
    with urllib3.PoolManager(retries=False, timeout=10.0) as pool:
        return pool.request("GET", url + path).json()


def full(cluster_: Cluster) -> list[dict[str, Any]]:
    """Those with a namespace."""
    return [node for node in cluster_.info["namenodes"] if node["rest"]]


def statuses(cluster_: Cluster) -> dict[str, dict[str, Any]]:
    """What each NameNode that answers says of itself, by its name."""
    found = {}
    for node in full(cluster_):
        try:
            found[node["id"]] = get(node["rest"], "/cluster")
        except urllib3.exceptions.HTTPError:
            continue
    return found


def rest(cluster_: Cluster, name: str) -> str:
    return next(str(node["rest"]) for node in cluster_.info["namenodes"] if node["id"] == name)


def a_follower(trio: Cluster) -> str:
    found: list[str] = []

    def all_well() -> bool:
        told = statuses(trio)
        found[:] = [name for name, status in told.items() if status["role"] == "follower"]
        return len(told) == 2 and len(found) == 1

    eventually(all_well)
    return found[0]


def compact(trio: Cluster, beyond: int, home: str) -> None:
    """Make directories until every running NameNode's journal begins after ``beyond``."""
    rounds = iter(range(100))

    def done() -> bool:
        bases = [status["base_txid"] for status in statuses(trio).values()]
        if bases and min(bases) > beyond:
            return True
        with trio.client() as client:
            number = next(rounds)
            for each in range(BATCH):
                client.make_directory(f"{home}/{number}-{each}")
        return False

    with trio.client() as client:
        client.make_directory(home)
    eventually(done)


def digests(trio: Cluster) -> set[tuple[int, str]]:
    told = [get(node["rest"], "/journal/digest?consistency=stale") for node in full(trio)]
    return {(each["txid"], each["digest"]) for each in told}


def log(trio: Cluster, name: str) -> str:
    return (trio.dir / "logs" / f"{name}.log").read_text()


def test_a_follower_that_missed_what_was_compacted_goes_on_from_a_checkpoint(trio: Cluster) -> None:
    behind = a_follower(trio)
    missed = statuses(trio)[behind]["last_txid"]
    trio.kill(behind)
    compact(trio, missed, "/missed")

    trio.restart(behind)
    eventually(lambda: len(statuses(trio)) == 2 and statuses(trio)[behind]["base_txid"] > missed)
    eventually(lambda: len(digests(trio)) == 1, what="equal digests")
    assert "checkpoint installed" in log(trio, behind)
    base = statuses(trio)[behind]["base_txid"]
    with trio.client() as client:
        names = {entry.name for entry in client.list_directory("/missed")}
    assert len(names) >= BATCH
    assert (trio.dir / behind / "checkpoints" / f"ckpt-{base:020d}").exists()


def test_a_namespace_that_was_thrown_away_is_rebuilt_from_checkpoint_and_journal(trio: Cluster) -> None:
    name = a_follower(trio)
    compact(trio, statuses(trio)[name]["base_txid"], "/rebuilt")
    trio.kill(name)
    shutil.rmtree(trio.dir / name / "namespace.mdb")

    trio.restart(name)
    eventually(lambda: len(statuses(trio)) == 2)
    assert "projection loaded" in log(trio, name)
    eventually(lambda: len(digests(trio)) == 1, what="equal digests")


def test_the_leader_too_is_restarted_from_checkpoint_and_journal(trio: Cluster) -> None:
    a_follower(trio)
    led = next(name for name, status in statuses(trio).items() if status["role"] == "leader")
    trio.kill(led)
    shutil.rmtree(trio.dir / led / "namespace.mdb")
    trio.restart(led)

    a_follower(trio)
    with trio.client() as client:
        client.make_directory("/after")
    eventually(lambda: len(digests(trio)) == 1, what="equal digests")


def test_a_node_whose_state_differs_stops_and_says_where(trio: Cluster) -> None:
    name = a_follower(trio)
    compact(trio, statuses(trio)[name]["base_txid"], "/differs")
    trio.kill(name)
    spoil(trio.dir / name / "namespace.mdb")
    trio.restart(name)
    eventually(lambda: len(statuses(trio)) == 2)

    rounds = iter(range(100))

    def stopped() -> bool:
        with trio.client() as client:
            number = next(rounds)
            for each in range(BATCH):
                client.make_directory(f"/differs/more-{number}-{each}")
        return name not in statuses(trio)

    eventually(stopped)
    said = next(line for line in log(trio, name).splitlines() if "differs from the leader's at txid" in line)
    assert f"remove {trio.dir / name / 'namespace.mdb'}" in json.loads(said)["why"]
    (aside,) = (trio.dir / name / "checkpoints").glob("*.differs")
    assert aside.stat().st_size > 0

    shutil.rmtree(trio.dir / name / "namespace.mdb")
    trio.restart(name)
    eventually(lambda: len(statuses(trio)) == 2)
    eventually(lambda: len(digests(trio)) == 1, what="equal digests")


def spoil(projection: Path) -> None:
    """Change one owner's name, as a bit that flipped in memory might."""
    env = lmdb.open(str(projection), max_dbs=32, map_size=1 << 40)
    with env.begin(write=True) as txn:
        table = env.open_db(b"cur", txn=txn)
        cursor = txn.cursor(table)
        assert cursor.last()
        value = bytearray(cursor.value())
        value[-1] ^= 1
        cursor.put(cursor.key(), bytes(value))
    env.close()


def test_what_left_the_journal_is_in_the_archive_and_continues_in_the_journal(trio: Cluster) -> None:
    name = next(name for name, status in statuses(trio).items() if status["role"] == "leader")
    segments = Archive(trio.dir / name).segments()
    line: list[Entry] = []
    for first, last, file in segments:
        found = [entry for page in read_segment(file) for entry in page]
        assert (found[0].txid, found[-1].txid) == (first, last)
        line += found
    reader = open_reader(sqlite_url(trio.dir / name / "journal.sqlite"))
    try:
        base = reader.base()
        report = verify(reader, since=base.head)
        assert report.first_txid == base.last_txid + 1
        archived = next(entry for entry in line if entry.txid == base.last_txid)
        assert archived.chain == base.chain
        assert line[0].txid == Txid(1) or "checkpoint installed" in log(trio, name)
    finally:
        reader.close()


def test_readers_of_the_feed_are_told_where_it_begins(trio: Cluster) -> None:
    status = next(iter(statuses(trio).values()))
    head = get(rest(trio, status["node_id"]), "/journal/head")
    assert head["oldest_txid"] == status["base_txid"] + 1

    # What left the journal is served from this node's archive, as far as that goes back without a gap.
    oldest = head["oldest_txid"]
    for first, last, _ in reversed(Archive(trio.dir / status["node_id"]).segments()):
        oldest = first if last + 1 == oldest else oldest
    earliest = get(rest(trio, status["node_id"]), f"/journal?from={oldest}&limit=1&consistency=stale")
    assert (earliest["oldest"], earliest["records"][0]["txid"]) == (oldest, oldest)
    shutil.rmtree(trio.dir / status["node_id"] / "archive")
    problem = get(rest(trio, status["node_id"]), "/journal?from=1&consistency=stale")
    assert (problem["code"], problem["oldest_txid"]) == (Compacted.code, head["oldest_txid"])
    path = f"/journal?from={head['oldest_txid']}&limit=1&consistency=stale"
    first = get(rest(trio, status["node_id"]), path)
    assert first["records"][0]["txid"] == head["oldest_txid"]


def witness_base(trio: Cluster) -> int:
    reader = open_reader(sqlite_url(trio.dir / "witness-1" / "journal.sqlite"))
    try:
        return reader.base().last_txid
    finally:
        reader.close()


def test_a_witness_keeps_the_checkpoint_it_is_given_and_votes_on(trio: Cluster) -> None:
    a_follower(trio)
    trio.kill("witness-1")
    compact(trio, max(status["last_txid"] for status in statuses(trio).values()), "/without-witness")
    trio.restart("witness-1")
    eventually(lambda: "checkpoint installed" in log(trio, "witness-1"))

    base = witness_base(trio)
    assert base > EVERY
    assert (trio.dir / "witness-1" / "checkpoints" / f"ckpt-{base:020d}").exists()
    compact(trio, base, "/with-witness-again")
    eventually(lambda: witness_base(trio) > base, what="a checkpoint of its own accord, and compaction")
    killed = a_follower(trio)
    trio.kill(killed)  # now its vote is needed, and its journal
    with trio.client() as client:
        client.make_directory("/with-the-witness")
    trio.restart(killed)
    a_follower(trio)


def test_who_joins_a_compacted_cluster_begins_with_a_checkpoint(trio: Cluster) -> None:
    config = load(trio.dir / a_follower(trio))
    compact(trio, 0, "/joined-later")
    trio.kill(config.node_id)
    shutil.rmtree(config.path)
    rejoin(trio, config)
    made = load(config.path)
    save(replace(made, checkpoint_every_records=EVERY, journal_retain_records=RETAIN))
    trio.restart(config.node_id)
    eventually(lambda: len(digests(trio)) == 1, what="equal digests")
    assert "checkpoint installed" in log(trio, config.node_id)

    trio.cli("quorum", "remove", config.node_id)
    trio.cli("quorum", "add", config.node_id)
    compact(trio, statuses(trio)[config.node_id]["base_txid"], "/with-the-new-disk")
