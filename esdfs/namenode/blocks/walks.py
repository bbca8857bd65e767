"""Long looks at many blocks, a page at a time."""

from collections.abc import Callable, Sequence

from esdfs.env import Clock
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.health import Health, is_whole
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.policy import Policy
from esdfs.namenode.blocks.redundancy import BlockReplicator
from esdfs.namenode.namespace.inodes import BlockRecord


class Walks:
    """Checks every block of some DataNodes, or all blocks there are.

    Args:
        on_scanned: Told (complete blocks, those with a copy on a registered DataNode) after each.
        on_stray: Told a block that has locations and that the namespace does not know.
    """

    def __init__(
        self,
        index: BlockIndex,
        store: LocationsStore,
        nodes: DataNodeTable,
        replicator: BlockReplicator,
        policy: Policy,
        clock: Clock,
        *,
        on_scanned: Callable[[int, int], None],
        on_stray: Callable[[int], None],
    ) -> None:
        self._index = index
        self._store = store
        self._nodes = nodes
        self._replicator = replicator
        self._limit = policy.slice_blocks
        self._clock = clock
        self._on_scanned = on_scanned
        self._on_stray = on_stray
        self._of_node: dict[int, int] = {}
        self._stray_after: int | None = None
        self._scan_after: int | None = None
        self._counts_only = False
        self._total = 0
        self._reported = 0

    @property
    def scanning(self) -> bool:
        """Whether a scan or a count is under way."""
        return self._scan_after is not None

    @property
    def walking(self) -> bool:
        """Whether there is anything left to look at."""
        return bool(self._of_node) or self._stray_after is not None or self.scanning

    def node(self, number: int) -> None:
        """Check every block of a DataNode, from the first."""
        self._of_node[number] = 0

    def strays(self) -> None:
        """Look for locations of blocks nobody knows."""
        self._stray_after = 0

    def scan(self) -> None:
        """Check every block, from the first; one under way starts over."""
        self._begin(counts_only=False)

    def count(self) -> None:
        """The same, but nothing is made of what is found: it costs a fraction of a scan."""
        self._begin(counts_only=True)

    def _begin(self, *, counts_only: bool) -> None:
        self._scan_after = 0
        self._counts_only = counts_only
        self._total = self._reported = 0

    def work(self, deadline_ns: int) -> bool:
        """Work until then, at least a little; whether there is more."""
        while self._step():
            if self._clock.monotonic_ns() >= deadline_ns:
                return True
        return False

    def _step(self) -> bool:
        if self._of_node:
            number, after = next(iter(self._of_node.items()))
            page = self._store.blocks_of(number, after=after, limit=self._limit)
            self._check_page(page, self._index.blocks(page))
            if page:
                self._of_node[number] = page[-1]
            else:
                del self._of_node[number]
            return True
        if self._stray_after is not None:
            self._stray_after = self._look_for_strays(self._stray_after)
            return True
        if self._scan_after is not None:
            self._scan_after = self._scan_page(self._scan_after)
            return True
        return False

    def _look_for_strays(self, after: int) -> int | None:
        page = self._store.blocks(after=after, limit=self._limit)
        for block_id, record in zip(page, self._index.blocks(page), strict=True):
            if record is None:
                self._on_stray(block_id)
        return page[-1] if page else None

    def _scan_page(self, after: int) -> int | None:
        ids, records = self._index.blocks_after(after, self._limit)
        total, reported = (self._count_page if self._counts_only else self._check_page)(ids, records)
        self._total += total
        self._reported += reported
        if ids:
            return ids[-1]
        self._on_scanned(self._total, self._reported)
        return None

    def _check_page(self, block_ids: Sequence[int], records: Sequence[BlockRecord | None]) -> tuple[int, int]:
        """How many are complete, and reported; most are whole and need no second look."""
        total, reported = 0, 0
        notes = self._replicator.notes()
        domain_of = {node.number: self._nodes.domain(node.row) for node in self._nodes if node.serves}
        several_domains = len(self._nodes.domains) > 1
        default_target = self._replicator.replication_factor
        found = self._store.replicas_of(block_ids)
        for block_id, record, replicas in zip(block_ids, records, found, strict=True):
            if (
                record is not None
                and is_whole(record, replicas, domain_of, default_target, several_domains)
                and not (notes and self._replicator.follows(block_id, (one.number for one in replicas)))
            ):
                total += 1
                reported += 1
                continue
            health = self._replicator.check(block_id, record, replicas)
            if health is not None:
                total += 1
                reported += self._reported_here(health)
        return total, reported

    def _count_page(self, block_ids: Sequence[int], records: Sequence[BlockRecord]) -> tuple[int, int]:
        """How many are complete, and reported."""
        total, reported = 0, 0
        here = {node.number for node in self._nodes if node.registered and node.counts}
        for record, replicas in zip(records, self._store.replicas_of(block_ids), strict=True):
            if record.complete:
                total += 1
                for number, generation, corrupt in replicas:
                    if generation == record.generation and number in here and not corrupt:
                        reported += 1
                        break
        return total, reported

    def _reported_here(self, health: Health) -> bool:
        for number in (*health.good, *health.draining):
            node = self._nodes.get(number)
            if node is not None and node.registered:
                return True
        return False
