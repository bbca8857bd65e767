"""A part of the journal over REST: filtered, resumed, waited for, under a name."""

import time
from typing import Any

from esdfs.namenode.commands import DropCursor, MoveCursor
from esdfs.namenode.frames import Execute
from esdfs.namenode.namespace.inodes import Cursor
from tests.unit.namenode.rest.world import World


def grown(world: World) -> None:
    """All of the journal is committed: directories d1 to d5."""
    for _ in range(4):
        world.reader.put({})


def feed(world: World, **params: Any) -> Any:
    answer = world.get("/journal", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_a_filtered_feed_tells_paths_and_goes_on_after_what_it_looked_at(world: World) -> None:
    grown(world)
    found = feed(world, path="/d3")
    (record,) = found["records"]
    assert record["changes"] == [
        {
            "kind": "directory-made",
            "file_id": "13",
            "type": "directory",
            "path": "/d3",
            "old_path": None,
            "fields": {
                "mode": {"old": None, "new": "0755"},
                "owner": {"old": None, "new": "ada"},
                "group": {"old": None, "new": "users"},
            },
        }
    ]
    assert (found["next"], found["head"], found["oldest"]) == (6, 5, 1)
    nothing = feed(world, path="/elsewhere", **{"from": 2})
    assert (nothing["records"], nothing["next"]) == ([], 6)


def test_a_page_ends_at_its_limit_and_the_next_one_goes_on_there(world: World) -> None:
    grown(world)
    first = feed(world, kind="directory-made", limit=2)
    rest = feed(world, kind="directory-made", **{"from": first["next"]})
    assert [one["txid"] for one in first["records"] + rest["records"]] == [1, 2, 3, 4, 5]
    assert feed(world, kind="renamed,deleted")["records"] == []


def test_an_unknown_kind_is_refused_and_the_known_ones_are_listed(world: World) -> None:
    answer = world.get("/journal", params={"kind": "directory-made,dreams"})
    assert (answer.status_code, answer.json["field"]) == (400, "kind")
    assert "renamed" in answer.json["detail"]


def test_a_reader_that_is_ahead_of_this_node_is_not_sent_back(world: World) -> None:
    found = feed(world, path="/d3", consistency="stale", **{"from": 50})
    assert (found["records"], found["next"], found["head"]) == ([], 50, 1)


def test_a_filtered_feed_waits_and_then_says_that_it_is_alive(world: World) -> None:
    grown(world)
    began = time.monotonic()
    found = feed(world, path="/elsewhere", wait_ms=30)
    assert time.monotonic() - began >= 0.03
    assert (found["records"], found["next"], found["head"]) == ([], 6, 5)


def test_a_cursor_says_where_to_begin_and_from_overrules_it(world: World) -> None:
    grown(world)
    world.reader.cursors["c"] = Cursor("c", 3, "ada", 0)
    assert [one["txid"] for one in feed(world, cursor="c")["records"]] == [4, 5]
    assert [one["txid"] for one in feed(world, cursor="c", **{"from": 5})["records"]] == [5]
    missing = world.get("/journal", params={"cursor": "nobody"})
    assert (missing.status_code, missing.json["cursor"]) == (404, "nobody")


def test_records_gone_from_journal_and_archive_are_said_to_be(world: World) -> None:
    grown(world)
    del world.journal.entries[:3]
    answer = world.get("/journal", params={"from": 2, "path": "/d3"})
    assert (answer.status_code, answer.json["code"], answer.json["oldest_txid"]) == (410, "compacted", 4)


# --- cursors ----------------------------------------------------------------------------------------


def test_cursors_are_listed_with_what_they_lack(world: World) -> None:
    grown(world)
    del world.journal.entries[:2]
    now_us = time.time_ns() // 1000
    world.reader.cursors |= {
        "ok": Cursor("ok", 5, "ada", now_us),
        "late": Cursor("late", 3, "ada", now_us),
        "lost": Cursor("lost", 1, "ada", now_us),
    }
    listed = world.get("/cursors").json
    assert [(one["name"], one["lag"], one["state"]) for one in listed["cursors"]] == [
        ("ok", 0, "ok"),
        ("late", 2, "late"),
        ("lost", 4, "compacted"),
    ]
    assert (listed["head"], listed["oldest"]) == (5, 3)
    metrics = world.get("/metrics").text
    assert 'esdfs_cursor_lag_seqs{name="lost"} 4.0' in metrics
    assert 'esdfs_cursor_late{name="ok"} 0.0' in metrics
    assert [one["name"] for one in world.get("/cluster").json["cursors"]] == ["ok", "late", "lost"]


def test_moving_a_cursor_is_a_change_like_any_other(world: World) -> None:
    world.engine.reply = [{"name": "c", "txid": 4}]
    moved = world.send("PUT", "/cursors/c", json={"txid": 4}, headers={"Esdfs-User": "ann"})
    assert (moved.status_code, moved.json) == (200, {"name": "c", "txid": 4, "pending_txid": 4})
    asked = world.engine.executed()
    assert (asked.commands, asked.principal) == ([MoveCursor("c", 4, coalesce=True)], "ann")
    world.engine.calls.clear()
    world.send("DELETE", "/cursors/c")
    assert world.engine.executed().commands == [DropCursor("c")]
    assert world.send("PUT", "/cursors/c", json={"txid": -1}).status_code == 400


def test_moves_that_come_too_fast_are_journaled_together_a_second_later(world: World) -> None:
    world.engine.reply = [{"name": "c", "txid": 2}]
    for txid in (3, 5, 4):
        answer = world.send("PUT", "/cursors/c", json={"txid": txid})
        assert (answer.status_code, answer.json["pending_txid"]) == (202, txid)
    world.engine.calls.clear()
    deadline = time.monotonic() + 10
    while not world.engine.calls and time.monotonic() < deadline:
        world.get("/journal", params={"from": 9, "wait_ms": 50})
    found = [call.commands for call in world.engine.calls if isinstance(call, Execute)]
    assert found == [[MoveCursor("c", 5, belated=True)]]
