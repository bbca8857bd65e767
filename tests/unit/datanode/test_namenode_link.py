from collections.abc import Iterator
from typing import cast

import pytest

from esdfs.datanode.namenode_link import NameNodeLink
from esdfs.env import Rng
from esdfs.env_os import OsClock
from tests.datanodes import NameNode


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
