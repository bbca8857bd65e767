"""What a DataNode tells a NameNode, and what it makes of refusals."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from esdfs.datanode.namenode_link import NameNodeLink
from esdfs.datanode.replica import BlockKey
from esdfs.datanode.reports import Report
from esdfs.env import Rng
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import EsdfsError, Overloaded, Unreachable
from tests.datanodes import NameNode

PAGES = 5


class Listener:
    """Hears what is said to a NameNode, and refuses the page it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list[int] = []
        self.held = PAGES
        self.refusal: dict[int, EsdfsError] = {}
        self.link = NameNodeLink(
            "http://nowhere",
            "dn-1",
            1,
            token="",
            interval_ms=1_000,
            full_report_interval_s=3_600,
            clock=OsClock(),
            rng=OsRng(),
            register_body=dict,
            heartbeat_body=dict,
            full_report=self._pages,
            on_registered=lambda _answer: None,
            on_answer=lambda _answer, _asked_ns: None,
            epoch=lambda: 1,
        )
        monkeypatch.setattr(self.link, "_call", self._call)

    def _pages(self) -> Iterator[Report]:
        held = self.held
        for number in range(held):
            yield Report(full=True, first=number == 0, last=number == held - 1, stored=((number + 1, 1, 10),))

    def _call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        del method
        if path.endswith("/register"):
            return {"cluster_id": "c", "number": 1, "heartbeat_interval_ms": 1_000, "epoch": 1}
        page = body["stored"][0][0]
        if (refusal := self.refusal.pop(page, None)) is not None:
            raise refusal
        self.heard.append(page)
        return {}


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    return Listener(monkeypatch)


def test_a_full_report_goes_on_where_a_busy_namenode_stopped_it(listener: Listener) -> None:
    listener.refusal[3] = Overloaded("later")
    with pytest.raises(Overloaded):
        listener.link.report()
    listener.link.report()
    listener.link.report()
    assert listener.heard == [1, 2, 3, 4, 5]


def test_it_begins_anew_when_nobody_knows_what_arrived(listener: Listener) -> None:
    listener.refusal[3] = Unreachable("no answer")
    with pytest.raises(Unreachable):
        listener.link.report()
    listener.link.report()
    assert listener.heard == [1, 2, 1, 2, 3, 4, 5]


def test_another_process_of_the_namenode_is_told_from_the_first_page_on(listener: Listener) -> None:
    listener.refusal[3] = Overloaded("later")
    with pytest.raises(Overloaded):
        listener.link.report()
    listener.link.register()
    listener.link.report()
    assert listener.heard == [1, 2, 1, 2, 3, 4, 5]


def test_a_report_of_which_nothing_was_taken_is_made_anew(listener: Listener) -> None:
    """The NameNode dates a report by its first page: it must not be older than that."""
    listener.refusal[1] = Overloaded("later")
    with pytest.raises(Overloaded):
        listener.link.report()
    listener.held = 3
    listener.link.report()
    assert listener.heard == [1, 2, 3]


def test_changes_that_were_dropped_are_made_up_for_by_a_full_report(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdfs.datanode.reports._WAITING_MAX", 2)
    listener.link.report()
    listener.heard.clear()
    for number in range(11, 14):
        listener.link.deltas.stored(BlockKey(number, 1), 10)
    listener.refusal[3] = Overloaded("later")
    with pytest.raises(Overloaded):
        listener.link.report()
    for number in range(21, 24):
        listener.link.deltas.stored(BlockKey(number, 1), 10)
    listener.link.report()
    assert listener.heard == [1, 2, 3, 4, 5]
    listener.link.report()
    listener.link.report()
    assert listener.heard == [1, 2, 3, 4, 5] * 2, "those of after its first page, too"


class Chance:
    """Answers what the test wants."""

    drawn = 0.0

    def random(self) -> float:
        return self.drawn


@pytest.fixture
def namenode() -> Iterator[NameNode]:
    made = NameNode()
    yield made
    made.close()


@pytest.mark.parametrize(("drawn", "wait_s"), [(0.0, 1.8), (0.5, 2.0), (1.0, 2.2)])
def test_datanodes_that_were_started_together_do_not_come_together_for_ever(
    namenode: NameNode, drawn: float, wait_s: float
) -> None:
    namenode.interval_ms = 2000
    chance = Chance()
    chance.drawn = drawn
    link = NameNodeLink(
        namenode.url,
        "dn-1",
        1,
        token="",
        interval_ms=100,
        full_report_interval_s=600,
        clock=OsClock(),
        rng=cast("Rng", chance),
        register_body=dict,
        heartbeat_body=dict,
        full_report=lambda: iter(()),
        on_registered=lambda _registered: None,
        on_answer=lambda _answer, _asked_ns: None,
        epoch=lambda: 1,
    )
    try:
        assert link._exchange() == pytest.approx(wait_s)
        namenode.next_ms = 700
        assert link._exchange() == 0.7, "the leader says when"
    finally:
        link.close()
