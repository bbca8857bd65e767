"""DataNodes' rows as readers see them: behind by a second at most, and at once when it matters."""

from typing import Final

from esdfs.env import Clock
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.policy import ns

_EVERY_MS: Final = 1_000


class Rows:
    """Which of them changed since they were written."""

    def __init__(self, store: LocationsStore, nodes: DataNodeTable, clock: Clock) -> None:
        self._store = store
        self._nodes = nodes
        self._clock = clock
        self._written_ns = clock.monotonic_ns()
        self._changed: set[int] = set()

    def changed(self, number: int) -> None:
        """This DataNode's is to be written soon."""
        self._changed.add(number)

    def tick(self, now_ns: int) -> None:
        """Write them, if that is due."""
        if now_ns - self._written_ns >= ns(_EVERY_MS):
            self.write()

    def write(self) -> None:
        """Readers see all of them on return."""
        self._written_ns = self._clock.monotonic_ns()
        changed, self._changed = self._changed, set()
        rows = [node.row for number in changed if (node := self._nodes.get(number)) is not None]
        if rows:
            self._store.put_datanodes(rows)
