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


def test_a_node_that_is_avoided_for_its_slow_fsyncs_is_not_slow_for_ever() -> None:
    hands = Hands()
    load = Load(cast("Clock", hands))
    for _ in range(3):
        load.add(5_000_000_000)
        load.answered(5_000_000_000)
        load.stored(5_000_000_000)
    hands.now_ns = 60_000_000_000
    now = load.take()
    assert (now.fsync_p99_ms, now.read_p99_ms, now.store_p99_ms) == (5000, 5000, 5000)
    hands.now_ns += 1
    now = load.take()
    assert (now.fsync_p99_ms, now.read_p99_ms, now.store_p99_ms) == (0, 0, 0)


def test_half_of_the_readers_and_all_but_one_in_a_hundred_writers_waited_no_longer() -> None:
    load = Load(cast("Clock", Hands()))
    for number in range(1, 101):
        load.answered(number * 1_000_000)
        load.stored(number * 2_000_000)
    now = load.take()
    assert (now.read_p50_ms, now.read_p99_ms, now.store_p50_ms, now.store_p99_ms) == (51, 100, 102, 200)


def test_copies_on_orders_do_not_make_it_busy_for_clients() -> None:
    hands = Hands()
    load = Load(cast("Clock", hands))
    load.copied(1000)
    assert load.idle_ns() is None
    load.read(1)
    hands.now_ns = 7
    assert load.idle_ns() == 7
    hands.now_ns = 1_000_000_000
    assert load.take().read_bytes_s == 1001
