from esdfs.datanode.replica import Replica
from esdfs.datanode.scrub import due, needed_bytes_per_s, overdue_us

DAY_US = 86_400 * 10**6


def replica(number: int, *, finalized_us: int, verified_us: int) -> Replica:
    return Replica(number, 1, 0, 1, 1, 0, finalized_us, verified_us)


def test_the_overdue_come_first_then_the_newest_unverified_then_the_longest_unverified() -> None:
    now = 100 * DAY_US
    replicas = [
        replica(1, finalized_us=1, verified_us=now - 20 * DAY_US),
        replica(2, finalized_us=1, verified_us=now - 30 * DAY_US),
        replica(3, finalized_us=1, verified_us=now - 2 * DAY_US),
        replica(4, finalized_us=now - 2 * DAY_US, verified_us=0),
        replica(5, finalized_us=now - DAY_US, verified_us=0),
        replica(6, finalized_us=1, verified_us=now - 12 * DAY_US),
        replica(7, finalized_us=1, verified_us=now - 13 * DAY_US),
        replica(8, finalized_us=now - 25 * DAY_US, verified_us=0),
    ]
    order = due(replicas, now, 14 * 86_400, limit=10)
    assert [r.block_id for r in order] == [2, 8, 1, 5, 4, 7, 6]
    assert [r.block_id for r in due(replicas, now, 14 * 86_400, limit=2)] == [2, 8]


def test_nothing_is_due_before_its_period() -> None:
    assert due([replica(1, finalized_us=1, verified_us=99)], 100, 1, limit=5) == []


def test_what_was_just_written_is_left_alone_for_a_while() -> None:
    new = [replica(1, finalized_us=100 * DAY_US, verified_us=0)]
    assert due(new, 100 * DAY_US + 59 * 10**6, 14 * 86_400, limit=5) == []
    assert due(new, 100 * DAY_US + 60 * 10**6, 14 * 86_400, limit=5) == new
    assert due(new, 100 * DAY_US + 10**6, 1, limit=5) == new


def test_a_replica_is_due_with_time_to_spare_and_overdue_at_the_end_of_its_period() -> None:
    old = replica(1, finalized_us=1, verified_us=DAY_US)
    period_s = 4 * 86_400
    assert due([old], 4 * DAY_US - 1, period_s, limit=1) == []
    assert due([old], 4 * DAY_US, period_s, limit=1) == [old]
    assert overdue_us(old, period_s) == 5 * DAY_US
    assert overdue_us(replica(1, finalized_us=2 * DAY_US, verified_us=0), period_s) == 6 * DAY_US


def test_times_that_are_yet_to_come_say_nothing() -> None:
    """The clock was ahead once, and was put right."""
    now, period_s = 100 * DAY_US, 14 * 86_400
    verified = replica(1, finalized_us=DAY_US, verified_us=400 * DAY_US)
    written = replica(2, finalized_us=400 * DAY_US, verified_us=0)
    read_since = replica(3, finalized_us=400 * DAY_US, verified_us=now - DAY_US)
    assert due([written, read_since, verified], now, period_s, limit=5) == [verified, written]


def test_a_large_full_node_is_read_as_fast_as_its_period_takes() -> None:
    """From when a replica is due until it is due again three quarters of the period pass."""
    assert needed_bytes_per_s(75 * 10**12, 10**6) == 100 * 10**6
