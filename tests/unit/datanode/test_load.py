from typing import cast

from esdfs.datanode.load import Load
from esdfs.env import Clock
from esdfs.ids import Nanos


class Hands:
    """A clock that is moved by hand."""

    now_ns = 0

    def monotonic_ns(self) -> Nanos:
        return Nanos(self.now_ns)


def test_rates_are_since_the_last_time_they_were_asked_for() -> None:
    hands = Hands()
    load = Load(cast("Clock", hands))
    load.read(1000)
    load.wrote(4000)
    hands.now_ns = 2_000_000_000
    with load.stream():
        now = load.take()
    assert (now.streams, now.read_bytes_s, now.write_bytes_s) == (1, 500, 2000)
    hands.now_ns = 3_000_000_000
    now = load.take()
    assert (now.streams, now.read_bytes_s, now.write_bytes_s) == (0, 0, 0)


def test_a_slow_fsync_in_a_hundred_is_seen() -> None:
    load = Load(cast("Clock", Hands()))
    assert load.take().fsync_p99_ms == 0
    for number in range(100):
        load.add(50_000_000 if number == 42 else 1_000_000)
    assert load.take().fsync_p99_ms == 50
