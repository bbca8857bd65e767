"""The real server: gunicorn's processes, real LMDB, real SQLite, a real command socket."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.projection.digest import digest
from esdfs.namenode.rest.gunicorn_conf import command
from tests.unit.namenode.rest.live import Live, answers, ask, free_port, serving, serving_core, until

PARENT = """
import subprocess, sys
from esdfs.namenode.rest.gunicorn_conf import command
child = subprocess.Popen(command(sys.argv[1], sys.argv[2]))
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("nn")) as made:
        yield made


def write(live: Live, path: str, name: str = "") -> dict[str, object]:
    headers = {"Idempotency-Key": name} if name else {}
    opened = ask(live.port, "POST", "/files/upload", {"path": path}, headers).body
    (block,) = opened["blocks"]
    assert [target["node_id"] for target in block["targets"]] == ["dn-1", "dn-2"]
    live.core.hold(int(block["block_id"]), block["generation"])
    done = {
        "lease": opened["lease"],
        "crc32c": "0000abcd",
        "blocks": [
            {
                "block_id": block["block_id"],
                "generation": block["generation"],
                "length_bytes": 10,
                "stored_bytes": 10,
                "crc32c": "0000abcd",
                "replicas": ["dn-1", "dn-2"],
            }
        ],
    }
    answer = ask(live.port, "POST", f"/files/{opened['file_id']}/complete", done)
    assert answer.status == 200, answer.body
    body: dict[str, object] = answer.body
    return body


def test_a_file_is_written_read_changed_and_found_in_the_past(live: Live) -> None:
    made = ask(live.port, "POST", "/directories", {"path": "/story"})
    assert (made.status, made.body["path"]) == (201, "/story")
    again = ask(live.port, "POST", "/directories", {"path": "/story"})
    assert (again.status, again.body["code"]) == (409, "already-exists")
    there = ask(live.port, "POST", "/directories", {"path": "/story", "parents": True})
    assert there.status == 200

    file = write(live, "/story/a")
    stat = ask(live.port, "GET", "/files?path=/story/a")
    assert stat.body == file
    assert int(stat.headers["Esdfs-Txid"]) >= int(str(file["txid"]))
    download = ask(live.port, "GET", f"/files/download/{file['file_id']}").body
    (block,) = download["blocks"]
    assert [(at["address"], at["is_leader"]) for at in block["locations"]] == [
        ("127.0.0.1:9001", True),
        ("127.0.0.1:9002", False),
    ]
    listed = ask(live.port, "GET", "/directories/story").body
    assert listed["entries"] == [file]

    moved = ask(live.port, "POST", "/rename", {"source": "/story/a", "target": "/story/b"})
    assert (moved.status, moved.body["file_id"]) == (200, file["file_id"])
    changed = ask(live.port, "PATCH", f"/files/{file['file_id']}", {"mode": "0600"})
    assert changed.body["mode"] == "0600"
    stale = ask(live.port, "DELETE", f"/files/{file['file_id']}", headers={"If-Match": f'"{file["txid"]}"'})
    assert (stale.status, stale.body["code"]) == (412, "precondition-failed")
    gone = ask(live.port, "DELETE", f"/files/{file['file_id']}")
    assert gone.status == 200
    assert ask(live.port, "GET", "/files?path=/story/b").status == 404
    past = ask(live.port, "GET", f"/files?path=/story/a&as_of={file['txid']}")
    assert past.body == file
    assert past.headers["Esdfs-Txid"] == str(file["txid"])

    versions = ask(live.port, "GET", "/history?path=/story/b").body["versions"]
    assert {version["event"] for version in versions} >= {"renamed", "attributes-set"}
    assert {version["principal"] for version in versions} == {"anonymous"}
    audit = ask(live.port, "GET", "/audit?path=/story/b").body["records"]
    assert audit[0]["kind"] == "deleted"
    back = ask(live.port, "POST", "/restore", {"path": "/story/a", "as_of": file["txid"]})
    assert (back.status, back.body["path"], back.body["crc32c"]) == (200, "/story/a", "0000abcd")


def test_a_repeated_request_changes_nothing_and_gets_its_first_answer(live: Live) -> None:
    headers = {"Idempotency-Key": f"{uuid.UUID(int=99)}/1"}
    first = ask(live.port, "POST", "/directories", {"path": "/once"}, headers)
    assert first.status == 201
    ask(live.port, "DELETE", "/directories/once")
    again = ask(live.port, "POST", "/directories", {"path": "/once"}, headers)
    assert (again.status, again.body, again.headers["Esdfs-Replayed"]) == (201, first.body, "true")
    assert ask(live.port, "GET", "/files?path=/once").status == 404
    other = ask(live.port, "POST", "/directories", {"path": "/twice"}, headers)
    assert (other.status, other.body["code"]) == (409, "idempotency-mismatch")


def test_a_transaction_is_all_or_nothing(live: Live) -> None:
    commands = [{"kind": "make-directory", "path": "/all"}, {"kind": "make-directory", "path": "/all/x/y"}]
    refused = ask(live.port, "POST", "/transactions", {"commands": commands})
    assert (refused.status, refused.body["code"]) == (404, "parent-not-found")
    assert ask(live.port, "GET", "/files?path=/all").status == 404
    commands[1]["path"] = "/all/x"
    done = ask(live.port, "POST", "/transactions", {"commands": commands})
    assert (done.status, len(done.body["results"])) == (200, 2)
    assert ask(live.port, "GET", "/files?path=/all/x").body["file_id"] == done.body["results"][1]["file_id"]


def test_the_feed_carries_every_record_and_ends_at_the_head(live: Live) -> None:
    write(live, "/feed")
    head = ask(live.port, "GET", "/journal/head").body
    records: list[dict[str, object]] = []
    after = 1
    while after <= head["last_txid"]:
        page = ask(live.port, "GET", f"/journal?from={after}&limit=7").body
        records += page["records"]
        after = page["next"]
    assert [record["txid"] for record in records] == list(range(1, len(records) + 1))
    assert records[head["last_txid"] - 1]["chain"] == head["chain"]


def test_a_long_difference_is_told_as_a_short_one_is(live: Live) -> None:
    before = ask(live.port, "GET", "/journal/head").body["last_txid"]
    ask(live.port, "POST", "/directories", {"path": "/differing"})
    few = ask(live.port, "GET", f"/diff?from={before}&path=/differing").body
    assert [(c["change"], c["path"]) for c in few["changes"]] == [("added", "/differing")]
    for first in range(0, 2_100, 300):
        names = [f"/differing/{n:04}" for n in range(first, first + 300)]
        commands = [{"kind": "make-directory", "path": name} for name in names]
        assert ask(live.port, "POST", "/transactions", {"commands": commands}).status == 200
    now = ask(live.port, "GET", "/journal/head").body["last_txid"]
    many = ask(live.port, "GET", f"/diff?from={before}&path=/differing").body
    assert (many["from_txid"], many["to_txid"], len(many["changes"])) == (before, now, 2_101)
    late = ask(live.port, "GET", f"/diff?from={now + 1}")
    assert (late.status, late.body["code"]) == (400, "future-txid")
    assert ask(live.port, "GET", "/diff").body["code"] == "invalid-request"


def test_the_digest_is_the_writers_own(live: Live) -> None:
    write(live, "/digested")
    told = ask(live.port, "GET", "/journal/digest").body
    assert (told["txid"], told["digest"]) == digest(live.core.world.store)


def test_a_body_without_a_length_is_cut_off_at_the_limit(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    pieces = (b"x" * 65536 for _ in range(17))
    connection.putrequest("POST", "/directories")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    for piece in pieces:
        connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"payload-too-large" in answer.read()
    connection.close()


def test_one_connection_carries_many_requests_and_every_worker_serves(live: Live) -> None:
    seen = set()

    def prefixes() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
        for _ in range(3):
            connection.request("GET", "/health/live")
            answer = connection.getresponse()
            answer.read()
            seen.add(answer.headers["X-Request-Id"].partition("-")[0])
        connection.close()
        return len(seen) == 2

    until(prefixes, "an answer of each of two workers")


def test_an_answered_change_is_seen_by_every_worker_at_once(live: Live) -> None:
    ask(live.port, "POST", "/directories", {"path": "/seen"})

    def make_and_look(index: int) -> list[int]:
        statuses = []
        for turn in range(15):
            path = f"/seen/{index}-{turn}"
            statuses.append(ask(live.port, "POST", "/directories", {"path": path}).status)
            # Every request is a connection of its own, so any worker may get it.
            statuses.append(ask(live.port, "GET", f"/files?path={path}").status)
            statuses.append(ask(live.port, "GET", "/fsck?path=/seen").status)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(make_and_look, range(4)))
    assert seen == [[201, 200, 200] * 15] * 4
    listed = ask(live.port, "GET", "/directories/seen").body
    assert len(listed["entries"]) == 60


def test_a_server_that_is_told_to_stop_does_not_wait_for_long_polls(tmp_path: Path) -> None:
    with serving(tmp_path) as live, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_ends, live.port, "/journal?from=99999&wait_ms=30000")
        until(lambda: _busy(live.pid), "a worker that holds the poll's connection")
        began = time.monotonic()
        os.kill(live.pid, signal.SIGTERM)
        assert waiting.result(20) == "200"
        assert time.monotonic() - began < 3


def test_fsck_sees_what_the_datanodes_reported(live: Live) -> None:
    ask(live.port, "POST", "/directories", {"path": "/checked"})
    write(live, "/checked/a")
    page = ask(live.port, "GET", "/fsck?path=/checked").body
    assert [(file["path"], file["state"]) for file in page["files"]] == [("/checked/a", "healthy")]


def test_the_way_back_tells_what_the_past_needs_from_what_a_copy_does(live: Live) -> None:
    ask(live.port, "POST", "/directories", {"path": "/back"})
    opened = {}
    for name in ("kept", "past", "copied"):
        write(live, f"/back/{name}")
        told = ask(live.port, "GET", f"/files?path=/back/{name}&blocks=true").body
        opened[told["located"][0]["block_id"]] = name
    copied = {"kind": "copy", "source": "/back/copied", "target": "/back/copy"}
    assert ask(live.port, "POST", "/transactions", {"commands": [copied]}).status == 200
    for name in ("past", "copied"):
        told = ask(live.port, "GET", f"/files?path=/back/{name}").body
        assert ask(live.port, "DELETE", f"/files/{told['file_id']}").status == 200
    found: dict[str, set[tuple[str, str | None]]] = {}
    after = "&"
    while after:
        page = ask(live.port, "GET", f"/fsck/replicas?limit=2{after}").body
        for one in page["replicas"]:
            if one["block_id"] in opened:
                name = opened[one["block_id"]]
                found.setdefault(name, set()).add((one["state"], one["path"]))
        after = f"&after={page['next']}" if page["next"] else ""
    assert found == {
        "kept": {("needed", "/back/kept")},
        "past": {("historical", None)},
        "copied": {("needed", None)},
    }


def test_a_killed_engine_takes_its_server_along_and_frees_the_port(tmp_path: Path) -> None:
    with serving_core(tmp_path) as core:
        config = core.world.config
        port = free_port()
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, config.dir, f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        master = int(parent.stdout.readline())
        until(lambda: answers(port), "an answer")
        until(lambda: len(_children(master)) == 2, "both workers")
        workers = _children(master)
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
        until(lambda: not any(_lives(pid) for pid in (master, *workers)), "the end of the server")
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))
            again.listen(1)


def test_the_command_line_says_what_differs_between_namenodes(tmp_path: Path) -> None:
    argv = command(NameNodeConfig(node_id="nn-1", dir=str(tmp_path), rest_workers=3, rest_port=1234))
    assert argv[argv.index("--workers") + 1] == "3"
    assert argv[argv.index("--bind") + 1] == "127.0.0.1:1234"
    assert "--no-control-socket" in argv


def _ends(port: int, target: str) -> str:
    """How a request ended, answered or cut off."""
    try:
        return str(ask(port, "GET", target).status)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)


def _busy(master: int) -> bool:
    """Whether a worker has an established connection."""
    inodes = {inode for worker in _children(master) for inode in _sockets(worker)}
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    established = {line.split()[9] for line in lines if line.split()[3] == "01"}
    return bool(inodes & established)


def _sockets(pid: int) -> Iterator[str]:
    """The inodes of the sockets of a process that runs on meanwhile: what it closes is none of them."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            target = entry.readlink().name
            if target.startswith("socket:["):
                yield target.removeprefix("socket:[").removesuffix("]")


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
