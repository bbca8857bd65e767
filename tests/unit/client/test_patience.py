"""Waiting for a leader that does not answer, on real sockets: left when it has a successor, only then."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from esdfs.client.control import Control
from esdfs.env_os import OsClock, OsRng
from tests.unit.client.namenode import Request, Response, Server, answers, free_url, problem, serving

DONE = Response(200, {"txid": 7}, {"Esdfs-Epoch": "5"})
QUICK_S = 3.0  # an attempt may take 5 s


@pytest.fixture
def thaw() -> Iterator[threading.Event]:
    """Set at the end at the latest, so that no server is left behind."""
    event = threading.Event()
    yield event
    event.set()


def frozen(thaw: threading.Event) -> Callable[[Request], Response]:
    """Takes requests, and answers none until ``thaw``."""

    def answer(_request: Request) -> Response:
        thaw.wait(20)
        return DONE

    return answer


def knowing(leader: Callable[[], Server], epoch: int, otherwise: Response) -> Callable[[Request], Response]:
    """Says that ``leader`` leads in ``epoch``."""

    def answer(request: Request) -> Response:
        if request.path != "/cluster":
            return otherwise
        members = [{"node_id": "nn-9", "rest": leader().url}]
        return Response(200, {"epoch": epoch, "leader": "nn-9", "namenodes": members})

    return answer


def change(client: Control) -> float:
    """How long one change took."""
    began = time.monotonic()
    assert client.change("POST", "/directories", dict[str, int], {"path": "/x"}) == {"txid": 7}
    return time.monotonic() - began


def control(*servers: Server) -> Control:
    urls = [server.url for server in servers]
    return Control(urls, token=None, user="me", clock=OsClock(), rng=OsRng())


def changes(server: Server) -> list[str]:
    """The keys of the changes that arrived there."""
    return [each.headers["Idempotency-Key"] for each in server.requests if each.method == "POST"]


def test_a_silent_leader_with_a_successor_is_left_and_the_change_repeated_there(
    thaw: threading.Event,
) -> None:
    with serving(frozen(thaw)) as old, serving(answers(DONE)) as new:
        new.answer = knowing(lambda: new, 6, DONE)
        assert change(control(old, new)) < QUICK_S
        assert changes(new) == changes(old)
        thaw.set()


def test_a_slow_leader_that_still_leads_is_waited_for(thaw: threading.Event) -> None:
    with serving(answers(DONE)) as slow, serving(answers(problem(503, "unavailable"))) as other:
        client = control(slow, other)
        change(client)
        asked = threading.Event()

        def says(request: Request) -> Response:
            asked.set()
            return knowing(lambda: slow, 5, DONE)(request)

        def slowly(_request: Request) -> Response:
            asked.wait(20)
            return DONE

        other.answer, slow.answer = says, slowly
        assert change(client) < QUICK_S
        assert len(changes(slow)) == 2
        assert changes(other) == []
        thaw.set()


def test_who_only_remembers_an_earlier_leader_persuades_nobody(thaw: threading.Event) -> None:
    with serving(answers(DONE)) as slow, serving(answers(DONE)) as other, serving(answers(DONE)) as earlier:
        client = control(slow, other)
        change(client)
        asked: list[str] = []

        def says(request: Request) -> Response:
            asked.append(request.path)
            if len(asked) > 2:
                thaw.set()
            return knowing(lambda: earlier, 4, DONE)(request)

        other.answer, slow.answer = says, frozen(thaw)
        change(client)
        assert changes(earlier) == []


def test_a_hint_that_leads_back_to_who_was_silent_is_not_followed_at_once(thaw: threading.Event) -> None:
    gone = free_url()
    with serving(answers(DONE)) as follower:
        answered = iter([problem(503, "not-leader", leader=gone)] * 2)
        follower.answer = lambda _request: next(answered, DONE)
        client = Control([gone, follower.url], token=None, user="me", clock=OsClock(), rng=OsRng())
        assert change(client) < QUICK_S
    thaw.set()
