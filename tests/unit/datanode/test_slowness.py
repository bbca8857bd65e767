from esdfs.datanode.slowness import SLOW_AFTER_S, WINDOW_S, Slowness

S = 10**9
FAST, SLOW = S // 100, 2 * S


def seconds(slowness: Slowness, start_s: int, count: int, duration_ns: int) -> list[bool]:
    """An fsync and a look every second; the judgement after each."""
    told = []
    for at_s in range(start_s, start_s + count):
        slowness.add(at_s * S, duration_ns)
        slowness.judge(at_s * S)
        told.append(slowness.slow)
    return told


def test_a_volume_is_slow_after_a_minute_of_slow_fsyncs_and_not_before() -> None:
    slowness = Slowness(1000)
    told = seconds(slowness, 0, 70, SLOW)
    assert told.index(True) == SLOW_AFTER_S
    assert all(told[int(SLOW_AFTER_S) :])


def test_one_hiccup_is_not_slowness() -> None:
    slowness = Slowness(1000)
    slowness.add(0, 5 * S)
    assert seconds(slowness, 1, 200, FAST) == [False] * 200


def test_a_slow_volume_is_fast_again_when_its_slow_fsyncs_are_forgotten() -> None:
    slowness = Slowness(1000)
    seconds(slowness, 0, 70, SLOW)
    told = seconds(slowness, 70, 60, FAST)
    assert told.index(False) == WINDOW_S
    assert not any(told[int(WINDOW_S) :])


def test_a_slow_volume_without_any_fsync_stays_slow_and_wants_to_be_probed() -> None:
    slowness = Slowness(1000)
    seconds(slowness, 0, 70, SLOW)
    assert not slowness.judge(1000 * S)
    assert slowness.slow
    assert slowness.suspicious()


def test_a_limit_of_0_means_that_nothing_is_slow() -> None:
    slowness = Slowness(0)
    assert not any(seconds(slowness, 0, 100, SLOW))
