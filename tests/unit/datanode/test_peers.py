import socket
from collections.abc import Callable, Iterator

import pytest

from esdfs.datanode.peers import STALE_S, PeerTable, PeerWatch, WatchedPeers
from esdfs.datanode.pipeline import Forward
from esdfs.env_os import OsClock
from esdfs.errors import EsdfsError, Unreachable, VolumeFull
from esdfs.rpc.messages import BlockResult, Frame, Target
from tests.unit.datanode.clocks import HandClock

ONE, TWO = Target("dn-1", "127.0.0.1:1"), Target("dn-2", "127.0.0.1:2")


class Streams:
    """Streams that end as they are told to."""

    def __init__(self, error: EsdfsError | None) -> None:
        self._error = error

    def forward(self, target: Target, frames: Iterator[Frame] | Frame, timeout_s: float | None) -> Forward:
        del target, frames, timeout_s
        return self

    def when_done(self, callback: Callable[[], None]) -> None:
        callback()

    def cancel(self) -> None:
        """Nothing runs."""

    def results(self) -> list[BlockResult]:
        if self._error is not None:
            raise self._error
        return []


def told(table: PeerTable) -> dict[object, object]:
    return {peer["node_id"]: peer["reachable"] for peer in table.told()}


@pytest.mark.parametrize(
    ("error", "seen"), [(None, True), (Unreachable("cut off"), False), (VolumeFull("full"), None)]
)
def test_a_stream_tells_whether_its_target_is_reached_unless_it_failed_for_another_reason(
    error: EsdfsError | None, seen: bool | None
) -> None:
    table = PeerTable(HandClock())
    forward = WatchedPeers(Streams(error), table).forward(ONE, iter(()), 1.0)
    try:
        assert forward.results() == []
    except EsdfsError as raised:
        assert raised is error  # noqa: PT017 - whether it is raised at all is the parameter
    assert told(table).get("dn-1") is seen


def test_peers_not_heard_of_for_a_minute_are_looked_at_and_unreached_ones_sooner() -> None:
    clock = HandClock()
    table = PeerTable(clock)
    table.know([ONE, TWO])
    assert table.stale() == [ONE, TWO]
    assert table.told() == []
    table.saw(ONE, reachable=True, rtt_ms=0.5)
    table.saw(TWO, reachable=False)
    assert table.stale() == []
    clock.sleep(STALE_S / 6)
    assert table.stale() == [TWO]
    clock.sleep(STALE_S)
    assert table.stale() == [ONE, TWO]


def test_a_peer_that_no_namenode_names_any_more_is_forgotten() -> None:
    clock = HandClock()
    table = PeerTable(clock)
    table.know([ONE, TWO])
    for target in (ONE, TWO):
        table.saw(target, reachable=True, rtt_ms=1)
    clock.sleep(STALE_S + 1)
    table.know([TWO])
    assert told(table) == {"dn-2": True}


def test_a_peer_is_connected_to_and_timed() -> None:
    table = PeerTable(OsClock())
    watch = PeerWatch(table, OsClock())
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = Target("dn-3", f"127.0.0.1:{server.getsockname()[1]}")
        watch.look(target)
        (peer,) = table.told()
        assert peer["reachable"]
        assert 0 < float(str(peer["rtt_ms"])) < 1000
    watch.look(target)
    assert told(table) == {"dn-3": False}
