"""Reports, taken in at once and worked through in slices."""

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from structlog.typing import FilteringBoundLogger

from esdfs.env import Clock
from esdfs.errors import Overloaded
from esdfs.namenode.blocks.bodies import Report
from esdfs.namenode.blocks.datanodes import DataNode, DataNodeTable
from esdfs.namenode.blocks.expected import Expected
from esdfs.namenode.blocks.futures import Future, Futures
from esdfs.namenode.blocks.garbage import Deletions, Why
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.locations import Locations, LocationsStore
from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.blocks.redundancy import BlockReplicator
from esdfs.namenode.blocks.replicas import Replica
from esdfs.namenode.blocks.reports import FullReport, Item, News, Verdict, items, judge
from esdfs.namenode.namespace.inodes import BlockRecord

WAITING_MAX: Final = 2_000_000
"""Entries that may wait: DataNodes are told to come again later."""

_NOT_THERE: Final = (News.CORRUPT, News.REMOVED)
_STORED: Final = (Verdict.KNOWN, Verdict.STALE)


class Intake:
    """Turns reports into locations, in the order they came.

    A full report takes effect in two steps: what its pages name is added as they come; what they do not name
    is removed after the last.

    Args:
        on_confirmed: Told the number of a DataNode whose full report has taken effect.
    """

    def __init__(
        self,
        index: BlockIndex,
        store: LocationsStore,
        nodes: DataNodeTable,
        deletions: Deletions,
        replicator: BlockReplicator,
        policy: Policy,
        clock: Clock,
        logger: FilteringBoundLogger,
        expected: Expected,
        on_confirmed: Callable[[int], None],
    ) -> None:
        self.futures = Futures(policy)
        self.obeyed_epoch = 0  # the highest that a DataNode has said it obeys
        self._index = index
        self._store = store
        self._nodes = nodes
        self._deletions = deletions
        self._replicator = replicator
        self._policy = policy
        self._clock = clock
        self._log = logger
        self._on_confirmed = on_confirmed
        self._queue: deque[_Page | _Stored | _Sweep] = deque()
        self._waiting = 0
        self._full: dict[int, FullReport] = {}
        self._expected = expected

    def __len__(self) -> int:
        return self._waiting

    @property
    def busy(self) -> bool:
        """Whether anything that was said has not taken effect, the ends of full reports included."""
        return bool(self._queue)

    def disappointed(self, now_ns: int) -> set[int]:
        """DataNodes that did not report what they had acknowledged, and are not saying everything now."""
        late = self._expected.overdue(now_ns)
        if not late:
            return late
        sweeping = {task.node.number for task in self._queue if isinstance(task, _Sweep)}
        return late - self._full.keys() - sweeping

    def restarted(self, number: int, *, anew: bool) -> None:
        """A DataNode registered: a full report that is half here will not be finished.

        ``anew``: It is another process.
        """
        self._full.pop(number, None)
        self.futures.restarted(number)
        if anew:
            self._expected.restarted(number)

    def reconsider(self) -> set[int]:
        """Take in what was ahead of us and is no longer; DataNodes that should say everything once more."""
        for number, block_id, generation in self.futures.caught_up(self._index):
            self._queue.append(_Stored(number, array("Q", [block_id]), array("Q", [generation])))
            self._waiting += 1
        return self.futures.missed()

    def accept(self, node: DataNode, report: Report) -> None:
        """Take a page in.

        Raises:
            Overloaded: Too much waits; nothing was taken.
        """
        if self._waiting + report.size() > WAITING_MAX:
            raise Overloaded(f"{self._waiting} reported blocks wait to be looked at: report again later")
        if report.seq:
            if report.seq <= node.told_seq:
                return  # its sender has long said something else
            node.told_seq = report.seq
        number = node.number
        if report.full and report.first:
            self._full[number] = FullReport(self._clock.monotonic_ns(), report.epoch)
            self.obeyed_epoch = max(self.obeyed_epoch, report.epoch)
            node.wants_report = False
        if report.size() > len(report.stored):
            self._queue.append(_Page(number, items(report)))
        stored = array("Q", [entry[0] for entry in report.stored])
        if stored:
            self._queue.append(_Stored(number, stored, array("Q", [entry[1] for entry in report.stored])))
        self._waiting += report.size()
        full = self._full.get(number) if report.full else None
        if full is not None:
            full.page(stored)
            full.page([entry[0] for entry in report.corrupt])
            if report.last:
                full.seal()
                del self._full[number]
                self._queue.append(_Sweep(node, full))
        elif report.full:
            # Its first page went to an earlier process of ours, or to its own predecessor.
            node.wants_report = True

    def work(self, deadline_ns: int) -> bool:
        """Work until then at least a little; whether there is more."""
        while self._queue:
            task = self._queue[0]
            if self._step(task):
                self._queue.popleft()
            if self._clock.monotonic_ns() >= deadline_ns:
                break
        return bool(self._queue)

    def _step(self, task: "_Page | _Stored | _Sweep") -> bool:
        match task:
            case _Page():
                return self._page(task)
            case _Stored():
                return self._stored(task)
            case _Sweep():
                return self._sweep(task)

    # --- pages ----------------------------------------------------------------------------------

    def _page(self, page: "_Page") -> bool:
        batch = list(islice(page.items, self._policy.slice_blocks))
        self._waiting -= len(batch)
        records = self._index.blocks([item.block_id for item in batch])
        changed: list[tuple[int, BlockRecord | None]] = []
        with self._store.write() as locations:
            for item, record in zip(batch, records, strict=True):
                self._item(locations, page.number, item, record, changed)
        self._check(changed)
        return len(batch) < self._policy.slice_blocks

    def _check(self, changed: Iterable[tuple[int, BlockRecord | None]]) -> None:
        if not self._replicator.waits_for_reports:
            for block_id, record in changed:
                self._replicator.check(block_id, record)

    def _item(
        self,
        locations: Locations,
        number: int,
        item: Item,
        record: BlockRecord | None,
        changed: list[tuple[int, BlockRecord | None]],
    ) -> None:
        block_id = item.block_id
        if item.news in _NOT_THERE:
            self.futures.gone(number, block_id)
            self._expected.heard(number, block_id)
        match item.news:
            case News.CORRUPT:
                if record is not None and locations.put(block_id, Replica(number, item.generation, True)):
                    self._log.error("replica corrupt", block_id=block_id, datanode=number, why="it said so")
                    self._replicator.tally.corrupt += 1
                    changed.append((block_id, record))
            case News.REMOVED:
                self._deletions.removed(number, block_id)
                had = (r.generation for r in locations.replicas(block_id) if r.number == number)
                if next(had, item.generation + 1) <= item.generation:
                    locations.remove(block_id, number)
                    changed.append((block_id, None))
            case News.COPY_FAILED:
                target = self._nodes.named(item.node_id)
                if target is not None:
                    self._replicator.failed(block_id, target.number, self._clock.monotonic_ns())

    def _stored(self, page: "_Stored") -> bool:
        """A slice of good replicas: nearly all are known, and those are written together."""
        number = page.number
        ids, generations = page.slice(self._policy.slice_blocks)
        self._waiting -= len(ids)
        if (*self._index.generations(ids),) != (*generations,):
            ids, generations = self._known(number, ids, generations)
        with self._store.write() as locations:
            news = locations.put_all(number, ids, generations)
        self._replicator.arrived(number, ids)
        if self._expected or self.futures:
            for block_id in ids:
                self.futures.gone(number, block_id)
                self._expected.heard(number, block_id)
        if news and not self._replicator.waits_for_reports:
            self._check(zip(news, self._index.blocks(news), strict=True))
        return page.done

    def _known(
        self, number: int, ids: Sequence[int], generations: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Ids and generations of those that are believed; the others are noted."""
        known: dict[int, int] = {}
        allocated = self._index.allocated()
        records = self._index.blocks(ids)
        with self._store.write() as locations:
            for block_id, generation, record in zip(ids, generations, records, strict=True):
                verdict = judge(block_id, generation, record, allocated)
                if verdict in _STORED:
                    known[block_id] = generation
                else:
                    self.futures.heard(block_id, allocated)
                    self._unknown(locations, number, block_id, generation, verdict)
        return [*known], [*known.values()]

    def _unknown(
        self, locations: Locations, number: int, block_id: int, generation: int, verdict: Verdict
    ) -> None:
        if verdict is Verdict.ORPHAN:
            self.futures.gone(number, block_id)
            due_ns = self._clock.monotonic_ns() + ns(self._policy.orphan_grace_ms)
            if self._deletions.add(number, block_id, generation, Why.ORPHAN, due_ns):
                self._log.info("orphan", block_id=block_id, datanode=number, why="no file ever named it")
            locations.remove(block_id, number)
        elif self.futures.note(Future(number, block_id, generation), self._clock.monotonic_ns()):
            self._log.warning(
                "a DataNode has a block that is not in our journal: it is kept",
                block_id=block_id,
                generation=generation,
                datanode=number,
            )

    # --- the end of a full report ---------------------------------------------------------------

    def _sweep(self, sweep: "_Sweep") -> bool:
        node = sweep.node
        if self._nodes.get(node.number) is not node:
            return True  # it registered anew meanwhile, and will report anew
        page = self._store.blocks_of(node.number, after=sweep.after, limit=self._policy.slice_blocks)
        if not page:
            self._confirmed(node, sweep.report)
            return True
        sweep.after = page[-1]
        absent = sweep.report.absent(page)
        gone = self._expected.refuted(node.number, absent, sweep.report.began_ns)
        if gone:
            with self._store.write() as locations:
                for block_id in gone:
                    locations.remove(block_id, node.number)
            for block_id in gone:
                self._deletions.removed(node.number, block_id)
                self._replicator.check(block_id)
            self._log.info("replicas gone", datanode=node.number, blocks=len(gone), why="full report")
        return False

    def _confirmed(self, node: DataNode, report: FullReport) -> None:
        self.futures.settled(node.number, report.began_ns, report.names)
        self._expected.settled(node.number, report.began_ns)
        if report.epoch < self._index.epoch():
            # An earlier leader's orders may yet take what it names.
            node.wants_report = True
            return
        self._replicator.settled(self._deletions.settled(node.number, report.began_ns, report.names))
        node.confirmed = True
        self._log.info("full report taken in", datanode=node.number, node_id=node.row.node_id)
        self._on_confirmed(node.number)


class _Page:
    """What one report says besides its good replicas."""

    def __init__(self, number: int, entries: Iterator[Item]) -> None:
        self.number = number
        self.items = entries


class _Stored:
    """The good replicas of one report.

    Millions may wait: as objects each they would take several times the memory, and make collections long.
    """

    def __init__(self, number: int, ids: "array[int]", generations: "array[int]") -> None:
        self.number = number
        self._ids = ids
        self._generations = generations
        self._at = 0

    def slice(self, limit: int) -> tuple[Sequence[int], Sequence[int]]:
        """The next ids and generations, at most so many."""
        begin, self._at = self._at, min(self._at + limit, len(self._ids))
        return self._ids[begin : self._at], self._generations[begin : self._at]

    @property
    def done(self) -> bool:
        """Whether that was the last slice."""
        return self._at == len(self._ids)


class _Sweep:
    """What a full report did not name is to be removed."""

    def __init__(self, node: DataNode, report: FullReport) -> None:
        self.node = node
        self.report = report
        self.after = 0
