"""What a cluster refuses: each with its own code and status, and nothing changed."""

from typing import Any

import pytest

from esdfs.client import DFSClient
from tests.cluster import Cluster

LONG = "x" * 256
DEEP = "/d" * 129


@pytest.fixture
def tree(dfs: DFSClient, home: str) -> str:
    dfs.make_directory(f"{home}/dir/sub", parents=True)
    dfs.write_bytes(f"{home}/file", b"content")
    return home


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/directories", b"{nonsense", 400, "invalid-request"),
    ("POST", "/directories", {"path": 7}, 400, "invalid-request"),
    ("POST", "/directories", {}, 400, "invalid-request"),
    ("POST", "/directories", {"path": "relative"}, 400, "invalid-path"),
    ("POST", "/directories", {"path": "HOME/../up"}, 400, "invalid-path"),
    ("POST", "/directories", {"path": "HOME/nul\0"}, 400, "invalid-path"),
    ("POST", "/directories", {"path": f"HOME/{LONG}"}, 400, "invalid-path"),
    ("POST", "/directories", {"path": DEEP}, 400, "invalid-path"),
    ("POST", "/directories", b'{"path":"/' + b"x" * (2 << 20) + b'"}', 413, "payload-too-large"),
    ("POST", "/directories", {"path": "HOME/dir"}, 409, "already-exists"),
    ("POST", "/directories", {"path": "HOME/missing/dir"}, 404, "parent-not-found"),
    ("POST", "/directories", {"path": "HOME/file/dir"}, 409, "not-a-directory"),
    ("GET", "/directoriesHOME/missing", None, 404, "not-found"),
    ("GET", "/directoriesHOME/file", None, 409, "not-a-directory"),
    ("GET", "/directoriesHOME?limit=0", None, 400, "invalid-request"),
    ("GET", "/directoriesHOME?as_of=999999999", None, 400, "future-txid"),
    ("GET", "/directoriesHOME?as_of=nonsense", None, 400, "invalid-request"),
    ("DELETE", "/directoriesHOME/dir", None, 409, "directory-not-empty"),
    ("DELETE", "/directoriesHOME/file", None, 409, "not-a-directory"),
    ("GET", "/files?path=HOME/missing", None, 404, "not-found"),
    ("GET", "/files/download/999999999", None, 404, "not-found"),
    ("GET", "/files/download/nonsense", None, 400, "invalid-request"),
    ("POST", "/files/upload", {"path": "HOME/file"}, 409, "already-exists"),
    ("POST", "/files/upload", {"path": "HOME/dir", "overwrite": True}, 409, "is-a-directory"),
    ("POST", "/files/upload", {"path": "HOME/new", "replication": 99}, 400, "invalid-request"),
    ("POST", "/files/upload", {"path": "HOME/new", "block_size_bytes": 1}, 400, "invalid-request"),
    ("POST", "/rename", {"source": "HOME/dir", "target": "HOME/dir/sub/dir"}, 409, "move-into-itself"),
    ("POST", "/rename", {"source": "HOME/missing", "target": "HOME/x"}, 404, "not-found"),
    ("POST", "/rename", {"source": "HOME/dir", "target": "HOME/file"}, 409, "already-exists"),
    ("POST", "/transactions", {"commands": [{"kind": "nonsense"}]}, 400, "invalid-request"),
    ("PUT", "/datanodes/dn-77/heartbeat", "HEARTBEAT", 404, "unknown-datanode"),
    ("PATCH", "/directories", {}, 405, "method-not-allowed"),
    ("GET", "/nonsense", None, 404, "no-such-endpoint"),
]

HEARTBEAT = {"incarnation": 1, "storage_capacity": 1, "available_space": 1, "blocks_stored": 0, "volumes": []}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"), REFUSED, ids=[f"{r[0]} {r[1][:30]} {r[4]}" for r in REFUSED]
)
def test_a_bad_request_has_its_code_and_changes_nothing(
    live: Cluster, tree: str, method: str, path: str, body: Any, status: int, code: str
) -> None:
    if isinstance(body, dict):
        body = {k: v.replace("HOME", tree) if isinstance(v, str) else v for k, v in body.items()}
    if body == "HEARTBEAT":
        body = HEARTBEAT
    before = live.rest("GET", "/journal/head").body["last_txid"]
    answer = live.rest(method, path.replace("HOME", tree), body)
    assert (answer.status, answer.body.get("code")) == (status, code), answer.body
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body["detail"]
    assert live.rest("GET", "/journal/head").body["last_txid"] == before


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (("ls", "/nowhere"), 1),
        (("cat", "HOME/dir"), 1),
        (("get", "HOME/file", "/proc/nonsense/out"), 1),
        (("put", "/nonexistent", "HOME/x"), 1),
        (("put", "-", "HOME/file"), 1),
        (("rmdir", "HOME/dir"), 1),
        (("rm", "HOME/dir"), 1),
        (("mv", "HOME/dir", "HOME/dir/sub/inside"), 1),
        (("mkdir", "HOME/dir"), 1),
        (("ls", "--as-of", "tomorrow", "HOME"), 1),
        (("ls", "--no-such-option"), 2),
        (("nonsense",), 2),
        (("--url", "http://127.0.0.1:9", "ls", "/"), 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_the_command_line_says_why_in_one_line(
    live: Cluster, tree: str, args: tuple[str, ...], status: int
) -> None:
    done = live.run(*(arg.replace("HOME", tree) for arg in args))
    assert done.returncode == status, done.stderr.decode()
    if status != 2:
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith("esdfs: "), line
    assert done.stdout == b""


def test_a_repeated_key_gives_the_first_answer_and_another_body_is_refused(live: Cluster, home: str) -> None:
    key = {"Idempotency_Key": f"key of {home}"}
    first = live.rest("POST", "/directories", {"path": f"{home}/once"}, **key)
    again = live.rest("POST", "/directories", {"path": f"{home}/once"}, **key)
    other = live.rest("POST", "/directories", {"path": f"{home}/other"}, **key)
    assert (first.status, again.status) == (201, 201)
    assert first.headers["Esdfs-Txid"] == again.headers["Esdfs-Txid"]
    assert again.headers["Esdfs-Replayed"] == "true"
    assert other.body["code"] == "idempotency-mismatch"


def test_a_transaction_with_one_bad_command_does_nothing(live: Cluster, dfs: DFSClient, tree: str) -> None:
    commands = [
        {"kind": "make-directory", "path": f"{tree}/good", "parents": False},
        {"kind": "make-directory", "path": f"{tree}/file/bad", "parents": False},
    ]
    refused = live.rest("POST", "/transactions", {"commands": commands})
    assert refused.body["code"] == "not-a-directory"
    assert not dfs.exists(f"{tree}/good")
