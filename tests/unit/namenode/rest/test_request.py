"""What is refused before the engine hears of it, and what a request is named."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esdfs.namenode.rest.app import ROUTES
from tests.unit.namenode.rest.world import World

TOKEN = "s3cret"  # noqa: S105 - of nothing real
DEEP = "/" + "/".join("d" * 129)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "/a//b",
        "/a/../b",
        "/..",
        "/./a",
        "/a\x00b",
        "/a\x07",
        "/a\x9b",
        "/" + "x" * 256,
        DEEP,
        "/" + "/".join(["x" * 250] * 17),
    ],
)
def test_a_path_that_breaks_a_rule_is_refused_everywhere(world: World, path: str) -> None:
    answers = [
        world.get("/files", params={"path": path}),
        world.post("/directories", {"path": path}),
        world.post("/files/upload", {"path": path}),
        world.post("/rename", {"source": "/a", "target": path}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json["code"]) == (400, "invalid-path")
    assert not world.engine.calls


@pytest.mark.parametrize(
    "path", ["/directories/a//b", "/directories/a/..", "/directories/%00", "/directories/a%0Ab"]
)
def test_a_path_in_the_url_is_held_to_the_same_rules(world: World, path: str) -> None:
    for method in ("GET", "DELETE"):
        answer = world.send(method, path)
        assert (answer.status_code, answer.json["code"]) == (400, "invalid-path")


def test_bytes_that_are_no_text_are_not_silently_replaced(world: World) -> None:
    answer = world.send("GET", "/files", query_string="path=/%FF")
    assert (answer.status_code, answer.json["code"]) == (400, "invalid-request")
    spelled_out = world.send("GET", "/files", query_string="path=/%EF%BF%BD")
    assert spelled_out.json["code"] == "not-found"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"path": "/a"',
        b"\xff",
        b'"\xff"',
        b'{"path": "\xff"}',
        b"[" * 100_000,
        b'{"path":"\\ud800"}',
    ],
)
def test_a_body_that_is_not_json_is_refused(world: World, body: bytes) -> None:
    for route in ("/directories", "/files/upload", "/transactions", "/datanodes/register"):
        answer = world.send("POST", route, body=body, content_type="application/json")
        assert (answer.status_code, answer.json["code"]) == (400, "invalid-request"), route
    assert not world.engine.calls


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"path": 5}, "path"),
        ({"path": "/a", "parents": "yes"}, "parents"),
        ({"path": "/a", "mode": "abc"}, "mode"),
        ({"path": "/a", "mode": "77777"}, "mode"),
        ({"path": "/a", "replication": -1}, "replication"),
        ({"path": "/a", "replication": 1.5}, "replication"),
        ({"path": "/a", "replication": 10**30}, "replication"),
        ({"path": "/a", "blocks": 1001}, "blocks"),
        ({"path": "/a", "exclude": ["dn-1", 2]}, "exclude[1]"),
        ({"path": "/a", "block_size_bytes": 1 << 63}, "block_size_bytes"),
        ({"path": "/a", "lease": "a\nb"}, "lease"),
    ],
)
def test_a_wrong_type_or_bound_names_the_field(world: World, body: dict[str, Any], field: str) -> None:
    answer = world.post("/files/upload", body)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "invalid-request", field)


def test_a_missing_or_unknown_field_is_named(world: World) -> None:
    assert "path" in world.post("/directories", {}).json["detail"]
    assert "parent" in world.post("/directories", {"path": "/a", "parent": True}).json["detail"]
    assert "empty" in world.send("POST", "/directories").json["detail"]


def test_other_media_types_are_refused(world: World) -> None:
    for media in ("text/plain", "application/x-www-form-urlencoded"):
        answer = world.send("POST", "/directories", body=b'{"path":"/a"}', content_type=media)
        assert (answer.status_code, answer.json["code"]) == (415, "unsupported-media-type")


def test_a_body_over_the_limit_is_refused_however_it_is_framed(world: World) -> None:
    just_right = msgspec.json.encode({"path": "/a"}).ljust(1 << 20)
    assert (
        world.send("POST", "/files/upload", body=just_right, content_type="application/json").status_code
        == 201
    )
    headers = {"Content-Type": "application/json"}
    declared = world.send("POST", "/files/upload", body=just_right + b" ", headers=headers)
    assert (declared.status_code, declared.json["code"]) == (413, "payload-too-large")
    assert declared.headers["Connection"] == "close"


def test_the_token_is_asked_for_everywhere_but_at_health(tmp_path: Path) -> None:
    with World(tmp_path, TOKEN) as world:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = world.get("/files", params={"path": "/"}, headers=headers)
            assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        allowed = world.get("/files", params={"path": "/"}, headers={"Authorization": f"Bearer {TOKEN}"})
        assert allowed.status_code == 200
        assert world.get("/health/live").status_code == 200
        assert world.get("/health/ready").status_code == 200
        assert world.get("/nowhere").status_code == 401


def test_a_request_keeps_its_id_or_gets_one(world: World) -> None:
    assert world.get("/health/live", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    made = {world.get("/health/live").headers["X-Request-Id"] for _ in range(3)}
    assert len(made) == 3
    assert world.get("/health/live", headers={"X-Request-Id": "x" * 999}).headers["X-Request-Id"] != "x" * 999


CLIENT = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("key", "client_id", "seq"),
    [
        (f"{CLIENT}/42", CLIENT.bytes, 42),
        (str(CLIENT), CLIENT.bytes, 1),
        (str(CLIENT).upper(), CLIENT.bytes, 1),
        ("any text", hashlib.sha256(b"any text").digest()[:16], 1),
        (f"{CLIENT}/x", hashlib.sha256(f"{CLIENT}/x".encode()).digest()[:16], 1),
    ],
)
def test_an_idempotency_key_names_client_and_number(
    world: World, key: str, client_id: bytes, seq: int
) -> None:
    world.post("/files/5/abort", {"lease": "l"}, headers={"Idempotency-Key": key})
    executed = world.engine.executed()
    assert (executed.client_id, executed.seq) == (client_id, seq)
    assert 0 < executed.request_hash < 1 << 64


def test_the_request_hash_is_of_method_target_and_body(world: World) -> None:
    headers = {"Idempotency-Key": str(CLIENT)}
    world.post("/files/5/abort", {"lease": "l"}, headers=headers)
    world.post("/files/5/abort", {"lease": "l"}, headers=headers)
    world.post("/files/5/abort", {"lease": "m"}, headers=headers)
    world.post("/files/6/abort", {"lease": "l"}, headers=headers)
    world.send("DELETE", "/directories/d", headers=headers)
    world.send("DELETE", "/directories/d", params={"recursive": "true"}, headers=headers)
    hashes = [call.request_hash for call in world.engine.calls]  # type: ignore[union-attr]  # all are changes
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 5


@pytest.mark.parametrize("key", ["", "x" * 256, f"{CLIENT}/0", f"{CLIENT}/9999999999999999999"])
def test_a_key_that_is_none_is_refused(world: World, key: str) -> None:
    answer = world.post("/files/5/abort", {"lease": "l"}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json["field"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("tag", ["x", '"1", "2"', '"-1"', ""])
def test_an_entity_tag_that_is_none_is_refused(world: World, tag: str) -> None:
    answer = world.get("/files", params={"path": "/"}, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.json["field"]) == (400, "If-None-Match")


def test_a_user_name_beyond_ascii_comes_percent_encoded(world: World) -> None:
    world.post("/files/5/abort", {"lease": "l"}, headers={"Esdfs-User": "%C3%A4da"})
    assert world.engine.executed().principal == "äda"
    forged = world.post("/files/5/abort", {"lease": "l"}, headers={"Esdfs-User": "ada%0Aroot"})
    assert (forged.status_code, forged.json["field"]) == (400, "Esdfs-User")


def test_a_user_name_that_could_forge_a_line_is_refused(world: World) -> None:
    answer = world.post("/files/5/abort", {"lease": "l"}, headers={"Esdfs-User": "x" * 300})
    assert (answer.status_code, answer.json["field"]) == (400, "Esdfs-User")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "path",
        "lease",
        "mode",
        "blocks",
        "count",
        "abandon",
        "exclude",
        "source",
        "target",
        "as_of",
        "mtime",
        "commands",
        "kind",
        "file_id",
        "crc32c",
        "replication",
        "owner",
        "parents",
        "overwrite",
    ]
)
LIKELY = JSON | st.sampled_from(["/a", "l", 1, "0644", "make-directory", "set-attributes", "complete-file"])
BODIES = JSON | st.dictionaries(FIELDS, LIKELY | st.lists(st.dictionaries(FIELDS, LIKELY), max_size=3))
WRITES = sorted(
    (method, route.format(file_id=5, node_id="dn-1", name="c") if ":" not in route else "/directories/d")
    for route, kind in ROUTES.items()
    for method in ("POST", "PUT", "PATCH")
    if hasattr(kind, f"on_{method.lower()}")
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(write=st.sampled_from(WRITES), body=BODIES)
def test_no_json_whatever_makes_the_edge_fail(world: World, write: tuple[str, str], body: Any) -> None:
    method, route = write
    world.engine.reply = lambda call: (
        [{}] * len(call.commands) if hasattr(call, "commands") else {"expires_in_ms": 1}
    )
    try:
        encoded = msgspec.json.encode(body)
    except (UnicodeEncodeError, OverflowError):
        encoded = b'"lone surrogate"'
    answer = world.send(method, route, body=encoded, content_type="application/json")
    assert answer.status_code < 500, answer.text
