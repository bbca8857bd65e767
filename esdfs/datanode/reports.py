"""What the NameNodes are told about replicas: full reports in pages, and what changed since. Pure."""

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeVar

import msgspec

from esdfs.datanode.replica import BlockKey, Replica

K = TypeVar("K")

PAGE_BLOCKS: Final = 5000
"""At most so many blocks in one request."""


_WAITING_MAX: Final = 200_000
"""More changes than that are not kept for a NameNode that is away: a full report is shorter in the end."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /datanodes/{node_id}/blocks`, without who speaks.

    Attributes:
        full: Part of the whole truth: after its ``last`` page, what was not named is not here.
        stored: ``(block id, generation, logical length)``.
        failed_replications: ``(block id, generation, target node id)``.
    """

    full: bool = False
    first: bool = False
    last: bool = False
    stored: tuple[tuple[int, int, int], ...] = ()
    removed: tuple[tuple[int, int], ...] = ()
    corrupt: tuple[tuple[int, int], ...] = ()
    failed_replications: tuple[tuple[int, int, str], ...] = ()

    def size(self) -> int:
        """How many entries it has."""
        return len(self.stored) + len(self.removed) + len(self.corrupt) + len(self.failed_replications)


def full_report(
    replicas: list[Replica], corrupt: list[BlockKey], page: int = PAGE_BLOCKS
) -> Iterator[Report]:
    """All replicas in pages, at least one; the corrupt ones are on the first."""
    entries = ((r.block_id, r.generation, r.length_bytes) for r in replicas)
    pages = max(1, -(-len(replicas) // page))
    for number in range(pages):
        yield Report(
            full=True,
            first=number == 0,
            last=number == pages - 1,
            stored=tuple(islice(entries, page)),
            corrupt=tuple((key.block_id, key.generation) for key in corrupt) if number == 0 else (),
        )


class Deltas:
    """Changes not yet reported to one NameNode. Thread-safe.

    Later news about a block overtakes earlier: the order between entries of one report carries no meaning.

    Attributes:
        overflowed: There were too many, and they are gone: only a full report says what became of them.
    """

    def __init__(self) -> None:
        self.overflowed = False
        self._lock = threading.Lock()
        self._stored: dict[BlockKey, int] = {}
        self._removed: dict[BlockKey, None] = {}
        self._corrupt: dict[BlockKey, None] = {}
        self._failed: dict[tuple[int, int, str], None] = {}

    def stored(self, key: BlockKey, length_bytes: int) -> None:
        """A replica was finalized."""
        with self._lock:
            self._removed.pop(key, None)
            self._corrupt.pop(key, None)
            self._stored[key] = length_bytes
            self._bound()

    def removed(self, key: BlockKey) -> None:
        """A replica is gone."""
        with self._lock:
            self._stored.pop(key, None)
            self._removed[key] = None
            self._bound()

    def corrupt(self, key: BlockKey) -> None:
        """A replica does not verify."""
        with self._lock:
            self._stored.pop(key, None)
            self._corrupt[key] = None
            self._bound()

    def replication_failed(self, key: BlockKey, node_id: str) -> None:
        """A copy that was ordered did not reach its target."""
        with self._lock:
            self._failed[key.block_id, key.generation, node_id] = None
            self._bound()

    def _bound(self) -> None:
        waiting = len(self._stored) + len(self._removed) + len(self._corrupt) + len(self._failed)
        if waiting > _WAITING_MAX:
            self._forget()
            self._failed.clear()  # whoever ordered these copies no longer waits for them
            self.overflowed = True

    def _forget(self) -> None:
        self._stored.clear()
        self._removed.clear()
        self._corrupt.clear()

    def take(self, limit: int = PAGE_BLOCKS) -> Report | None:
        """The next report, taken from here; None when there is none. Give it `back` if undelivered."""
        with self._lock:
            report = Report(
                stored=tuple(
                    (k.block_id, k.generation, self._stored.pop(k)) for k in _first(self._stored, limit)
                ),
                removed=tuple((k.block_id, k.generation) for k in _take(self._removed, limit)),
                corrupt=tuple((k.block_id, k.generation) for k in _take(self._corrupt, limit)),
                failed_replications=tuple(_take(self._failed, limit)),
            )
        return report if report.size() else None

    def back(self, report: Report) -> None:
        """``report`` was not delivered: its entries wait again, unless newer ones overtook them."""
        with self._lock:
            for block_id, generation, length in report.stored:
                key = BlockKey(block_id, generation)
                if key not in self._removed and key not in self._corrupt:
                    self._stored.setdefault(key, length)
            for block_id, generation in report.removed:
                key = BlockKey(block_id, generation)
                if key not in self._stored:
                    self._removed.setdefault(key)
            for block_id, generation in report.corrupt:
                key = BlockKey(block_id, generation)
                if key not in self._stored:
                    self._corrupt.setdefault(key)
            for failed in report.failed_replications:
                self._failed.setdefault(failed)

    def clear(self) -> None:
        """Forget everything: a full report is about to say it."""
        with self._lock:
            self._forget()
            self.overflowed = False


def _first(entries: dict[K, int], limit: int) -> list[K]:
    return list(islice(entries, limit))


def _take(entries: dict[K, None], limit: int) -> list[K]:
    keys = list(islice(entries, limit))
    for key in keys:
        del entries[key]
    return keys
