"""`DFSClient` as programs use it."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from esdfs.client import DFSClient
from esdfs.client.calls import point
from esdfs.errors import InvalidRequest
from tests.unit.client.conftest import World
from tests.unit.client.namenode import Response, answers, serving


def test_the_specified_calls_do_what_their_names_say(world: World, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    with DFSClient(world.server.url) as client:
        client.put_file(str(tmp_path / "f"), "/f")
        client.get_file("/f", str(tmp_path / "g"))
        assert (tmp_path / "g").read_bytes() == b"content"
        assert [entry.path for entry in client.list_directory("/")] == ["/f"]
        assert client.exists("/f")
        assert not client.exists("/g")
        with pytest.raises(FileNotFoundError):
            client.stat("/g")


def test_open_reads_and_writes_as_open_does(world: World) -> None:
    with DFSClient(world.server.url) as client:
        with client.open("/f", "w") as file:
            file.write("häh")
        with client.open("/f", "r") as file:
            assert file.read() == "häh"
        with client.open("/f") as file:
            assert file.seek(1) == 1
            assert file.read() == "häh".encode()[1:]
        with pytest.raises(FileExistsError):
            client.open("/f", "xb")
        with pytest.raises(ValueError, match="mode must be"):
            client.open("/f", "ab")
        with pytest.raises(IsADirectoryError):
            client.open("/")


def test_bytes_and_streams(world: World) -> None:
    with DFSClient(world.server.url) as client:
        client.put_stream(io.BytesIO(b"0123456789"), "/f")
        assert client.read_bytes("/f") == b"0123456789"
        assert b"".join(bytes(piece) for piece in client.read_pieces("/f", start=3, length=4)) == b"3456"


def test_a_client_of_the_past_changes_nothing(world: World) -> None:
    with DFSClient(world.server.url, as_of=5) as client:
        client.list_directory("/")
        assert world.server.requests[-1].query["as_of"] == "5"
        for change in (
            lambda: client.make_directory("/x"),
            lambda: client.remove_file("/x"),
            lambda: client.write_bytes("/x", b""),
            lambda: client.open("/x", "wb"),
        ):
            with pytest.raises(InvalidRequest, match="as of 5"):
                change()
    assert [request.method for request in world.server.requests] == ["GET"]


def test_later_pages_show_the_directory_as_the_first_did() -> None:
    def entry(name: str) -> dict[str, object]:
        return {"path": f"/{name}", "type": "file", "file_id": "1", "size_bytes": 0, "mtime": ""}

    pages = [
        Response(200, {"path": "/", "entries": [entry("a")], "next": "a", "txid": 41}),
        Response(200, {"path": "/", "entries": [entry("b")], "next": None, "txid": 41}),
    ]
    with serving(answers(*pages)) as server, DFSClient(server.url) as client:
        assert [found.name for found in client.list_directory("/")] == ["a", "b"]
    assert [request.query.get("as_of") for request in server.requests] == [None, "41"]
    assert server.requests[1].query["after"] == "a"


def test_a_walk_is_of_one_transaction_and_goes_depth_first(world: World) -> None:
    world.namespace.directories |= {"/a", "/a/b", "/c"}
    with DFSClient(world.server.url) as client:
        client.write_bytes("/a/b/f", b"123")
        world.server.requests.clear()
        walked = list(client.walk("/"))
        assert [
            (path, [d.name for d in below], [f.name for f in files]) for path, below, files in walked
        ] == [
            ("/", ["a", "c"], []),
            ("/a", ["b"], []),
            ("/a/b", [], ["f"]),
            ("/c", [], []),
        ]
        usage = client.du("/")
    assert (usage.files, usage.directories, usage.size_bytes, usage.stored_bytes) == (1, 4, 3, 6)
    listings = [request for request in world.server.requests if request.path.startswith("/directories")]
    assert {request.query["as_of"] for request in listings} == {"7"}


def test_a_forked_child_reads_and_writes_through_its_own_connections(world: World) -> None:
    with DFSClient(world.server.url) as client:
        client.stat("/")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                client.write_bytes("/from-child", b"child")
                status = 0 if client.read_bytes("/from-child") == b"child" else 2
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(ended) == 0
        assert client.read_bytes("/from-child") == b"child"


def test_points_in_time_are_sent_as_the_namenode_takes_them() -> None:
    assert point(None) is None
    assert point(12) == "12"
    assert point("2h") == "2h"
    assert point(datetime(2026, 1, 31, 12, tzinfo=UTC)) == "2026-01-31T12:00:00+00:00"
    with pytest.raises(InvalidRequest, match="time zone"):
        point(datetime(2026, 1, 31, 12))  # noqa: DTZ001 - the naive one is what is refused


def test_relative_paths_are_refused_before_anything_is_sent(world: World) -> None:
    with DFSClient(world.server.url) as client, pytest.raises(InvalidRequest, match="absolute"):
        client.list_directory("f")
    assert world.server.requests == []


def test_a_client_that_moves_no_bytes_never_loads_grpc() -> None:
    code = "import sys; from esdfs.client import DFSClient; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
