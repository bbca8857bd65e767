"""Old events, read as new ones. Pure.

A shipped event is never edited and a journaled payload never rewritten: a changed event gets the next
version and a step here that lifts the one before it.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from esdfs.errors import NewerRelease

Upcaster: TypeAlias = Callable[[bytes], bytes]


class Upcasters:
    """One upcaster for every step from a shipped version to the next.

    Args:
        newest: kind -> the newest version of it; versions count from 1.
    """

    def __init__(self, newest: Mapping[int, int]) -> None:
        self._newest = dict(newest)
        self._steps: dict[tuple[int, int], Upcaster] = {}

    def step(self, kind: int, version: int) -> Callable[[Upcaster], Upcaster]:
        """Decorate the function that lifts a payload of ``version`` to ``version + 1``."""

        def register(upcaster: Upcaster) -> Upcaster:
            assert 1 <= version < self._newest[kind], "a step must end at a shipped version"
            assert (kind, version) not in self._steps, "registered twice"
            self._steps[kind, version] = upcaster
            return upcaster

        return register

    def missing(self) -> list[tuple[int, int]]:
        """Steps nobody registered, as (kind, version they lift from). Must be empty at start."""
        return [
            (kind, version)
            for kind, newest in sorted(self._newest.items())
            for version in range(1, newest)
            if (kind, version) not in self._steps
        ]

    def upcast(self, kind: int, version: int, payload: bytes) -> bytes:
        """Lift a payload to the newest version of its event.

        Raises:
            NewerRelease: A kind or version this program does not know. Never skip such a record.
        """
        newest = self._newest.get(kind)
        if newest is None or not 1 <= version <= newest:
            raise NewerRelease(
                f"record of kind {kind} version {version} is unknown to this program: upgrade this node",
                kind=kind,
                version=version,
            )
        for at in range(version, newest):
            payload = self._steps[kind, at](payload)
        return payload
