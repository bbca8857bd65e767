"""Finding the leader, and saying everything exactly once, on real sockets."""

import os
import time
from typing import Any

import pytest

from esdfs.client.control import Control, checked_url, split_urls
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import (
    AlreadyExists,
    EsdfsError,
    InvalidRequest,
    NotEnoughDataNodes,
    OutcomeUnknown,
    Unreachable,
)
from tests.unit.client.namenode import HANG_UP, Request, Response, answers, free_url, problem, serving

DONE = Response(200, {"txid": 7})


def control(*urls: str, token: str | None = None, **options: Any) -> Control:
    return Control(urls, token=token, user="me", clock=OsClock(), rng=OsRng(), **options)


def change(client: Control) -> dict[str, Any]:
    return client.change("POST", "/directories", dict[str, Any], {"path": "/x"})


def keys(requests: list[Request]) -> list[str]:
    return [request.headers["Idempotency-Key"] for request in requests]


def test_a_change_is_repeated_under_its_key_when_the_answer_was_lost() -> None:
    with serving(answers(HANG_UP, HANG_UP, DONE)) as server:
        assert change(control(server.url)) == {"txid": 7}
    assert len(set(keys(server.requests))) == 1
    assert len(server.requests) == 3


def test_two_changes_have_two_keys_of_one_client() -> None:
    with serving(answers(DONE)) as server:
        client = control(server.url)
        change(client)
        change(client)
    first, second = keys(server.requests)
    assert first.split("/")[0] == second.split("/")[0]
    assert [first.split("/")[1], second.split("/")[1]] == ["1", "2"]


def test_a_redirect_leads_to_the_leader_and_it_stays_there() -> None:
    with serving(answers(DONE)) as leader:

        def follower(_request: Request) -> Response:
            return problem(307, "not-leader")._replace(headers={"Location": f"{leader.url}/directories"})

        with serving(follower) as other:
            client = control(other.url)
            change(client)
            change(client)
    assert (len(other.requests), len(leader.requests)) == (1, 2)
    assert keys(other.requests)[0] == keys(leader.requests)[0]


def test_a_hint_in_the_problem_leads_to_the_leader_as_well() -> None:
    with (
        serving(answers(DONE)) as leader,
        serving(answers(problem(503, "not-leader", leader=leader.url))) as other,
    ):
        assert change(control(other.url)) == {"txid": 7}


def test_two_that_point_at_each_other_end_with_the_deadline() -> None:
    with serving(answers(DONE)) as one, serving(answers(DONE)) as two:
        one.answer = answers(problem(503, "not-leader", leader=two.url))
        two.answer = answers(problem(503, "not-leader", leader=one.url))
        with pytest.raises(EsdfsError) as caught:
            change(control(one.url, two.url, timeout_s=0.3))
    assert caught.value.code == "not-leader"


def test_the_next_url_is_tried_when_nobody_listens_at_the_first() -> None:
    with serving(answers(DONE)) as server:
        assert change(control(free_url(), server.url)) == {"txid": 7}


def test_a_node_that_cannot_now_is_asked_again() -> None:
    with serving(answers(problem(503, "safe-mode"), problem(503, "overloaded"), DONE)) as server:
        assert change(control(server.url)) == {"txid": 7}


def test_a_refusal_is_final_and_an_os_error() -> None:
    with serving(answers(problem(409, "already-exists", "/x exists", path="/x"), DONE)) as server:
        with pytest.raises(FileExistsError) as caught:
            change(control(server.url))
        assert isinstance(caught.value, AlreadyExists)
        assert caught.value.filename == "/x"
    assert len(server.requests) == 1


def test_nobody_at_all_is_found_out_within_the_connect_budget() -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        change(control(free_url(), free_url(), connect_budget_s=0.2))
    assert time.monotonic() - began < 5
    assert isinstance(caught.value, ConnectionError)


def test_a_cluster_that_answered_once_is_waited_for_up_to_the_deadline() -> None:
    with serving(answers(DONE)) as server:
        client = control(server.url, connect_budget_s=0.0, timeout_s=0.5)
        change(client)
    began = time.monotonic()
    with pytest.raises(Unreachable):
        change(client)
    assert time.monotonic() - began >= 0.5


def test_an_outcome_that_stays_unknown_is_said_to_be() -> None:
    with serving(answers(HANG_UP)) as server, pytest.raises(OutcomeUnknown):
        change(control(server.url, timeout_s=0.2))


def test_missing_datanodes_are_reported_as_such() -> None:
    with (
        serving(answers(problem(503, "not-enough-datanodes", "2 needed"))) as server,
        pytest.raises(NotEnoughDataNodes, match="2 needed"),
    ):
        change(control(server.url, timeout_s=0.2))


@pytest.mark.parametrize("status", [200, 404], ids=["ok", "not-found"])
def test_another_server_at_the_url_is_recognised(status: int) -> None:
    with (
        serving(answers(Response(status, ["some", "other", "service"]))) as server,
        pytest.raises(InvalidRequest, match="check the URL"),
    ):
        change(control(server.url))


def test_token_and_user_are_sent() -> None:
    with serving(answers(DONE)) as server:
        change(control(server.url, token="secret"))  # noqa: S106 - of this test only
    sent = server.requests[0].headers
    assert (sent["Authorization"], sent["Esdfs-User"]) == ("Bearer secret", "me")


def test_a_forked_child_is_a_client_of_its_own() -> None:
    with serving(answers(DONE)) as server:
        client = control(server.url)
        change(client)
        child = os.fork()
        if child == 0:
            try:
                change(client)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        change(client)
    first, forked, second = keys(server.requests)
    assert forked.split("/")[0] != first.split("/")[0]
    assert (forked.split("/")[1], second.split("/")[1]) == ("1", "2")


def test_paths_and_queries_arrive_as_they_were_meant() -> None:
    with serving(answers(DONE)) as server:
        control(server.url).get("/directories/a b %+#é", dict[str, Any], after="ü&=?", as_of=None)
    assert server.requests[0].path == "/directories/a b %+#é"
    assert server.requests[0].query == {"after": "ü&=?"}


def test_urls_are_checked_before_anything_is_sent() -> None:
    assert checked_url("host:8870/") == "http://host:8870"
    assert split_urls(" a:1, http://b:2 ,") == ["a:1", "http://b:2"]
    for wrong in ("ftp://x:1", "http://", "", "http://x:port"):
        with pytest.raises(InvalidRequest):
            checked_url(wrong)
    with pytest.raises(InvalidRequest, match="ESDFS_URL"):
        control()
