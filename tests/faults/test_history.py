"""The checker of histories: what it must find, and what it must let pass."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.history import (
    ABSENT,
    EMPTY,
    Kind,
    Operation,
    Outcome,
    State,
    after,
    evidence,
    is_linearizable,
    unexplained,
)


def call(
    kind: Kind,
    value: str,
    invoked: int,
    returned: int,
    outcome: Outcome = Outcome.DONE,
    *,
    name: int = 0,
    of: str = "o",
) -> Operation:
    return Operation(of, name, kind, value, outcome, invoked, returned)


MADE = call(Kind.MAKE, "a", 0, 1)

WRONG = {
    "stale read": [MADE, call(Kind.SET, "b", 2, 3), call(Kind.READ, "a", 4, 5)],
    "lost write": [MADE, call(Kind.READ, ABSENT, 2, 3)],
    "write from nowhere": [call(Kind.READ, "a", 0, 1)],
    "time runs back for two readers": [
        MADE,
        call(Kind.SET, "b", 2, 9),
        call(Kind.READ, "b", 3, 4),
        call(Kind.READ, "a", 5, 6),
    ],
    "done twice: back after its removal": [
        MADE,
        call(Kind.REMOVE, "", 2, 3),
        call(Kind.READ, ABSENT, 4, 5),
        call(Kind.READ, "a", 6, 7),
    ],
    "two made the same": [MADE, call(Kind.MAKE, "b", 2, 3)],
    "removed twice": [MADE, call(Kind.REMOVE, "", 2, 3), call(Kind.REMOVE, "", 4, 5)],
    "refused for something that is not so": [MADE, call(Kind.SET, "b", 2, 3, Outcome.REFUSED)],
    "half a rename": [MADE, call(Kind.RENAME, "", 2, 3), call(Kind.READ, "a", 4, 5)],
    "an unknown write undone": [
        call(Kind.MAKE, "a", 0, 1, Outcome.UNKNOWN),
        call(Kind.READ, "a", 2, 3),
        call(Kind.READ, ABSENT, 4, 5),
    ],
    "an unknown write before it was asked for": [
        call(Kind.READ, "a", 0, 1),
        call(Kind.MAKE, "a", 2, 3, Outcome.UNKNOWN),
    ],
}

RIGHT = {
    "nothing": [],
    "one after the other": [MADE, call(Kind.SET, "b", 2, 3), call(Kind.READ, "b", 4, 5)],
    "a read beside a write sees either": [
        MADE,
        call(Kind.SET, "b", 2, 9),
        call(Kind.READ, "a", 3, 4),
        call(Kind.READ, "b", 5, 6),
    ],
    "a read that waited long": [MADE, call(Kind.READ, "a", 2, 9), call(Kind.SET, "b", 3, 4)],
    "an unknown write that happened late": [
        MADE,
        call(Kind.SET, "b", 2, 3, Outcome.UNKNOWN),
        call(Kind.READ, "a", 4, 5),
        call(Kind.READ, "b", 6, 7),
    ],
    "an unknown write that never happened": [
        MADE,
        call(Kind.SET, "b", 2, 3, Outcome.UNKNOWN),
        call(Kind.READ, "a", 4, 5),
    ],
    "renamed and refused": [
        MADE,
        call(Kind.RENAME, "", 2, 3),
        call(Kind.READ, "a", 4, 5, name=1),
        call(Kind.RENAME, "", 6, 7, Outcome.REFUSED),
        call(Kind.MAKE, "b", 8, 9),
        call(Kind.RENAME, "", 10, 11, Outcome.REFUSED, name=1),
    ],
    "two at once, one refused": [
        call(Kind.MAKE, "a", 0, 5),
        call(Kind.MAKE, "b", 0, 5, Outcome.REFUSED),
        call(Kind.READ, "a", 6, 7),
    ],
}


@pytest.mark.parametrize("history", WRONG.values(), ids=WRONG.keys())
def test_what_no_order_explains_is_found(history: list[Operation]) -> None:
    assert unexplained(history) == [history]


@pytest.mark.parametrize("history", RIGHT.values(), ids=RIGHT.keys())
def test_what_some_order_explains_passes(history: list[Operation]) -> None:
    assert unexplained(history) == []


def test_only_the_object_that_is_wrong_is_shown() -> None:
    good = [call(Kind.MAKE, "a", 0, 1, of="good"), call(Kind.READ, "a", 2, 3, of="good")]
    assert unexplained([*good, *WRONG["lost write"]]) == [WRONG["lost write"]]


def test_the_call_that_gives_it_away_is_the_last_that_is_shown() -> None:
    later = [call(Kind.READ, "b", 10 + n, 11 + n) for n in range(0, 40, 2)]
    assert evidence([*WRONG["stale read"], *later]) == WRONG["stale read"]


def made_up(seed: int, callers: int, calls: int) -> list[Operation]:
    """A history of a real object: each call takes effect at one moment between its start and its end."""
    dice = random.Random(seed)
    state: State = EMPTY
    history: list[Operation] = []
    busy = [0] * callers
    for moment in range(10, 10 + 10 * calls, 10):
        free = [caller for caller in range(callers) if busy[caller] <= moment]
        if not free:
            continue
        caller = dice.choice(free)
        invoked = dice.randint(max(busy[caller], moment - 40), moment)
        returned = moment + dice.randint(1, 40)
        busy[caller] = returned + 1
        kind, name = dice.choice(list(Kind)), dice.randrange(2)
        value = state[name] if kind is Kind.READ else f"v{moment}"
        done = call(kind, value, invoked, returned, name=name)
        then = after(state, done)
        outcome = Outcome.DONE if then is not None else Outcome.REFUSED
        state = then or state
        if kind is not Kind.READ and dice.random() < 0.05:
            outcome = Outcome.UNKNOWN
        history.append(call(kind, value, invoked, returned, outcome, name=name))
    return history


@settings(max_examples=40, deadline=None)
@given(st.integers())
def test_histories_of_a_real_object_pass(seed: int) -> None:
    assert is_linearizable(made_up(seed, callers=6, calls=300))


@settings(max_examples=40, deadline=None)
@given(st.integers())
def test_a_read_of_what_was_overwritten_long_before_is_found_in_them(seed: int) -> None:
    history = made_up(seed, callers=4, calls=100)
    late = max(operation.returned_ns for operation in history) + 1
    old = [call(Kind.READ, "gone", late, late + 1)]
    assert not is_linearizable([*history, *old])
