"""/snapshots and /retention: what the engine is asked, and what is answered."""

import pytest

from esdfs.namenode.commands import CreateSnapshot, DeleteSnapshot, SetRetention
from esdfs.namenode.events import SnapshotCreated
from tests.unit.namenode.rest.world import World, file


@pytest.fixture
def pinned(world: World) -> World:
    """/a is there at txid 2 only, which a snapshot keeps."""
    world.reader.snapshots["s"] = SnapshotCreated("s", world.reader.put({"/a": file(5)}), 5, "/a", (1,))
    world.reader.put({})
    return world


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({"name": "n"}, CreateSnapshot("n")),
        ({"name": "n", "path": "/a/", "as_of": 2}, CreateSnapshot("n", "/a", 2)),
        ({"name": "n", "path": "/a", "as_of": "@s"}, CreateSnapshot("n", "/a", 2)),
    ],
)
def test_a_snapshot_is_made_of_the_present_or_of_a_moment(
    pinned: World, given: dict[str, object], command: CreateSnapshot
) -> None:
    pinned.engine.reply = [{"name": "n", "txid": 2}]
    answer = pinned.post("/snapshots", given)
    assert (answer.status_code, answer.json) == (201, {"name": "n", "txid": 2, "path": command.path})
    assert pinned.engine.executed().commands == [command]


def test_snapshots_are_told_with_when_they_were(pinned: World) -> None:
    (told,) = pinned.get("/snapshots").json["snapshots"]
    assert (told["name"], told["txid"], told["path"], told["file_id"]) == ("s", 2, "/a", "5")
    assert told["ts"].endswith("Z")
    assert pinned.get("/snapshots/s").json == told
    missing = pinned.get("/snapshots/other")
    assert (missing.status_code, missing.json["code"]) == (404, "not-found")


def test_a_snapshot_is_deleted_by_its_name(pinned: World) -> None:
    assert pinned.send("DELETE", "/snapshots/a%20name").status_code == 200
    assert pinned.engine.executed().commands == [DeleteSnapshot("a name")]


def test_a_snapshot_names_its_moment_wherever_one_is_asked_for(pinned: World) -> None:
    assert pinned.get("/files?path=/a&as_of=@s").json["path"] == "/a"
    assert pinned.get("/files?path=/a").status_code == 404
    refused = pinned.get("/files?path=/a&as_of=@other")
    assert (refused.status_code, refused.json["code"]) == (404, "not-found")
    assert "esdfs snapshot list" in refused.json["detail"]


def test_retention_is_told_and_set(world: World) -> None:
    told = world.get("/retention").json
    assert (told["window_s"], told["records_max"], told["history_oldest_txid"]) == (604_800, 0, 1)
    assert world.send("PUT", "/retention", json={"records_max": 5}).json == told
    assert world.engine.executed().commands == [SetRetention(None, 5)]
    refused = world.send("PUT", "/retention", json={"window_s": -1})
    assert (refused.status_code, refused.json["field"]) == (400, "window_s")
