"""When all blocks are looked at, and what safe mode makes of it."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from esdfs.env import Clock
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.blocks.redundancy import BlockReplicator
from esdfs.namenode.blocks.safemode import SafeMode
from esdfs.namenode.blocks.walks import Walks


class Scanning:
    """Begins scans and counts when they are due. In safe mode blocks are only counted; one scan ends it.

    Attributes:
        total: Complete blocks, as last counted and as events told since.
    """

    def __init__(
        self,
        index: BlockIndex,
        store: LocationsStore,
        nodes: DataNodeTable,
        replicator: BlockReplicator,
        policy: Policy,
        clock: Clock,
        logger: FilteringBoundLogger,
        *,
        on_stray: Callable[[int], None],
    ) -> None:
        now_ns = clock.monotonic_ns()
        self.total = 0
        self._store = store
        self._nodes = nodes
        self._replicator = replicator
        self._policy = policy
        self._clock = clock
        self._log = logger
        self._safe_mode = SafeMode(policy, now_ns, cold=store.fresh)
        self._walks = Walks(
            index, store, nodes, replicator, policy, clock, on_scanned=self._on_scanned, on_stray=on_stray
        )
        self._looked_ns = now_ns
        self._several = False, False
        replicator.waits_for_reports = True
        self._walks.count()
        if not store.fresh:
            # What happened between our predecessor's last record and its last breath may be missing.
            self._walks.strays()

    @property
    def unsafe(self) -> str:
        """Why safe mode is on; empty = it is not."""
        return self._safe_mode.reason if self._safe_mode.active else ""

    @property
    def walking(self) -> bool:
        """Whether blocks are being looked at."""
        return self._walks.walking

    @property
    def behind(self) -> bool:
        """Whether reports taken in safe mode wait for a scan that may begin."""
        return self._replicator.waits_for_reports and not self._safe_mode.active

    def everything(self) -> None:
        """Look at all blocks and all locations, from the first."""
        self._walks.scan()
        self._walks.strays()

    def blocks_of(self, number: int) -> None:
        """What the copies of a DataNode are worth has changed: look at its blocks."""
        self._walks.node(number)

    def confirmed(self, number: int) -> None:
        """A full report of a DataNode has been read."""
        if not self._replicator.waits_for_reports:
            self._walks.node(number)

    def work(self, now_ns: int, deadline_ns: int) -> bool:
        """Begin what is due and look at blocks until then; whether there is more."""
        if not self._walks.scanning:
            self._begin(now_ns)
        return self._walks.work(deadline_ns)

    def _begin(self, now_ns: int) -> None:
        replicator = self._replicator
        refill = replicator.overflowed and replicator.queued() < self._policy.queued_max // 2
        due = now_ns - self._looked_ns >= ns(self._policy.scan_interval_ms)
        # What was written while there was one rack, or host, only is on that one.
        had, self._several = self._several, (len(self._nodes.domains) > 1, self._nodes.by_rack)
        due = due or any(now and not before for now, before in zip(self._several, had, strict=True))
        if self._safe_mode.active:
            self._look_whether_safe(now_ns)
            return
        if refill or due or replicator.waits_for_reports:
            replicator.waits_for_reports = False
            replicator.overflowed = False
            self._walks.scan()

    def _look_whether_safe(self, now_ns: int) -> None:
        since_ns = now_ns - self._looked_ns
        if since_ns < ns(self._policy.safe_mode_scan_ms):
            return
        may_end = self._safe_mode.may_end(now_ns, self.total, self._store.located())
        if not may_end and since_ns < ns(self._policy.safe_mode_recount_ms):
            return
        if may_end and self._replicator.waits_for_reports:
            # From here on reports are followed block by block: no scan has to come after this one.
            self._replicator.waits_for_reports = False
            self._walks.scan()
        else:
            self._walks.count()

    def _on_scanned(self, total: int, reported: int) -> None:
        self.total = total
        self._looked_ns = self._clock.monotonic_ns()
        if self._safe_mode.observe(self._looked_ns, total, reported):
            self._log.warning("safe mode left", why=self._safe_mode.reason)
