"""Copies of a block, and how they lie in a row of ``locations.mdb``. Pure."""

from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from struct import Struct
from typing import Final, NamedTuple

_REPLICA: Final = Struct(">II?")
_NUMBER_BYTES: Final = 4
_COMBINATIONS: Final = 1 << 14
"""Blocks on the same DataNodes are many, as long as there are few DataNodes."""

_GENERATION_MAX: Final = (1 << 32) - 1
"""A generation counts the recoveries of one block. A reported one beyond is kept as this one: as wrong."""


class Replica(NamedTuple):
    """One reported copy of a block.

    Attributes:
        number: The DataNode's.
        corrupt: Its bytes did not match their checksums; the DataNode has set them aside.
    """

    number: int
    generation: int
    corrupt: bool = False


_replica = partial(tuple.__new__, Replica)
"""``Replica._make`` without a frame of Python: a report looks at every block there is."""


def pack_replicas(*replicas: Replica) -> bytes:
    """A row."""
    return b"".join(_REPLICA.pack(r.number, min(r.generation, _GENERATION_MAX), r.corrupt) for r in replicas)


def _with(held: bytes, one: bytes) -> bytes:
    """Packed replicas with one more, or with it in the place of what its DataNode had."""
    for at in range(0, len(held), _REPLICA.size):
        if held.startswith(one[:_NUMBER_BYTES], at):
            return held[:at] + one + held[at + _REPLICA.size :]
    return held + one


def merge(
    held: Mapping[bytes, bytes], replicas: Iterable[tuple[bytes, bytes]]
) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """What is to be written, by key, and the keys of blocks whose DataNode had no copy."""
    changed, added = [], []
    for key, replica in replicas:
        old = held.get(key, b"")
        new = _with(old, replica)
        if new != old:
            changed.append((key, new))
            if len(new) > len(old):
                added.append(key)
    return changed, added


def unpack_replicas(value: bytes | None) -> list[Replica]:
    """Back from it; None = there is no row."""
    return [] if value is None else [*unpack_shared(value)]


@lru_cache(_COMBINATIONS)
def unpack_shared(value: bytes) -> tuple[Replica, ...]:
    """The same, made once for all rows that are equal."""
    return (*map(_replica, _REPLICA.iter_unpack(value)),)
