from pathlib import Path

import msgspec
import pytest

from esdfs.blocks import Block, DataNodeStatus
from esdfs.errors import Unavailable, UnknownDataNode
from esdfs.namenode.blocks.bodies import Load
from esdfs.namenode.frames import BlockReport, NodeHeartbeat, Register
from tests.unit.namenode.rest.world import Copy, World, directory, file


def test_the_cluster_in_one_object(world: World) -> None:
    nodes = world.locations.nodes
    nodes[3] = msgspec.structs.replace(nodes[3], status=DataNodeStatus.DEAD)
    answer = world.get("/cluster").json
    assert answer["datanodes"] == {"ACTIVE": 2, "INACTIVE": 0, "DEAD": 1, "MAINTENANCE": 0}
    assert (answer["capacity_bytes"], answer["available_bytes"]) == (200, 120)
    assert (answer["leader"], answer["role"], answer["epoch"], answer["last_txid"]) == (
        "nn-1",
        "leader",
        3,
        9,
    )
    assert (answer["replication"], answer["min_replication"], answer["block_size_bytes"]) == (2, 2, 1 << 20)
    assert answer["blocks"]["total"] == 4
    assert answer["safe_mode"] is False
    assert [node["node_id"] for node in answer["namenodes"]] == ["nn-1"]
    assert ([alarm["block_id"] for alarm in answer["alarms"]], answer["alarm_count"]) == (["999"], 3)


def test_datanodes_are_listed_by_number_with_their_last_heartbeat(world: World) -> None:
    nodes = world.get("/datanodes").json["datanodes"]
    assert [node["node_id"] for node in nodes] == ["dn-1", "dn-2", "dn-3"]
    assert nodes[0]["last_heartbeat"] == "2026-01-31T12:00:00.123456Z"
    assert (nodes[0]["status"], nodes[0]["address"]) == ("ACTIVE", "127.0.0.1:9001")


def test_a_datanode_far_slower_than_the_others_is_shown_as_slow(world: World) -> None:
    nodes = world.locations.nodes
    nodes[2] = msgspec.structs.replace(nodes[2], load=Load(read_p99_ms=900.0))
    told = world.get("/datanodes").json["datanodes"]
    assert [node["slow"] for node in told] == [False, True, False]


@pytest.mark.parametrize(
    ("method", "route", "kind"),
    [
        ("POST", "/datanodes/register", Register),
        ("PUT", "/datanodes/dn-1/heartbeat", NodeHeartbeat),
        ("POST", "/datanodes/dn-1/blocks", BlockReport),
    ],
)
def test_what_a_datanode_says_reaches_the_engine_as_msgpack(
    world: World, method: str, route: str, kind: type
) -> None:
    said = {"incarnation": 5, "stored": [[7, 1, 100]], "load": {"fsync_p99_ms": 1.5}}
    world.engine.reply = {"epoch": 3, "commands": [{"kind": "delete", "block_id": "7", "generation": 1}]}
    answer = world.send(method, route, json=said)
    assert answer.json == world.engine.reply
    (call,) = world.engine.calls
    assert isinstance(call, kind)
    assert isinstance(call, Register | NodeHeartbeat | BlockReport)
    assert msgspec.msgpack.decode(call.body) == said
    assert getattr(call, "node_id", "dn-1") == "dn-1"


def test_an_unknown_datanode_is_told_so(world: World) -> None:
    world.engine.reply = UnknownDataNode("dn-9 is not registered here: register again")
    answer = world.send("PUT", "/datanodes/dn-9/heartbeat", json={"incarnation": 1})
    assert (answer.status_code, answer.json["code"]) == (404, "unknown-datanode")


def test_live_asks_nobody_and_ready_asks_the_engine(world: World) -> None:
    assert world.get("/health/live").json == {"status": "live"}
    assert not world.engine.calls
    assert world.get("/health/ready").json == {"status": "ready", "reasons": []}
    world.engine.reply = Unavailable("no answer from the NameNode's engine")
    answer = world.get("/health/ready")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json["reasons"] == ["no answer from the NameNode's engine"]


def test_metrics_are_prometheus_text_of_engine_datanodes_and_this_worker(world: World) -> None:
    world.get("/files", params={"path": "/"})
    world.get("/files", params={"path": "/missing"})
    answer = world.get("/metrics")
    for line in (
        'esdfs_datanode_stored_bytes{node_id="dn-1"} 30.0',
        'esdfs_datanode_volumes_slow{node_id="dn-1"} 1.0',
        'esdfs_datanode_peers_unreachable{node_id="dn-2"} 1.0',
        'esdfs_datanode_read_seconds{node_id="dn-3",quantile="0.99"} 0.02',
        "esdfs_replicas_ahead 3.0",
    ):
        assert line in answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert "esdfs_journal_seq 9.0" in lines
    assert 'esdfs_namenode_role{role="leader"} 1.0' in lines
    assert 'esdfs_blocks{state="total"} 4.0' in lines
    assert "esdfs_blocks_under_replicated 1.0" in lines
    assert 'esdfs_replicas_total{what="copied"} 7.0' in lines
    assert 'esdfs_datanodes{state="ACTIVE"} 3.0' in lines
    assert 'esdfs_capacity_bytes{node_id="dn-1"} 100.0' in lines
    (found,) = [line for line in lines if 'route="/files"' in line and 'code="404"' in line]
    assert found.startswith("esdfs_http_requests_total{")
    assert found.endswith(" 1.0")
    assert any("esdfs_http_request_seconds_total{" in line and 'route="/files"' in line for line in lines)


def test_the_readers_and_the_engine_are_let_go_at_shutdown(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        assert not world.engine.closed
    assert world.engine.closed


# --- fsck -------------------------------------------------------------------------------------------


def block(block_id: int) -> Block:
    return Block(block_id, 1, 10, 10, 0)


def test_fsck_tells_each_files_state_and_why(world: World) -> None:
    nodes = world.locations.nodes
    nodes[2] = msgspec.structs.replace(nodes[2], status=DataNodeStatus.MAINTENANCE)
    nodes[3] = msgspec.structs.replace(nodes[3], status=DataNodeStatus.DEAD)
    world.reader.put(
        {
            "/d": directory(2, 2),
            "/d/corrupt": file(6, 2, (block(4),)),
            "/d/empty": file(7, 2),
            "/healthy": file(3, 2, (block(1),)),
            "/missing": file(5, 2, (block(1), block(3))),
            "/under": file(4, 2, (block(2),)),
        }
    )
    copies = world.locations.copies
    copies[1] = [Copy(1, 1), Copy(2, 1)]
    copies[2] = [Copy(1, 1), Copy(2, 0), Copy(3, 1)]
    copies[3] = [Copy(3, 1)]
    copies[4] = [Copy(1, 1, corrupt=True)]
    answer = world.get("/fsck").json
    assert {found["path"]: found["state"] for found in answer["files"]} == {
        "/d/corrupt": "corrupt",
        "/d/empty": "healthy",
        "/healthy": "healthy",
        "/missing": "missing",
        "/under": "under-replicated",
    }
    problems = {found["path"]: found["problems"] for found in answer["files"]}
    assert problems["/healthy"] == []
    assert problems["/under"] == ["block 2: 1 of 2 copies"]
    assert problems["/missing"] == ["block 3: no good copy on any reachable DataNode"]
    assert problems["/d/corrupt"][0] == "block 4: 1 corrupt copy"
    assert answer["totals"] == {
        "files": 5,
        "blocks": 5,
        "size_bytes": 50,
        "healthy": 2,
        "under-replicated": 1,
        "corrupt": 1,
        "missing": 1,
    }
    assert answer["next"] is None


def test_fsck_pages_walk_every_file_once_whatever_the_page_size(world: World) -> None:
    tree = {"/a": directory(2, 2), "/a/b": directory(3, 2), "/a/e": directory(4, 2), "/z": file(9, 2)}
    tree |= {f"/a/b/f{i}": file(20 + i, 2) for i in range(4)} | {"/a/c": file(8, 2)}
    world.reader.put(tree)
    files = ["/a/b/f0", "/a/b/f1", "/a/b/f2", "/a/b/f3", "/a/c", "/z"]
    for limit in range(1, 8):
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            page = world.get(
                "/fsck", params={"limit": limit, "after": after} if after else {"limit": limit}
            ).json
            assert len(page["files"]) <= limit
            seen += [found["path"] for found in page["files"]]
            after = page["next"]
        assert seen == files, limit
    below = world.get("/fsck", params={"path": "/a/b"}).json
    assert [found["path"] for found in below["files"]] == files[:4]
    assert [f["path"] for f in world.get("/fsck", params={"path": "/z"}).json["files"]] == ["/z"]


def test_fsck_goes_on_after_a_place_that_is_gone(world: World) -> None:
    world.reader.put({"/a": directory(2, 2), "/a/b": file(3, 2), "/c": file(4, 2)})
    for after, expected in (("/a/a/gone", ["/a/b", "/c"]), ("/b", ["/c"]), ("/a/b/now-a-file", ["/c"])):
        page = world.get("/fsck", params={"after": after}).json
        assert [found["path"] for found in page["files"]] == expected
    outside = world.get("/fsck", params={"path": "/a", "after": "/c"})
    assert (outside.status_code, outside.json["field"]) == (400, "after")
