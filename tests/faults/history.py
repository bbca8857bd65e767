"""What clients of a cluster saw, and whether one copy of it, changed at one moment by each call, explains it.

The search is Wing and Gong's with Lowe's memory of what was tried (the way of Porcupine), over one small
object at a time: linearizability is local, so a history is linearizable if each object's part of it is.
An object is two names in one directory; each name is absent or holds a value. No call touches two objects.
"""

from collections.abc import Iterable
from enum import Enum, unique
from itertools import count
from math import inf
from typing import Final, TypeAlias

import msgspec

ABSENT: Final = ""

State: TypeAlias = tuple[str, str]
"""The values of an object's two names."""

EMPTY: Final[State] = (ABSENT, ABSENT)


@unique
class Kind(Enum):
    """What was asked."""

    MAKE = "make"  # refused when the name is there
    SET = "set"  # refused when it is not
    REMOVE = "remove"  # likewise
    RENAME = "rename"  # to the other name; refused when this is not there or the other is
    READ = "read"


@unique
class Outcome(Enum):
    """What the caller knows of it. Calls that surely did nothing and read nothing are left out."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Operation(msgspec.Struct, frozen=True):
    """One call.

    Attributes:
        object: Which object.
        name: 0 or 1: which of its names.
        value: Written, or read; `ABSENT` for a read that found nothing.
        invoked_ns, returned_ns: Of one clock. Unknown outcomes may happen at any time after the first.
        by: Who asked whom, for people.
    """

    object: str
    name: int
    kind: Kind
    value: str
    outcome: Outcome
    invoked_ns: int
    returned_ns: int
    by: str = ""


def after(state: State, done: Operation) -> State | None:
    """The state once ``done`` happened to ``state``; None when it could not have gone that way."""
    here = state[done.name]
    other = state[1 - done.name]
    if done.kind is Kind.READ:
        return state if here == done.value else None
    match done.kind:
        case Kind.MAKE:
            allowed, changed = here == ABSENT, (done.value, other)
        case Kind.SET:
            allowed, changed = here != ABSENT, (done.value, other)
        case Kind.REMOVE:
            allowed, changed = here != ABSENT, (ABSENT, other)
        case _:
            allowed, changed = here != ABSENT and other == ABSENT, (ABSENT, here)
    if done.outcome is Outcome.REFUSED:
        return None if allowed else state
    if not allowed:
        # Of unknown outcome, it may as well have been refused.
        return state if done.outcome is Outcome.UNKNOWN else None
    return changed if done.name == 0 else (changed[1], changed[0])


def unexplained(history: Iterable[Operation], start: State = EMPTY) -> list[list[Operation]]:
    """The part of each object that no order of its calls explains; none when the history is linearizable."""
    objects: dict[str, list[Operation]] = {}
    for operation in history:
        objects.setdefault(operation.object, []).append(operation)
    return [part for _, part in sorted(objects.items()) if not is_linearizable(part, start)]


def is_linearizable(part: list[Operation], start: State = EMPTY) -> bool:
    """Whether some order of the calls on one object, each between its start and its end, gives what they saw.

    Calls of unknown outcome need not be in it.
    """
    first = _events(part)
    needed = sum(operation.outcome is not Outcome.UNKNOWN for operation in part)
    state, linearized = start, 0
    tried: set[tuple[int, State]] = set()
    undo: list[tuple[_Event, State]] = []
    event = first.after
    while needed:
        assert event is not None, "what is needed returns"
        if event.answer is None:
            # A call returned that is not in the order yet: what was placed before it was placed wrongly.
            if not undo:
                return False
            event, state = undo.pop()
            linearized &= ~event.bit
            needed += event.operation.outcome is not Outcome.UNKNOWN
            event.restore()
            event = event.after
            continue
        then = after(state, event.operation)
        if then is not None and (linearized | event.bit, then) not in tried:
            tried.add((linearized | event.bit, then))
            undo.append((event, state))
            linearized |= event.bit
            needed -= event.operation.outcome is not Outcome.UNKNOWN
            state = then
            event.lift()
            event = first.after
            continue
        event = event.after
    return True


def evidence(part: list[Operation]) -> list[Operation]:
    """Of a part that no order explains, the calls until it shows; the last to return gives it away."""
    ordered = sorted(part, key=lambda operation: operation.returned_ns)
    good, bad = 0, len(ordered)
    while bad - good > 1:
        middle = (good + bad) // 2
        if is_linearizable(_until(ordered, middle)):
            good = middle
        else:
            bad = middle
    return ordered[:bad]


def _until(ordered: list[Operation], count: int) -> list[Operation]:
    """What was known when ``count`` calls had returned: the others may have happened, if they had begun."""
    known = ordered[:count]
    begun = [
        msgspec.structs.replace(each, outcome=Outcome.UNKNOWN)
        for each in ordered[count:]
        if each.kind is not Kind.READ and each.invoked_ns < known[-1].returned_ns
    ]
    return known + begun


class _Event:
    """A call's start or, with no ``answer``, its return; in a list that forgets and remembers."""

    def __init__(self, operation: Operation, bit: int) -> None:
        self.operation = operation
        self.bit = bit
        self.before: _Event | None = None
        self.after: _Event | None = None
        self.answer: _Event | None = None

    def lift(self) -> None:
        """Take the call out, its return with it."""
        assert self.answer is not None
        self._unlink()
        self.answer._unlink()

    def restore(self) -> None:
        """Undo `lift`; the last that was lifted is restored first."""
        assert self.answer is not None
        self.answer._link()
        self._link()

    def _unlink(self) -> None:
        assert self.before is not None
        self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def _link(self) -> None:
        assert self.before is not None
        self.before.after = self
        if self.after is not None:
            self.after.before = self


def _events(part: list[Operation]) -> _Event:
    """The list's head, before the first event. Of events at one instant, starts come first."""
    bits = count()
    timed: list[tuple[float, int, int, _Event]] = []
    for number, operation in enumerate(part):
        start = _Event(operation, 1 << next(bits))
        start.answer = _Event(operation, 0)
        known = operation.outcome is not Outcome.UNKNOWN
        timed.append((operation.invoked_ns, 0, number, start))
        timed.append((operation.returned_ns if known else inf, 1, number, start.answer))
    timed.sort(key=lambda each: each[:3])
    head = last = _Event(part[0], 0)
    for *_, event in timed:
        last.after, event.before = event, last
        last = event
    return head
