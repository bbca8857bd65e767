from typing import Any

import pytest

from esdfs.errors import EsdfsError, NotLeader, Unavailable, every_error, from_code
from esdfs.namenode.rest.errors import STATUS
from tests.unit.namenode.rest.world import World


def test_every_error_has_a_status_and_no_status_is_for_nothing() -> None:
    assert {kind.code for kind in every_error()} == set(STATUS)


@pytest.mark.parametrize("kind", list(every_error()))
def test_every_error_arrives_as_a_problem_document(world: World, kind: type[EsdfsError]) -> None:
    world.engine.reply = kind("what is wrong", path="/a")
    answer = world.post("/files/5/abort", {"lease": "l"})
    assert answer.status_code == STATUS[kind.code] >= 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json == {
        "type": "about:blank",
        "title": STATUS[kind.code].phrase,
        "status": STATUS[kind.code],
        "detail": "what is wrong",
        "code": kind.code,
        "retry": kind.retry.value,
        "path": "/a",
    }
    assert answer.headers["Esdfs-Txid"] == "1"
    assert answer.headers["Esdfs-Epoch"] == "3"


def test_what_may_succeed_later_says_when(world: World) -> None:
    world.engine.reply = Unavailable("later")
    assert world.post("/files/5/abort", {"lease": "l"}).headers["Retry-After"] == "1"


def test_a_follower_sends_changes_to_the_leader_it_knows(world: World) -> None:
    world.engine.reply = NotLeader("nn-2 leads", leader="http://127.0.0.1:8872")
    answer = world.post("/directories?a=b", {"path": "/d"})
    assert (answer.status_code, answer.headers["Location"]) == (
        307,
        "http://127.0.0.1:8872/directories?a=b",
    )
    world.engine.reply = NotLeader("an election runs")
    answer = world.post("/directories", {"path": "/d"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_a_code_of_a_newer_engine_is_no_success(world: World) -> None:
    world.engine.reply = from_code("quota-exceeded", "too many", {})
    answer = world.post("/files/5/abort", {"lease": "l"})
    assert (answer.status_code, answer.json["code"]) == (500, "quota-exceeded")


def test_a_bug_is_an_answer_too_and_tells_nothing_of_the_inside(world: World) -> None:
    def broken(body: object) -> Any:
        raise ZeroDivisionError("secret")

    world.engine.reply = broken
    answer = world.post("/files/5/abort", {"lease": "l"})
    assert (answer.status_code, answer.json["code"]) == (500, "internal-error")
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/", "/nowhere", "/files/5/unknown", "/files/5/blocks/6"])
def test_an_unknown_endpoint_says_so_and_not_that_a_file_is_missing(world: World, path: str) -> None:
    answer = world.get(path)
    assert (answer.status_code, answer.json["code"]) == (404, "no-such-endpoint")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_unsupported_method_says_which_are(world: World) -> None:
    answer = world.send("PUT", "/files")
    assert (answer.status_code, answer.json["code"]) == (405, "method-not-allowed")
    assert "GET" in answer.headers["Allow"]
