"""The way back: from what DataNodes hold to what needs it."""

from typing import Any

import msgspec
import pytest

from esdfs.blocks import Block
from esdfs.namenode.blocks.unplaced import Found, Page
from esdfs.namenode.frames import Body, UnplacedReplicas
from esdfs.namenode.namespace.inodes import BlockRecord
from tests.unit.namenode.rest.world import Copy, World, file


def record(inode: int, *, generation: int = 1, complete: bool = True, replication: int = 2) -> BlockRecord:
    return BlockRecord(inode, generation, 10, replication, complete)


def named(*block_ids: int) -> tuple[Block, ...]:
    return tuple(Block(block_id, 1, 10, 10, 0) for block_id in block_ids)


def hold(world: World, *found: Found) -> None:
    """The engine tells these, two a page."""

    def reply(body: Body) -> Any:
        assert isinstance(body, UnplacedReplicas)
        rest = [one for one in found if (one.number, one.block_id) > body.after]
        shown = rest[: min(body.limit, 2)]
        following = (shown[-1].number, shown[-1].block_id) if len(rest) > len(shown) else None
        return msgspec.to_builtins(Page(shown, following))

    world.engine.reply = reply


def walk(world: World, limit: int = 1000) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        asked: dict[str, Any] = {"limit": limit} | ({"after": after} if after else {})
        page = world.get("/fsck/replicas", params=asked).json
        held += page["replicas"]
        counted = {state: count for state, count in page["totals"].items() if count}
        expected: dict[str, int] = {"replicas": len(page["replicas"])} if page["replicas"] else {}
        for one in page["replicas"]:
            expected[one["state"]] = expected.get(one["state"], 0) + 1
        assert counted == expected
        after = page["next"]
    return held


def stock(world: World) -> None:
    """Blocks 1 and 2 of a file, 3 of its past, 4 of an open file, 5 shared by a copy, 6 known to nobody."""
    world.reader.put({"/f": file(10, 2, named(1, 2)), "/copy": file(12, 2, named(5))})
    world.reader.records = {
        1: record(10),
        2: record(10, generation=3),
        3: record(10),
        4: record(11, complete=False),
        5: record(13),
        9: record(10),
    }
    world.reader.linked = [5]
    world.locations.copies = {
        1: [Copy(1, 1), Copy(2, 1), Copy(3, 1)],
        2: [Copy(1, 3), Copy(2, 2)],
        3: [Copy(1, 1)],
        4: [Copy(2, 1)],
        5: [Copy(3, 1)],
        6: [Copy(1, 1)],
    }
    hold(world, Found(1, 900, 1), Found(2, 8, 1, "orphan", 5_000), Found(3, 7, 1, "purged", 0, sent=True))


EXPECTED = [
    ("1", "dn-1", "needed", "/f"),
    ("1", "dn-2", "needed", "/f"),
    ("1", "dn-3", "surplus", "/f"),
    ("2", "dn-1", "needed", "/f"),
    ("2", "dn-2", "stale", "/f"),
    ("3", "dn-1", "historical", None),
    ("4", "dn-2", "needed", None),
    ("5", "dn-3", "needed", None),
    ("6", "dn-1", "orphan", None),
    ("900", "dn-1", "ahead", None),
    ("8", "dn-2", "orphan", None),
    ("7", "dn-3", "orphan", None),
]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 1000])
def test_every_replica_is_told_once_with_its_state_whatever_the_page_size(world: World, limit: int) -> None:
    stock(world)
    held = walk(world, limit)
    assert [(one["block_id"], one["node_id"], one["state"], one["path"]) for one in held] == EXPECTED
    assert held[0]["address"] == "127.0.0.1:9001"
    assert all(bool(one["why"]) == (one["state"] != "needed") for one in held)


def test_what_a_block_must_be_is_told_where_a_present_file_says_it(world: World) -> None:
    stock(world)
    world.reader.put({"/f": file(10, 2, (Block(1, 1, 10, 10, 0xAB), Block(2, 3, 20, 5, 0xCD)))})
    told = {(one["block_id"], one["node_id"]): (one["length_bytes"], one["crc32c"]) for one in walk(world)}
    assert told["1", "dn-1"] == told["1", "dn-3"] == (10, "000000ab")
    assert told["2", "dn-1"] == (20, "000000cd")
    assert told["2", "dn-2"] == (None, None), "of another generation"
    assert told["3", "dn-1"] == told["4", "dn-2"] == told["900", "dn-1"] == (None, None)


def test_what_a_copy_shares_is_read_once_for_a_walk_and_again_for_the_next(world: World) -> None:
    stock(world)
    first = world.get("/fsck/replicas", params={"limit": 4}).json
    assert [one["state"] for one in first["replicas"] if one["block_id"] == "3"] == ["historical"]
    world.reader.linked = []
    rest = world.get("/fsck/replicas", params={"after": first["next"]}).json
    assert [one["state"] for one in rest["replicas"] if one["block_id"] == "5"] == ["needed"]
    world.reader.states[world.reader.applied_txid() + 1] = world.reader.states[world.reader.applied_txid()]
    again = world.get("/fsck/replicas").json
    assert [one["state"] for one in again["replicas"] if one["block_id"] == "5"] == ["historical"]


def test_the_engine_is_asked_only_for_what_locations_do_not_tell(world: World) -> None:
    stock(world)
    page = world.get("/fsck/replicas", params={"limit": 1000}).json
    assert not world.engine.calls
    world.get("/fsck/replicas", params={"after": page["next"], "limit": 7})
    assert world.engine.calls == [UnplacedReplicas((0, 0), 7), UnplacedReplicas((2, 8), 5)]


@pytest.mark.parametrize("after", ["x", "1", "1-", "1-2-3-4", "1-2-99999999999", "-1-2", "1-²"])
def test_a_place_that_is_none_is_refused(world: World, after: str) -> None:
    answer = world.get("/fsck/replicas", params={"after": after})
    assert (answer.status_code, answer.json["field"]) == (400, "after")
