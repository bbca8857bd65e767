"""The journal as a feed and as an audit trail, on real processes."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esdfs.client import DFSClient
from esdfs.errors import Compacted
from tests.cluster import QUICK, Cluster, cluster, eventually
from tests.integration.test_failover import Writers, leader

COMPACTING = {**QUICK, "nn.checkpoint_every_records": "40", "nn.journal_retain_records": "20"}
KINDS = ("directory-made", "renamed")


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with cluster("--namenodes", "3", "--datanodes", "1") as started:
        yield started


def journal_of(client: DFSClient) -> list[dict[str, Any]]:
    """Every record there is, unfiltered."""
    found: list[dict[str, Any]] = []
    first = 1
    while True:
        page = client.control.get("/journal", dict[str, Any], **{"from": first, "limit": 1000})
        found += page["records"]
        first = page["next"]
        if first > page["head"]:
            return found


class Follower:
    """A filtered feed under a name, read in a thread until it has seen what makes it stop."""

    def __init__(self, trio: Cluster, path: str, cursor: str) -> None:
        self.seen: list[tuple[int, str | None]] = []
        self.failed: list[str] = []
        self._trio, self._path, self._cursor = trio, path, cursor
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self._trio.client() as client:
                changes = client.changes(path=self._path, kinds=KINDS, cursor=self._cursor)
                for change in changes:
                    self.seen.append((change.txid, change.path))
                    if change.last and len(self.seen) % 10 == 0:
                        client.move_cursor(self._cursor, change.txid)
                    if change.path == f"{self._path}/end":
                        client.move_cursor(self._cursor, change.txid)
                        return
        except Exception as error:  # noqa: BLE001 - the test fails by it
            self.failed.append(repr(error))

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_a_follower_loses_and_repeats_nothing_while_leaders_are_killed(trio: Cluster) -> None:
    with trio.client() as client:
        client.make_directory("/watched")
        client.make_directory("/other")
        begun = client.control.get("/cursors", dict[str, Any])["head"]
        client.move_cursor("follower", begun)
    follower = Follower(trio, "/watched", "follower")
    writers = [Writers(trio, "/watched"), Writers(trio, "/other")]
    try:
        for _ in range(2):
            for each in writers:
                each.wait_for_more()
            killed = leader(trio)
            trio.kill(killed["id"])
            for each in writers:
                each.wait_for_more()
            trio.restart(killed["id"])
    finally:
        for each in writers:
            each.stop()
    with trio.client() as client:
        client.rename("/other", "/watched/other")
        client.make_directory("/watched/end")
        follower.join()
        assert follower.failed == []
        records = [one for one in journal_of(client) if one["txid"] > begun]
        inside = client.stat("/watched").file_id
        made = [
            (one["txid"], f"/watched/{one['event']['name']}")
            for one in records
            if one["kind"] == "directory-made" and str(one["event"]["parent"]) == inside
        ]
        moved = [(one["txid"], "/watched/other") for one in records if one["kind"] == "renamed"]
        assert follower.seen == sorted(made + moved)
        assert len(made) > 60
        eventually(lambda: client.cursors()[0].txid == follower.seen[-1][0], within_s=10)


def test_the_command_line_follows_a_path_under_a_name_and_goes_on_where_it_stopped(trio: Cluster) -> None:
    with trio.client() as client:
        client.make_directory("/cli")
        head = client.control.get("/cursors", dict[str, Any])["head"]
        client.move_cursor("cli", head)
        client.make_directory("/cli/a")
        client.make_directory("/clips")
        client.make_directory("/cli/b")
    first = trio.rows("journal", "tail", "--path", "/cli", "--cursor", "cli")
    assert [row["changes"][0]["path"] for row in first] == ["/cli/a", "/cli/b"]
    (listed,) = [row for row in trio.rows("journal", "cursor", "list") if row["name"] == "cli"]
    assert listed["state"] == "ok"
    eventually(lambda: trio.rows("journal", "tail", "--path", "/cli", "--cursor", "cli") == [], within_s=10)
    trio.cli("journal", "cursor", "drop", "cli")
    assert trio.run("journal", "cursor", "drop", "cli").returncode == 1


def test_acknowledging_at_every_change_does_not_fill_the_journal(trio: Cluster) -> None:
    with trio.client() as client:
        client.make_directory("/acks")
        for number in range(50):
            client.make_directory(f"/acks/{number}")
        end = client.control.get("/cursors", dict[str, Any])["head"]
        began = time.monotonic()
        for txid in range(end - 50, end + 1):
            client.move_cursor("acks", txid)
        took_s = time.monotonic() - began
        eventually(lambda: {one.name: one.txid for one in client.cursors()}["acks"] == end, within_s=10)
        moves = [
            one
            for one in journal_of(client)
            if one["event"].get("name") == "acks" and one["kind"] == "cursor-moved"
        ]
        assert 2 <= len(moves) <= 3 + took_s


def test_an_audit_follows_a_file_and_names_request_and_chain(trio: Cluster) -> None:
    with trio.client(user="alice") as alice, trio.client(user="bob") as bob:
        alice.make_directory("/audited")
        alice.make_directory("/audited/d")
        bob.rename("/audited/d", "/audited/e")
        bob.remove_directory("/audited/e")
    rows = trio.rows("journal", "audit", "/audited/e")
    assert [(row["principal"], row["kind"]) for row in rows] == [
        ("bob", "deleted"),
        ("bob", "renamed"),
        ("alice", "directory-made"),
    ]
    assert {row["principal_is"] for row in rows} == {"claimed"}
    assert all(row["peer"] == "127.0.0.1" and row["request"] for row in rows)
    with trio.client() as client:
        chains = {one["txid"]: one["chain"] for one in journal_of(client)}
    assert all(row["previous_chain"] == chains[row["txid"] - 1] for row in rows)
    below = trio.rows("journal", "audit", "/audited", "-r", "--principal", "bob")
    assert [row["kind"] for row in below] == ["deleted", "renamed"]
    nothing = trio.run("journal", "audit", "/never")
    assert (nothing.returncode, b"nothing was ever at /never" in nothing.stderr) == (1, True)


def test_a_cursor_holds_records_the_archive_serves_older_ones_and_gone_is_said() -> None:
    with cluster("--datanodes", "1", settings=COMPACTING) as alone, alone.client() as client:
        client.make_directory("/d")
        for number in range(60):
            client.make_directory(f"/d/{number}")
        client.move_cursor("slow", 30)

        def base() -> int:
            number = len(client.list_directory("/d"))
            client.make_directory(f"/d/more-{number}")
            return int(client.control.get("/cluster", dict[str, Any])["base_txid"])

        eventually(lambda: base() == 30, within_s=30)
        client.drop_cursor("slow")
        eventually(lambda: base() > 60, within_s=30)
        everything = list(client.changes(from_txid=1, path="/d", follow=False))
        made = [change.path for change in everything if change.kind == "directory-made"]
        assert made[:3] == ["/d", "/d/0", "/d/1"]
        assert len(made) == len(client.list_directory("/d")) + 1
        alone.down()
        shutil.rmtree(alone.dir / "nn-1" / "audit.mdb")
        alone.up()
        assert [row["kind"] for row in alone.rows("journal", "audit", "/d/0")] == ["directory-made"]
        again = list(client.changes(from_txid=1, path="/d", follow=False))
        assert again[: len(everything)] == everything
        for segment in (alone.dir / "nn-1" / "archive").iterdir():
            segment.unlink()
        with pytest.raises(Compacted) as gone:
            list(client.changes(from_txid=1, path="/d", follow=False))
        assert int(str(gone.value.details["oldest_txid"])) > 60
        client.move_cursor("lost", 1)
        assert [one.state for one in client.cursors()] == ["compacted"]
        assert b"WHAT COMES NEXT WAS REMOVED" in alone.cli("cluster", "status").stdout


def indexers(alone: Cluster) -> list[int]:
    """The processes that keep the index of the only NameNode."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "esdfs.namenode.audit.indexer" in words and str(alone.dir / "nn-1") in words:
            found.append(int(process.name))
    return found


def test_an_indexer_that_dies_is_started_again_and_nobody_waits_for_it() -> None:
    with cluster("--datanodes", "1") as alone, alone.client() as client:
        client.make_directory("/d")
        eventually(lambda: len(indexers(alone)) == 1, within_s=20)
        (killed,) = indexers(alone)
        os.kill(killed, signal.SIGKILL)
        client.rename("/d", "/e")
        assert [row["kind"] for row in alone.rows("journal", "audit", "/e")] == ["renamed", "directory-made"]
        eventually(lambda: indexers(alone) not in ([], [killed]), within_s=20)
        assert alone.rows("journal", "audit", "/d")[0]["kind"] == "renamed"
