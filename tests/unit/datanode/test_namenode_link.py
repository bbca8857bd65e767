"""What a DataNode tells a NameNode, and what it makes of refusals."""

from collections.abc import Iterator
from typing import Any

import pytest

from esdfs.datanode.namenode_link import NameNodeLink
from esdfs.datanode.reports import Report
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import EsdfsError, Overloaded, Unreachable

PAGES = 5


class Listener:
    """Hears what is said to a NameNode, and refuses the page it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list[int] = []
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
        for number in range(PAGES):
            yield Report(
                full=True, first=number == 0, last=number == PAGES - 1, stored=((number + 1, 1, 10),)
            )

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
