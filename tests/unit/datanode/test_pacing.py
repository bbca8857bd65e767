from hypothesis import given
from hypothesis import strategies as st

from esdfs.datanode.pacing import BURST_S, Bucket, Pace
from tests.unit.datanode.clocks import HandClock

MIB = 1 << 20


@given(
    rate=st.integers(64 * 1024, 1 << 30),
    sizes=st.lists(st.integers(1, MIB), min_size=1, max_size=50),
    oversleep_ms=st.integers(0, 90),
)
def test_a_copy_takes_as_long_as_its_rate_says_however_badly_it_sleeps(
    rate: int, sizes: list[int], oversleep_ms: int
) -> None:
    bucket, now_ns = Bucket(rate), 10**12
    begin_ns = now_ns
    for size in sizes:
        rest_ns = bucket.take(size, now_ns)
        now_ns += rest_ns + (oversleep_ms * 1_000_000 if rest_ns else 0)
    ideal_ns = sum(sizes) * 10**9 // rate
    late_ns = now_ns - begin_ns - ideal_ns
    assert -BURST_S * 1e9 - len(sizes) <= late_ns <= oversleep_ms * 1_000_000


def test_streams_share_one_rate_and_none_is_starved() -> None:
    clock = HandClock()
    pace = Pace(10 * MIB, clock, clock.rest)
    begin_ns = clock.now_ns
    for _ in range(50):
        assert pace.spend(MIB)
        assert pace.spend(MIB)
    assert abs((clock.now_ns - begin_ns) / 1e9 - 10.0) <= BURST_S + 0.01


def test_no_limit_never_rests() -> None:
    clock = HandClock()
    pace = Pace(0, clock, clock.rest)
    before_ns = clock.now_ns
    assert all(pace.spend(1 << 30) for _ in range(100))
    assert clock.now_ns == before_ns


def test_a_rate_that_is_changed_counts_at_once() -> None:
    clock = HandClock()
    pace = Pace(64 * 1024, clock, clock.rest)
    pace.limit(100 * MIB)
    before_ns = clock.now_ns
    for _ in range(100):
        pace.spend(MIB)
    assert (clock.now_ns - before_ns) / 1e9 <= 1.0


def test_who_is_stopped_does_not_rest_to_the_end() -> None:
    clock = HandClock()
    rests: list[float] = []

    def stop(seconds: float) -> bool:
        rests.append(seconds)
        return True

    assert not Pace(64 * 1024, clock, stop).spend(100 * MIB)
    assert len(rests) == 1
    assert rests[0] <= 0.25


def test_who_rests_at_a_low_rate_goes_on_when_it_is_raised() -> None:
    clock = HandClock()

    def raised(seconds: float) -> bool:
        pace.limit(0)
        return clock.rest(seconds)

    pace = Pace(64 * 1024, clock, raised)
    before_ns = clock.now_ns
    assert pace.spend(100 * MIB)
    assert (clock.now_ns - before_ns) / 1e9 < 1
