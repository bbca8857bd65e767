"""How far DataNodes are that an operator wants to stop: what they have that nobody else has enough of."""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from esdfs.namenode.blocks.admin import counted
from esdfs.namenode.blocks.datanodes import DataNode, DataNodeTable
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.policy import ns
from esdfs.namenode.blocks.redundancy import BlockReplicator

_PAGE: Final = 128
_AGAIN_MS: Final = 500
_VERIFY_MS: Final = 30_000
_KEPT_MAX: Final = 200_000
"""Blocks remembered as waiting; with more than these the next round begins from the first block again."""
_UNREADABLE_SHOWN: Final = 10


class _Open(NamedTuple):
    """Files being written, and when that was looked at."""

    by_number: dict[int, int]
    at_ns: int


class Draining:
    """Walks the blocks of such DataNodes, and again those that waited, until none does.

    A DataNode is ready when a walk over all its blocks, begun while no file was being written to it, found
    none that needs a copy elsewhere. That is looked at again every half minute: losses elsewhere may undo it.

    Args:
        on_counted: Told a DataNode whose row changed.
    """

    def __init__(
        self,
        index: BlockIndex,
        store: LocationsStore,
        nodes: DataNodeTable,
        replicator: BlockReplicator,
        on_counted: Callable[[DataNode], None],
    ) -> None:
        self._index = index
        self._store = store
        self._nodes = nodes
        self._replicator = replicator
        self._on_counted = on_counted
        self._rounds: dict[int, _Round] = {}
        self._open = _Open({}, 0)

    def begin(self, number: int) -> None:
        """Something is wanted of this DataNode: count from the start."""
        self._rounds[number] = _Round()

    def end(self, number: int) -> None:
        """It is in service."""
        self._rounds.pop(number, None)

    def work(self, now_ns: int, is_late: Callable[[], bool]) -> bool:
        """Go on until it is late, at least a little; whether there is more to do at once."""
        for number, its in list(self._rounds.items()):
            node = self._nodes.get(number)
            if node is None or now_ns < its.due_ns:
                continue
            if node.registered and node.counts and not node.confirmed:
                continue  # before its full report is in, nobody knows what it has
            while not self._step(node, its, now_ns):
                if is_late():
                    return True
        return False

    def _step(self, node: DataNode, its: "_Round", now_ns: int) -> bool:
        """Look at some blocks; whether the round is over."""
        if its.fresh:
            its.start(self._files_open(node.number, now_ns))
        if its.walks:
            page = self._store.blocks_of(node.number, after=its.after, limit=_PAGE)
            if page:
                its.after = page[-1]
        else:
            page, its.todo = its.todo[:_PAGE], its.todo[_PAGE:]
        self._take(node, its, page)
        if page:
            return False
        files_open = max(its.files_open, self._files_open(node.number, now_ns))
        ready = its.walks and not its.count and not files_open
        self._show(node, its, files_open, ready=ready)
        its.over(now_ns, ready=ready, files_open=files_open)
        return True

    def _take(self, node: DataNode, its: "_Round", page: Iterable[int]) -> None:
        for block_id in page:
            health = self._replicator.check(block_id)
            if health is None:
                continue
            if health.lacking if node.drains else not health.serving:
                its.take(block_id, readable=bool(health.good or health.draining))

    def _files_open(self, number: int, now_ns: int) -> int:
        if not self._open.at_ns or now_ns - self._open.at_ns >= ns(_AGAIN_MS):
            found: dict[int, int] = {}
            for file in self._index.open_files():
                for target in {target for block in file.blocks for target in block.targets}:
                    found[target] = found.get(target, 0) + 1
            self._open = _Open(found, now_ns)
        return self._open.by_number.get(number, 0)

    def _show(self, node: DataNode, its: "_Round", files_open: int, *, ready: bool) -> None:
        admin = counted(
            node.row.admin,
            its.count,
            files_open,
            ready=ready,
            unreadable=its.unreadable,
            unreadable_first=its.unreadable_first,
        )
        if admin != node.row.admin:
            node.show(admin)
            self._on_counted(node)


class _Round:
    """One walk over all blocks of a DataNode, or another look at those that waited."""

    def __init__(self) -> None:
        self.due_ns = 0
        self.fresh = True
        self.walks = True
        self.after = 0
        self.todo: list[int] = []
        self.waiting: list[int] = []
        self.unreadable = 0
        self.unreadable_first: list[int] = []
        self.count = 0
        self.files_open = 0

    def start(self, files_open: int) -> None:
        self.fresh = False
        self.after, self.count, self.waiting = 0, 0, []
        self.unreadable, self.unreadable_first = 0, []
        self.files_open = files_open

    def take(self, block_id: int, *, readable: bool) -> None:
        self.count += 1
        if len(self.waiting) < _KEPT_MAX:
            self.waiting.append(block_id)
        if not readable:
            self.unreadable += 1
            if len(self.unreadable_first) < _UNREADABLE_SHOWN:
                self.unreadable_first.append(block_id)

    def over(self, now_ns: int, *, ready: bool, files_open: int) -> None:
        """The next round: only those that waited, if all are remembered; a walk over all when none does."""
        self.fresh, self.todo = True, self.waiting
        if ready:
            again_ms, self.walks = _VERIFY_MS, True
        elif self.waiting:
            self.walks = self.count > len(self.waiting)
            again_ms = _VERIFY_MS if self.walks else _AGAIN_MS
        elif files_open:
            again_ms, self.walks = _AGAIN_MS, False
        else:
            again_ms, self.walks = 0, True
        self.due_ns = now_ns + ns(again_ms)
