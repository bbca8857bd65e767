"""The past of a real cluster: listed, read, restored, proved."""

import sqlite3

from esdfs.client import DFSClient
from tests.cluster import Cluster, cluster


def head(live: Cluster) -> int:
    return int(live.rest("GET", "/journal/head").body["last_txid"])


def test_renamed_overwritten_and_deleted_files_are_read_as_they_were(
    live: Cluster, dfs: DFSClient, home: str
) -> None:
    dfs.write_bytes(f"{home}/f", b"first")
    at_first = head(live)
    dfs.write_bytes(f"{home}/f", b"second", overwrite=True)
    at_second = head(live)
    dfs.rename(f"{home}/f", f"{home}/g")
    dfs.remove_file(f"{home}/g")
    assert dfs.list_directory(home) == []
    assert dfs.read_bytes(f"{home}/f", as_of=at_first) == b"first"
    assert dfs.read_bytes(f"{home}/f", as_of=at_second) == b"second"
    assert [s.path for s in dfs.list_directory(home, as_of=at_second)] == [f"{home}/f"]
    assert live.cli("get", "--as-of", str(at_first), f"{home}/f", "-").stdout == b"first"


def test_a_deleted_tree_is_restored_in_one_transaction(live: Cluster, dfs: DFSClient, home: str) -> None:
    dfs.make_directory(f"{home}/b/d", parents=True)
    for name in ("a", "b/c", "b/d/e"):
        dfs.write_bytes(f"{home}/{name}", name.encode())
    before = head(live)
    dfs.remove_directory(f"{home}/b", recursive=True)
    dfs.restore(f"{home}/b", before)
    assert head(live) == before + 2
    assert dfs.read_bytes(f"{home}/b/d/e") == b"b/d/e"
    dfs.restore(home, before, f"{home}-copy")
    assert dfs.read_bytes(f"{home}-copy/b/c") == b"b/c"


def test_history_names_who_did_what(live: Cluster, home: str) -> None:
    with live.client(user="alice") as alice, live.client(user="bob") as bob:
        alice.write_bytes(f"{home}/f", b"1")
        bob.write_bytes(f"{home}/f", b"22", overwrite=True)
        versions = alice.history(f"{home}/f")
    assert [(v.principal, v.size_bytes) for v in versions] == [("bob", 2), ("alice", 1)]
    assert versions[1].until_txid == versions[0].txid


def test_a_directory_listed_page_by_page_shows_one_moment(live: Cluster, dfs: DFSClient, home: str) -> None:
    dfs.transact([{"kind": "make-directory", "path": f"{home}/{n:04}", "parents": False} for n in range(10)])
    first = live.rest("GET", f"/directories{home}?limit=4")
    dfs.transact([{"kind": "make-directory", "path": f"{home}/{n:04}x", "parents": False} for n in range(10)])
    pinned = f"as_of={first.body['txid']}"
    second = live.rest("GET", f"/directories{home}?limit=100&after={first.body['next']}&{pinned}")
    names = [entry["path"].rpartition("/")[2] for entry in first.body["entries"] + second.body["entries"]]
    assert names == [f"{n:04}" for n in range(10)]


def test_the_journal_verifies_replays_and_answers_who_touched_a_path(
    live: Cluster, dfs: DFSClient, home: str
) -> None:
    dfs.write_bytes(f"{home}/f", b"x")
    dfs.rename(f"{home}/f", f"{home}/g")
    live.cli("journal", "verify")
    live.cli("journal", "replay")
    (status,) = live.rows("journal", "status")
    assert int(status["last_txid"]) >= head(live) - 1
    kinds = [row["kind"] for row in live.rows("journal", "audit", f"{home}/g")]
    assert any("rename" in kind for kind in kinds), kinds


def test_a_tampered_journal_is_found_by_verify() -> None:
    with cluster("--datanodes", "1") as alone, alone.client() as client:
        for n in range(5):
            client.make_directory(f"/d{n}")
        alone.down()
        with sqlite3.connect(alone.dir / "nn-1" / "journal.sqlite") as database:
            database.execute("UPDATE journal SET principal = 'mallory' WHERE txid = 4")
        database.close()
        url = f"sqlite:///{alone.dir / 'nn-1' / 'journal.sqlite'}"
        found = alone.run("journal", "verify", "--db", url)
        assert found.returncode == 1
        assert b"4" in found.stderr
