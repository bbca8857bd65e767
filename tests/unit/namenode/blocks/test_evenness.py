from hypothesis import given, settings
from hypothesis import strategies as st

from esdfs.namenode.blocks.evenness import (
    Share,
    cluster_use,
    improves,
    sources,
    spread,
    targets,
    to_go_bytes,
    unevenness,
)

capacities = st.integers(1_000, 20_000)


@st.composite
def clusters(draw: st.DrawFn) -> list[Share]:
    return [
        Share(number, round(capacity * draw(st.floats(0, 1))), capacity)
        for number, capacity in enumerate(draw(st.lists(capacities, min_size=2, max_size=6)), 1)
    ]


@settings(deadline=None)
@given(clusters(), st.floats(0.01, 0.5), st.data())
def test_every_move_makes_it_more_even_and_it_ends(
    shares: list[Share], threshold: float, data: st.DataObject
) -> None:
    smallest = min(share.capacity_bytes for share in shares)
    size_bytes = data.draw(st.integers(smallest // 40, smallest // 20))
    even = cluster_use(shares)
    for _ in range(10_000):
        pair = next(
            (
                (giver, taker)
                for giver in sources(shares, threshold)
                for taker in targets(shares, giver, threshold)
                if improves(giver, taker, size_bytes)
            ),
            None,
        )
        if pair is None:
            break
        giver, taker = pair
        assert giver.use > even > taker.use
        before, distance = unevenness(shares), spread(shares)
        moved = {giver.number: -size_bytes, taker.number: size_bytes}
        shares = [s._replace(used_bytes=s.used_bytes + moved.get(s.number, 0)) for s in shares]
        assert unevenness(shares) < before
        assert spread(shares) <= distance + 1e-9
    else:
        raise AssertionError("it goes on and on")
    # Blocks of at most a twentieth fit between the thresholds, unless these are closer than that.
    if threshold >= 0.1:
        assert spread(shares) <= threshold + 1e-9
        assert to_go_bytes(shares, threshold) == 0


def test_an_even_cluster_has_nothing_to_give() -> None:
    shares = [Share(1, 50, 100), Share(2, 55, 100), Share(3, 90, 200)]
    assert spread(shares) < 0.1
    assert sources(shares, 0.1) == []
    assert to_go_bytes(shares, 0.1) == 0


def test_an_empty_datanode_is_filled_by_all_above_average() -> None:
    shares = [Share(1, 60, 100), Share(2, 60, 100), Share(3, 60, 100), Share(4, 0, 100)]
    assert [share.number for share in sources(shares, 0.2)] == [1, 2, 3]
    assert [share.number for share in targets(shares, shares[0], 0.2)] == [4]
    assert to_go_bytes(shares, 0.2) == 25


def test_nobody_and_nothing_are_no_trouble() -> None:
    assert spread([]) == cluster_use([]) == to_go_bytes([], 0.1) == 0
    assert spread([Share(1, 0, 100), Share(2, 0, 50)]) == 0
