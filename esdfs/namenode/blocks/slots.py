"""How busy DataNodes are with copies. Pure."""

from collections.abc import Set as AbstractSet
from typing import Final

SMALL_BYTES: Final = 64 << 20
SMALL_COPIES: Final = 32
"""DataNodes copy a few blocks at a time whatever they are told. Being told of more small ones at once spares
them from idling until the next heartbeat."""


class Slots:
    """Copies by DataNode, on one side of them.

    Args:
        streams: Copies at once, unless they are small.
    """

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self._loads: dict[int, tuple[int, int]] = {}
        self._full: set[int] = set()

    @property
    def full(self) -> AbstractSet[int]:
        """DataNodes that should not get more now."""
        return self._full

    def __contains__(self, number: int) -> bool:
        return number in self._loads

    def take(self, number: int, size_bytes: int) -> None:
        """One more."""
        self._change(number, 1, size_bytes)

    def give_back(self, number: int, size_bytes: int) -> None:
        """One less."""
        self._change(number, -1, -size_bytes)

    def _change(self, number: int, by: int, by_bytes: int) -> None:
        count, size_bytes = self._loads.get(number, (0, 0))
        count, size_bytes = count + by, size_bytes + by_bytes
        assert count >= 0, "no slot is given back twice"
        if count:
            self._loads[number] = count, size_bytes
        else:
            del self._loads[number]
        if count >= self._streams and (size_bytes >= SMALL_BYTES or count >= SMALL_COPIES):
            self._full.add(number)
        else:
            self._full.discard(number)
