from hypothesis import given
from hypothesis import strategies as st

from esdfs.datanode.evening import VolumeUse, helps, uneven, worth_moving
from esdfs.datanode.replica import Replica


def use(number: int, used: int, capacity: int = 1000, available: int | None = None) -> VolumeUse:
    return VolumeUse(number, used, capacity, capacity - used if available is None else available)


def replica(number: int, volume: int, size: int) -> Replica:
    return Replica(number, 1, volume, size, size, 0, 1)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=60),
    st.integers(2, 4),
    st.floats(0.05, 0.5),
)
def test_it_ends_even_unless_replicas_are_too_large(
    stored: list[tuple[int, int]], volumes: int, threshold: float
) -> None:
    replicas = {n: replica(n, volume % volumes, size) for n, (volume, size) in enumerate(stored, 1)}

    def uses() -> list[VolumeUse]:
        totals = [sum(r.stored_bytes for r in replicas.values() if r.volume == v) for v in range(volumes)]
        return [use(number, used, 4000) for number, used in enumerate(totals)]

    for _ in range(1000):
        pair = uneven(uses(), threshold)
        chosen = worth_moving(replicas.values(), *pair, 1) if pair else []
        if pair is None or not chosen:
            break
        gap = pair[0].share - pair[1].share
        (moved,) = chosen
        replicas[moved.block_id] = replica(moved.block_id, pair[1].number, moved.stored_bytes)
        after = uses()
        assert 0 <= after[pair[0].number].share - after[pair[1].number].share < gap
    else:
        raise AssertionError("replicas move for ever")
    assert pair is None or max(r.stored_bytes for r in replicas.values()) * 2 > threshold * 4000


def test_a_volume_that_takes_nothing_is_no_target_and_may_be_a_source() -> None:
    assert uneven([use(0, 900), use(1, 0, available=0)], 0.1) is None
    slow_and_full, empty = use(0, 900, available=0), use(1, 0)
    assert uneven([slow_and_full, empty], 0.1) == (slow_and_full, empty)


def test_what_does_not_fit_or_would_turn_it_around_stays() -> None:
    assert not helps(use(0, 900), use(1, 0, available=50), 51)
    assert helps(use(0, 900), use(1, 0), 450)
    assert not helps(use(0, 900), use(1, 0), 451)
    replicas = [replica(1, 0, 500), replica(2, 0, 400), replica(3, 1, 10), replica(4, 0, 7)]
    assert [r.block_id for r in worth_moving(replicas, use(0, 900), use(1, 0), 9)] == [2, 4]
