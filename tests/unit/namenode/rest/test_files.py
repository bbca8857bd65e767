import msgspec
import pytest

from esdfs.blocks import Block, DataNodeStatus
from esdfs.errors import LeaseLost
from esdfs.namenode.commands import AbortFile, AddBlocks, CompleteFile, CreateFile, Delete, SetAttributes
from esdfs.namenode.frames import RenewLeases
from tests.unit.namenode.rest.world import Copy, World, directory, file

BLOCKS = (Block(7, 1, 100, 100, 0x1F), Block(8, 2, 50, 40, 0x2F, compressed=True))


def test_a_file_is_described_with_every_field_of_the_contract(world: World) -> None:
    txid = world.reader.put({"/a": file(5, 2, BLOCKS)})
    answer = world.get("/files", params={"path": "/a"})
    assert answer.status_code == 200
    assert answer.json == {
        "path": "/a",
        "type": "file",
        "file_id": "5",
        "size_bytes": 150,
        "mtime": "2026-01-31T12:00:00.123456Z",
        "mode": "0644",
        "owner": "ada",
        "group": "users",
        "replication": 2,
        "block_size_bytes": 1 << 20,
        "crc32c": "00000abc",
        "blocks": 2,
        "txid": 2,
    }
    assert answer.headers["Esdfs-Txid"] == str(txid)
    assert answer.headers["Esdfs-Epoch"] == "3"
    assert answer.headers["ETag"] == '"2"'
    assert world.get("/files/5").json == answer.json


def test_a_directory_has_no_checksum_and_no_blocks(world: World) -> None:
    answer = world.get("/files", params={"path": "/"}).json
    assert (answer["type"], answer["blocks"], answer["replication"]) == ("directory", 0, 0)
    assert "crc32c" not in answer


def test_replicas_are_best_first_and_unreadable_ones_left_out(world: World) -> None:
    world.reader.put({"/a": file(5, 2, BLOCKS)})
    nodes = world.locations.nodes
    nodes[1] = msgspec.structs.replace(nodes[1], status=DataNodeStatus.INACTIVE)
    world.locations.copies[7] = [Copy(1, 1), Copy(2, 1), Copy(3, 1)]
    nodes[4] = msgspec.structs.replace(nodes[2], number=4, node_id="dn-4", status=DataNodeStatus.DEAD)
    world.locations.copies[8] = [Copy(4, 2), Copy(1, 2), Copy(2, 1), Copy(3, 2, corrupt=True), Copy(9, 2)]
    first, second = world.get("/files/download/5").json["blocks"]
    assert [(at["node_id"], at["is_leader"]) for at in first["locations"]] == [
        ("dn-2", True),
        ("dn-3", False),
        ("dn-1", False),
    ]
    # Dead, stale, corrupt and unknown ones are no copies; without an active one nobody leads.
    assert [(at["node_id"], at["is_leader"]) for at in second["locations"]] == [("dn-1", False)]
    assert (first["offset"], second["offset"]) == (0, 100)
    assert second == second | {
        "block_id": "8",
        "generation": 2,
        "length_bytes": 50,
        "stored_bytes": 40,
        "crc32c": "0000002f",
        "compressed": True,
    }
    located = world.get("/files", params={"path": "/a", "blocks": "true"}).json["located"]
    assert located == [first, second]


def test_downloading_a_directory_says_how_to_list_it(world: World) -> None:
    answer = world.get("/files/download/1")
    assert (answer.status_code, answer.json["code"]) == (409, "is-a-directory")
    assert "GET /directories/" in answer.json["detail"]


def test_a_known_version_is_not_sent_again(world: World) -> None:
    world.reader.put({"/a": file(5, 2)})
    for path in ("/files?path=/a", "/files/5", "/files/download/5"):
        answer = world.get(path, headers={"If-None-Match": '"2"'})
        assert (answer.status_code, answer.content) == (304, b"")
        assert world.get(path, headers={"If-None-Match": '"1"'}).status_code == 200
        refused = world.get(path, headers={"If-Match": '"1"'})
        assert (refused.status_code, refused.json["code"]) == (412, "precondition-failed")


def test_the_past_is_read_by_txid_time_and_duration(world: World) -> None:
    world.reader.put({"/a": file(5, 2)})
    world.reader.put({})
    assert world.get("/files", params={"path": "/a"}).status_code == 404
    answer = world.get("/files", params={"path": "/a", "as_of": "2"})
    assert (answer.json["file_id"], answer.headers["Esdfs-Txid"]) == ("5", "2")
    early = world.get("/files", params={"path": "/a", "as_of": "1999-01-01"})
    assert (early.status_code, early.json["code"], early.json["oldest_txid"]) == (410, "compacted", 1)
    assert world.get("/files", params={"path": "/", "as_of": "0s"}).status_code == 200
    future = world.get("/files", params={"path": "/a", "as_of": "99"})
    assert (future.status_code, future.json["code"]) == (400, "future-txid")


@pytest.mark.parametrize("as_of", ["yesterday", "-1", "1e9", "99999999999999999999999", "9" * 400 + "w"])
def test_a_point_in_time_that_is_none_is_refused(world: World, as_of: str) -> None:
    answer = world.get("/files", params={"path": "/", "as_of": as_of})
    assert answer.status_code in {400, 410}
    assert answer.json["code"] in {"invalid-request", "compacted"}


def test_opening_a_file_sends_every_choice_and_answers_the_pipelines(world: World) -> None:
    world.engine.reply = [
        {
            "inode": 5,
            "lease": "mine",
            "block_size_bytes": 65536,
            "replication": 2,
            "blocks": [[7, 1, [2, 3]]],
        }
    ]
    body = {
        "path": "/a/",
        "overwrite": True,
        "parents": True,
        "replication": 3,
        "block_size_bytes": 65536,
        "mode": "0600",
        "blocks": 1,
        "exclude": ["dn-1"],
        "lease": "mine",
    }
    answer = world.post("/files/upload", body, headers={"Esdfs-User": "ada", "If-Match": '"9"'})
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/files/5"
    assert answer.json == {
        "file_id": "5",
        "lease": "mine",
        "block_size_bytes": 65536,
        "replication": 2,
        "blocks": [
            {
                "block_id": "7",
                "generation": 1,
                "targets": [
                    {"node_id": "dn-2", "address": "127.0.0.1:9002"},
                    {"node_id": "dn-3", "address": "127.0.0.1:9003"},
                ],
            }
        ],
    }
    executed = world.engine.executed()
    assert (executed.principal, executed.peer) == ("ada", "127.0.0.1")
    assert executed.commands == [
        CreateFile(
            "/a",
            "mine",
            overwrite=True,
            parents=True,
            replication=3,
            block_size_bytes=65536,
            mode=0o600,
            owner="ada",
            group="users",
            blocks=1,
            exclude=["dn-1"],
            if_version=9,
        )
    ]


def test_the_server_makes_a_lease_and_create_only_never_overwrites(world: World) -> None:
    world.post("/files/upload", {"path": "/a", "overwrite": True}, headers={"If-None-Match": "*"})
    (command,) = world.engine.executed().commands
    assert isinstance(command, CreateFile)
    assert len(command.lease) == 36
    assert not command.overwrite
    assert (command.owner, command.blocks) == ("anonymous", 1)


def test_if_match_star_demands_that_it_exists_and_pins_the_version(world: World) -> None:
    missing = world.post("/files/upload", {"path": "/a"}, headers={"If-Match": "*"})
    assert missing.status_code == 412
    assert not world.engine.calls
    world.reader.put({"/a": file(5, 2)})
    world.post("/files/upload", {"path": "/a"}, headers={"If-Match": "*"})
    (command,) = world.engine.executed().commands
    assert isinstance(command, CreateFile)
    assert command.if_version == 2


def test_blocks_are_allocated_and_failed_ones_given_up(world: World) -> None:
    world.engine.reply = [{"blocks": [[9, 1, [1, 2]]]}]
    answer = world.post(
        "/files/5/blocks", {"lease": "l", "count": 1, "exclude": ["dn-3"], "abandon": ["7", 8]}
    )
    assert [block["block_id"] for block in answer.json["blocks"]] == ["9"]
    assert world.engine.executed().commands == [AddBlocks(5, "l", 1, ["dn-3"], [7, 8])]


def test_completing_takes_checksums_as_numbers_or_hex_and_answers_the_file(world: World) -> None:
    world.reader.put({"/a": file(5, 2, BLOCKS)})
    world.engine.reply = [{"inode": 5}]
    blocks = [
        {
            "block_id": "7",
            "generation": 1,
            "length_bytes": 100,
            "stored_bytes": 100,
            "crc32c": "0000001f",
            "replicas": ["dn-1", "dn-2"],
        },
        {
            "block_id": 8,
            "generation": 2,
            "length_bytes": 50,
            "stored_bytes": 40,
            "crc32c": 47,
            "replicas": ["dn-1"],
            "compressed": True,
        },
    ]
    answer = world.post(
        "/files/5/complete",
        {"lease": "l", "blocks": blocks, "crc32c": "abc", "mtime": "2026-01-31T12:00:00.123456Z"},
    )
    assert (answer.status_code, answer.json["path"], answer.headers["ETag"]) == (200, "/a", '"2"')
    (command,) = world.engine.executed().commands
    assert isinstance(command, CompleteFile)
    assert [(b.block_id, b.crc32c, b.compressed) for b in command.blocks] == [(7, 31, False), (8, 47, True)]
    assert (command.crc32c, command.mtime_us) == (0xABC, 1_769_860_800_123_456)


def test_a_repeated_change_gets_the_state_it_led_to_not_the_present_one(world: World) -> None:
    world.engine.txid = world.reader.put({"/a": file(5, 2)})
    world.reader.put({"/b": file(5, 3)})
    world.reader.put({})
    world.engine.reply, world.engine.replayed = [{"inode": 5}], True
    answer = world.post("/files/5/complete", {"lease": "l"})
    assert (answer.json["path"], answer.json["txid"]) == ("/a", 2)
    assert answer.headers["Esdfs-Replayed"] == "true"
    assert answer.headers["Esdfs-Txid"] == "2"


def test_attributes_are_changed_one_by_one(world: World) -> None:
    world.reader.put({"/a": file(5, 2)})
    world.engine.reply = [{"inode": 5}]
    answer = world.send("PATCH", "/files/5", json={"mode": "0600"}, headers={"If-Match": '"2"'})
    assert answer.status_code == 200
    assert world.engine.executed().commands == [SetAttributes(file_id=5, mode=0o600, if_version=2)]
    world.engine.calls.clear()
    everything = {"owner": "bob", "group": "staff", "replication": 3, "mtime": "1970-01-01T00:00:01+00:00"}
    world.send("PATCH", "/files/5", json=everything)
    assert world.engine.executed().commands == [
        SetAttributes(file_id=5, owner="bob", group="staff", replication=3, mtime_us=1_000_000)
    ]


def test_deleting_a_file_by_id_never_deletes_a_directory(world: World) -> None:
    answer = world.send("DELETE", "/files/5")
    assert answer.json == {"txid": 1}
    assert world.engine.executed().commands == [Delete(file_id=5, only="file")]


def test_aborting_and_renewing_need_the_lease(world: World) -> None:
    assert world.post("/files/5/abort", {"lease": "l"}).json == {}
    assert world.engine.executed().commands == [AbortFile(5, "l")]
    world.engine.reply = {"expires_in_ms": 60_000}
    assert world.post("/files/5/lease", {"lease": "l"}).json == {"expires_in_ms": 60_000}
    assert world.engine.calls[-1] == RenewLeases([(5, "l")])
    world.engine.reply = LeaseLost("file 5 is not open under this lease")
    refused = world.post("/files/5/lease", {"lease": "l"})
    assert (refused.status_code, refused.json["code"]) == (409, "lease-lost")


@pytest.mark.parametrize("file_id", ["0", "x", "-1", "1.0", "9223372036854775808", "٣"])
def test_an_id_that_is_none_is_refused(world: World, file_id: str) -> None:
    answer = world.get(f"/files/{file_id}")
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (
        400,
        "invalid-request",
        "file_id",
    )


def test_a_read_waits_for_the_transaction_its_caller_has_seen(world: World) -> None:
    world.reader.put({"/d": directory(6, 2)})
    assert world.get("/files", params={"path": "/d", "min_txid": "2"}).status_code == 200
    assert world.get("/files", params={"path": "/d", "min_txid": "x"}).status_code == 400
    assert world.get("/files", params={"path": "/d", "consistency": "eventual"}).status_code == 400
    assert world.get("/files", params={"path": "/d", "consistency": "stale"}).status_code == 200
