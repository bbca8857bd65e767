import base64

from esdfs.journal.entry import Entry
from esdfs.namenode.event_codec import pack_all
from esdfs.namenode.events import DirectoryMade, Kind, Renamed
from esdfs.namenode.upcasters import LEVEL_NEWEST
from tests.unit.namenode.rest.world import STATUS, World, directory, file


def test_history_says_what_happened_and_who_did_it(world: World) -> None:
    world.reader.put({"/a": directory(12, 2)})
    (version,) = world.get("/history", params={"path": "/a"}).json["versions"]
    assert version == {
        "txid": 2,
        "until_txid": None,
        "path": "/a",
        "type": "directory",
        "size_bytes": 0,
        "file_id": "12",
        "event": "directory-made",
        "principal": "ada",
        "peer": "127.0.0.1",
        "ts": "2026-01-31T12:00:00.123458Z",
    }


def test_a_version_older_than_the_records_kept_is_still_shown(world: World) -> None:
    world.reader.put({"/a": file(12, 2)})
    del world.journal.entries[:3]
    (version,) = world.get("/history", params={"path": "/a"}).json["versions"]
    assert (version["txid"], version["event"], version["principal"]) == (2, None, None)


def test_the_feed_is_resumed_by_next_and_ends_at_what_is_committed(world: World) -> None:
    for _ in range(3):
        world.reader.put({})
    assert world.reader.applied_txid() == 4 < len(world.journal.entries)
    first = world.get("/journal", params={"from": 1, "limit": 3}).json
    rest = world.get("/journal", params={"from": first["next"], "limit": 3}).json
    assert [record["txid"] for record in first["records"] + rest["records"]] == [1, 2, 3, 4]
    assert (rest["next"], rest["head"]) == (5, 4)
    assert world.get("/journal", params={"from": 5, "wait_ms": 5}).json["records"] == []


def test_a_record_has_its_event_and_what_its_chain_value_was_made_of(world: World) -> None:
    (record,) = world.get("/journal", params={"limit": 1}).json["records"]
    entry = world.journal.entries[0]
    assert record["kind"] == "directory-made"
    assert record["event"] == {
        "parent": 1,
        "name": "d1",
        "inode": 11,
        "mode": 0o755,
        "owner": "ada",
        "group": "users",
    }
    again = Entry(
        record["txid"],
        record["epoch"],
        record["ts_us"],
        record["kind_number"],
        record["version"],
        bytes.fromhex(record["client_id"]),
        record["seq"],
        record["principal"],
        record["peer"],
        base64.b64decode(record["payload"]),
        int(record["crc32c"], 16),
        bytes.fromhex(record["chain"]),
    )
    assert again == entry


def test_a_record_of_several_events_lists_them_and_history_names_the_one_meant(world: World) -> None:
    made = DirectoryMade(1, "d", 20, 0o755, "ada", "users")
    moved = Renamed(21, 1, "a", 1, "b", 0)
    packed = pack_all([made, moved], [0, 1], level=LEVEL_NEWEST)
    entry = world.journal.entries[1]
    world.journal.entries[1] = Entry(
        entry.txid,
        entry.epoch,
        entry.ts_us,
        packed.kind,
        packed.version,
        entry.client_id,
        entry.seq,
        entry.principal,
        entry.peer,
        packed.payload,
        entry.crc32c,
        entry.chain,
    )
    assert packed.kind == Kind.TRANSACTION
    world.reader.put({"/b": file(21, 2)})
    (record,) = world.get("/journal", params={"from": 2}).json["records"]
    assert [(e["kind"], e["command"]) for e in record["event"]["events"]] == [
        ("directory-made", 0),
        ("renamed", 1),
    ]
    (version,) = world.get("/history", params={"path": "/b"}).json["versions"]
    assert version["event"] == "renamed"


def test_records_no_longer_kept_are_gone_and_the_answer_says_where_to_start(world: World) -> None:
    for _ in range(4):
        world.reader.put({})
    del world.journal.entries[:3]
    answer = world.get("/journal", params={"from": 2})
    assert (answer.status_code, answer.json["code"], answer.json["oldest_txid"]) == (410, "compacted", 4)


def test_the_head_is_what_the_engine_says(world: World) -> None:
    head = world.get("/journal/head").json
    assert head == {
        name: STATUS[name] for name in ("last_txid", "commit_txid", "oldest_txid", "epoch", "chain")
    } | {"history_oldest_txid": 1, "cursors": []}


def test_the_digest_names_the_txid_it_was_made_at(world: World) -> None:
    world.reader.put({})
    assert world.get("/journal/digest").json == {"txid": 2, "digest": "ab" * 32}
