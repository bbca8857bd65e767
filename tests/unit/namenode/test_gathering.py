from esdfs.ids import Nanos
from esdfs.namenode.gathering import Gathering

MS = 1_000_000


def after(answered: int, waiting: int, *, took_ms: int = 4) -> Gathering:
    """As the batch ended at 100 ms."""
    gathering = Gathering()
    began_ns = Nanos((100 - took_ms) * MS)
    gathering.settled(answered, waiting, began_ns=began_ns, now_ns=Nanos(100 * MS))
    return gathering


def waits(gathering: Gathering, waiting: int, at_ms: float) -> bool:
    return gathering.is_worth_it(waiting, Nanos(int(at_ms * MS)))


def test_the_first_batch_waits_for_nobody() -> None:
    assert not waits(Gathering(), 1, 100)


def test_those_just_answered_are_waited_for() -> None:
    gathering = after(30, 34)
    assert waits(gathering, 34, 100.1)
    assert waits(gathering, 50, 102)
    assert not waits(gathering, 64, 102.5)


def test_a_few_callers_wait_for_nobody() -> None:
    assert not waits(after(7, 8), 8, 100.1)


def test_a_lull_ends_the_wait() -> None:
    gathering = after(30, 34)
    assert waits(gathering, 40, 101)
    assert waits(gathering, 40, 103)
    assert not waits(gathering, 40, 104)


def test_the_wait_is_bounded_by_what_the_last_batch_took() -> None:
    gathering = after(30, 34, took_ms=2)
    assert waits(gathering, 40, 102)
    assert not waits(gathering, 41, 103)


def test_the_wait_is_bounded_at_all() -> None:
    gathering = after(30, 34, took_ms=500)
    assert waits(gathering, 35, 109)
    assert not waits(gathering, 36, 110)
