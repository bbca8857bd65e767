"""Retrying, for all errors there are and all the time there is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esdfs.client.retry import Backoff, Next, Persistence, after
from esdfs.errors import (
    AlreadyExists,
    EsdfsError,
    InsufficientStorage,
    NotEnoughDataNodes,
    NotLeader,
    OutcomeUnknown,
    Retry,
    SafeMode,
    Unreachable,
    every_error,
)


class Dice:
    """An ``Rng`` that a seed decides."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


KINDS = sorted(every_error(), key=lambda kind: kind.code)


@given(st.integers(0, 10_000), st.integers(), st.floats(0.001, 10), st.floats(0.001, 100))
def test_a_delay_is_never_negative_nor_over_either_bound(
    attempt: int, seed: int, first_s: float, longest_s: float
) -> None:
    delay_s = Backoff(first_s, longest_s).delay_s(attempt, Dice(seed))  # type: ignore[arg-type]  # it draws one float only
    assert 0 <= delay_s <= longest_s
    assert delay_s <= first_s * 2.0 ** min(attempt, 64)


def test_callers_that_failed_together_come_back_spread_over_the_whole_bound() -> None:
    delays = [Backoff(1.0, 1.0).delay_s(0, Dice(seed)) for seed in range(200)]  # type: ignore[arg-type]  # as above
    assert min(delays) < 0.1
    assert max(delays) > 0.9


@given(st.integers(), st.floats(0, 1e6))
def test_a_leader_is_looked_for_often_at_first_then_ever_less_and_never_without_a_pause(
    seed: int, elapsed_s: float
) -> None:
    delay_s = Persistence().delay_s(elapsed_s, Dice(seed))  # type: ignore[arg-type]  # as above
    assert 0.01 <= delay_s <= (0.1 if elapsed_s <= 3 else 1.0)


@given(st.sampled_from(KINDS), st.booleans(), st.floats(0, 1e6), st.floats(0, 1e6))
def test_nobody_retries_past_the_deadline_or_what_can_never_succeed(
    kind: type[EsdfsError], repeatable: bool, elapsed_s: float, timeout_s: float
) -> None:
    what = after(kind("x"), repeatable=repeatable, elapsed_s=elapsed_s, timeout_s=timeout_s)
    if elapsed_s >= timeout_s or kind.retry is Retry.NEVER:
        assert what is Next.RAISE
    if what is not Next.RAISE:
        assert elapsed_s < timeout_s


@given(st.sampled_from(KINDS))
def test_what_may_have_happened_is_repeated_only_under_a_key(kind: type[EsdfsError]) -> None:
    what = after(kind("x"), repeatable=False, elapsed_s=0, timeout_s=30)
    if kind.retry is Retry.ONLY_IF_IDEMPOTENT:
        assert what is Next.RAISE


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AlreadyExists("x"), Next.RAISE),
        (SafeMode("x"), Next.HERE),
        (NotLeader("x"), Next.ELSEWHERE),
        (Unreachable("x"), Next.ELSEWHERE),
        (OutcomeUnknown("x"), Next.ELSEWHERE),
        (InsufficientStorage("x"), Next.RAISE),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_each_kind_of_error_has_its_answer(error: EsdfsError, expected: Next) -> None:
    assert after(error, repeatable=True, elapsed_s=0, timeout_s=30) is expected


def test_missing_datanodes_are_waited_for_only_briefly() -> None:
    error = NotEnoughDataNodes("x")
    assert after(error, repeatable=True, elapsed_s=1, timeout_s=30) is Next.HERE
    assert after(error, repeatable=True, elapsed_s=10, timeout_s=30) is Next.RAISE
