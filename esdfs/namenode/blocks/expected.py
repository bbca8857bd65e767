"""Copies that the journal tells of and their DataNodes have not reported. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from esdfs.namenode.blocks.policy import Policy, ns


class Key(NamedTuple):
    """A copy: the DataNode's number, and the block's id."""

    number: int
    block_id: int


class Expected:
    """What completed files name as their blocks' first homes, until those say so themselves.

    Such a copy is read from, but it justifies no deletion of another: its record may be old news, told to a
    NameNode that was away, and the copy moved or lost since.
    """

    def __init__(self, policy: Policy) -> None:
        self._patience_ns = ns(policy.hint_ms)
        self._due_ns: dict[Key, int] = {}

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._due_ns

    def __bool__(self) -> bool:
        return bool(self._due_ns)

    def add(self, number: int, block_id: int, now_ns: int) -> None:
        """A DataNode is to report a copy soon: a full report made before then does not refute it."""
        self._due_ns[Key(number, block_id)] = now_ns + self._patience_ns

    def heard(self, number: int, block_id: int) -> None:
        """It told how it is about that block."""
        self._due_ns.pop(Key(number, block_id), None)

    def restarted(self, number: int) -> None:
        """It is another process: what its predecessor acknowledged is in its first report, or gone."""
        for key in [key for key in self._due_ns if key.number == number]:
            del self._due_ns[key]

    def overdue(self, now_ns: int) -> set[int]:
        """DataNodes that should be asked to say everything."""
        return {key.number for key, due_ns in self._due_ns.items() if due_ns <= now_ns}

    def refuted(self, number: int, absent: Collection[int], began_ns: int) -> list[int]:
        """Those of the blocks a full report begun then does not name that are not there."""
        return [
            block_id for block_id in absent if self._due_ns.get(Key(number, block_id), began_ns) <= began_ns
        ]

    def settled(self, number: int, began_ns: int) -> None:
        """A full report begun then has taken effect: what was due is there or gone."""
        for key in [key for key, due in self._due_ns.items() if key.number == number and due <= began_ns]:
            del self._due_ns[key]
