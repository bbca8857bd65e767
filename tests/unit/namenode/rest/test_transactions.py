from typing import Any

import pytest

from esdfs.namenode.commands import CreateFile, Delete, MakeDirectory, Rename, Restore
from tests.unit.namenode.rest.world import World, directory, file


def test_rename_answers_the_target(world: World) -> None:
    world.reader.put({"/b": file(5, 2)})
    answer = world.post(
        "/rename", {"source": "/a", "target": "/b/", "overwrite": True}, headers={"If-Match": '"1"'}
    )
    assert (answer.status_code, answer.json["path"]) == (200, "/b")
    assert world.engine.executed().commands == [Rename("/a", "/b", True, 1)]


@pytest.mark.parametrize("as_of", [1, "1"])
def test_restore_takes_a_point_in_time_and_defaults_to_the_same_path(world: World, as_of: object) -> None:
    world.reader.put({"/a": file(5, 2)})
    assert world.post("/restore", {"path": "/a", "as_of": as_of}).json["path"] == "/a"
    assert world.engine.executed().commands == [Restore("/a", 1, "/a", True)]


def test_restore_elsewhere_by_time(world: World) -> None:
    world.reader.put({"/b": file(5, 2)})
    body = {"path": "/a", "as_of": "0s", "target": "/b", "overwrite": False}
    assert world.post("/restore", body).json["path"] == "/b"
    assert world.engine.executed().commands == [Restore("/a", 2, "/b", False)]


def test_a_transaction_is_one_call_with_paths_normalised_and_owners_filled_in(world: World) -> None:
    world.engine.reply = [
        {"inode": 6, "existed": False},
        {"inode": 7, "lease": "l", "block_size_bytes": 1, "replication": 2, "blocks": [[9, 1, [1]]]},
        {"inode": 5},
        {},
        {"blocks": [[10, 1, [2]]]},
    ]
    commands = [
        {"kind": "make-directory", "path": "/d/"},
        {"kind": "create-file", "path": "/d/a", "lease": "l", "blocks": 1, "owner": "bob"},
        {"kind": "delete", "path": "/old"},
        {"kind": "abort-file", "file_id": 5, "lease": "l"},
        {"kind": "add-blocks", "file_id": 5, "lease": "l"},
    ]
    answer = world.post("/transactions", {"commands": commands}, headers={"Esdfs-User": "ada"})
    assert answer.status_code == 200
    assert answer.json["txid"] == 1
    made, created, deleted, aborted, added = answer.json["results"]
    assert made == {"file_id": "6", "existed": False}
    assert created["blocks"][0]["targets"] == [{"node_id": "dn-1", "address": "127.0.0.1:9001"}]
    assert (created["file_id"], created["lease"]) == ("7", "l")
    assert (deleted, aborted) == ({"file_id": "5"}, {})
    assert added["blocks"][0]["block_id"] == "10"
    assert world.engine.executed().commands[:3] == [
        MakeDirectory("/d", owner="ada", group="users"),
        CreateFile("/d/a", "l", blocks=1, owner="bob", group="users"),
        Delete("/old"),
    ]


@pytest.mark.parametrize(
    ("command", "field"),
    [
        ({"kind": "make-directory", "path": ""}, "commands[0].path"),
        ({"kind": "make-directory", "path": "/d", "mode": -1}, "commands[0].mode"),
        ({"kind": "make-directory", "path": "/d", "mode": 0o10000}, "commands[0].mode"),
        ({"kind": "make-directory", "path": "/d", "owner": "a\nb"}, "commands[0].owner"),
        ({"kind": "delete"}, "commands[0].path"),
        ({"kind": "delete", "path": "/a", "file_id": 1}, "commands[0].path"),
        ({"kind": "delete", "path": "/a", "only": "socket"}, "commands[0].only"),
        ({"kind": "set-attributes", "file_id": 1 << 63}, "commands[0].file_id"),
        ({"kind": "set-attributes", "path": "/a", "mtime_us": -1}, "commands[0].mtime_us"),
        ({"kind": "set-retention", "window_s": 1 << 64}, "commands[0].window_s"),
        ({"kind": "set-retention", "records_max": -1}, "commands[0].records_max"),
        ({"kind": "add-blocks", "file_id": 1, "lease": "l", "count": 1 << 70}, "commands[0].count"),
        ({"kind": "rename", "source": "/a", "target": ""}, "commands[0].target"),
        ({"kind": "abort-file", "file_id": 0, "lease": "l"}, "commands[0].file_id"),
        ({"kind": "add-blocks", "file_id": 1, "lease": "l", "abandon": [0]}, "commands[0].abandon"),
        ({"kind": "no-such"}, "commands[0].kind"),
        ({"kind": "make-directory", "path": 5}, "commands[0].path"),
        ({}, "commands[0]"),
    ],
)
def test_a_command_out_of_bounds_is_named_and_nothing_is_sent(
    world: World, command: dict[str, Any], field: str
) -> None:
    answer = world.post("/transactions", {"commands": [command]})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid-request")
    assert answer.json["field"].startswith(field)
    assert not world.engine.calls


@pytest.mark.parametrize("count", [0, 1001])
def test_a_transaction_has_one_to_a_thousand_commands(world: World, count: int) -> None:
    command = {"kind": "delete", "path": "/a"}
    answer = world.post("/transactions", {"commands": [command] * count})
    assert (answer.status_code, answer.json["field"]) == (400, "commands")


def test_a_path_inside_a_command_is_held_to_the_rules(world: World) -> None:
    answer = world.post("/transactions", {"commands": [{"kind": "delete", "path": "/a/../b"}]})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid-path")


def test_moving_a_directory_answers_it_at_its_new_path(world: World) -> None:
    world.reader.put({"/e": directory(6, 2)})
    assert world.post("/rename", {"source": "/d", "target": "/e"}).json["type"] == "directory"
