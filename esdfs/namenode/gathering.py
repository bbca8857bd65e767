"""When the next batch begins. Pure.

A batch that a majority must hold costs the same few messages and writes whether it has ten records or a
hundred. Callers who were just answered mostly ask again at once: waiting for them, briefly, makes one batch
of what would be two.
"""

from typing import Final

from esdfs.ids import Nanos

_CROWD: Final = 16  # with fewer callers than this, a batch is not worth a wait
_WAIT_MAX_NS: Final = 10_000_000
_LULL_NS: Final = 3_000_000


class Gathering:
    """How long a batch waits for requests to share its cost; never much longer than the last batch took.

    Attributes:
        expected: With this many requests waiting, nobody else is likely to come soon.
    """

    def __init__(self) -> None:
        self.expected = 0
        self._until_ns = Nanos(0)
        self._waiting = 0
        self._grew_ns = Nanos(0)

    def settled(self, answered: int, waiting: int, *, began_ns: Nanos, now_ns: Nanos) -> None:
        """A batch ended: ``answered`` requests got their answers, ``waiting`` ones came meanwhile."""
        self.expected = answered + waiting
        self._until_ns = Nanos(now_ns + min((now_ns - began_ns) * 3 // 2, _WAIT_MAX_NS))
        self._waiting, self._grew_ns = waiting, now_ns

    def is_worth_it(self, waiting: int, now_ns: Nanos) -> bool:
        """Whether to wait a little before beginning with the ``waiting`` requests."""
        if waiting > self._waiting:
            self._waiting, self._grew_ns = waiting, now_ns
        return (
            self.expected >= _CROWD
            and waiting < self.expected
            and now_ns < self._until_ns
            and now_ns - self._grew_ns < _LULL_NS
        )
