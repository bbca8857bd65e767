"""A NameNode of the simulation: the production block manager, its store, and a process that can suffer."""

import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from esdfs.errors import EsdfsError, Unavailable, Unreachable
from esdfs.ids import Micros, Nanos
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.manager import BlockManager, NeedsJournal
from esdfs.namenode.config import NameNodeConfig
from tests.sim.blocks.namespace import Commit, Namespace
from tests.sim.world import MS, SeededRng, World
from tests.unit.namenode.blocks.world import SILENT

if TYPE_CHECKING:
    from tests.sim.blocks.cluster import Cluster

TICK_NS = 500 * MS
BREATH_NS = 5 * MS
CLEANUP_NS = 2_000 * MS
_pack = msgspec.msgpack.Encoder().encode


class SimClock:
    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic_ns(self) -> Nanos:
        return Nanos(self._world.now_ns)

    def wall_us(self) -> Micros:
        return Micros(self._world.now_ns // 1_000)

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError("nothing that is simulated sleeps")


class SimNameNode:
    """Up or down, awake or paused, leading or not; never two leaders of one epoch.

    Attributes:
        view: The namespace, as far as it has been applied here.
        cut_off: It hears of no other leader.
        life: Counts its processes.
    """

    def __init__(self, cluster: "Cluster", name: str, directory: Path) -> None:
        self.name = name
        self.view = Namespace(cluster.settings)
        self.up = self.paused = self.leading = self.cut_off = False
        self.life = 0
        self.heard_ns: dict[int, int] = {}
        self._cluster = cluster
        self._world = cluster.world
        self._chance = cluster.world.rng(name)
        self._directory = directory
        self._boots = 0
        self._paused_ns = 0
        self._commits: deque[Commit] = deque()
        self._applied: list[Commit] = []
        self._held: list[Callable[[], object]] = []
        self.manager: BlockManager
        self.store: LocationsStore

    # --- life ---

    def boot(self, *, fresh: bool = False) -> None:
        """Start its process; ``fresh``: the machine was off, so locations are gone."""
        assert not self.up, "one process at a time"
        self._boots += fresh
        if self.life == 0:
            self.apply()
        elif fresh:
            self._roll_back()
        self.up, self.paused = True, False
        self.life += 1
        self.store = LocationsStore(self._directory, boot=f"boot {self._boots}", bytes_max=1 << 27)
        self.manager = BlockManager(
            NameNodeConfig(node_id=self.name, dir=str(self._directory)),
            self.store,
            self._cluster.mutant.index(self.view),
            SimClock(self._world),
            SeededRng(self._chance),
            SILENT,
            policy=self._cluster.policy,
        )
        self._cluster.mutant.break_manager(self.manager)
        self._cluster.checkers.watch(self)
        self.manager.leads(self.leading)
        self.heard_ns.clear()
        self._world.after(BREATH_NS, self._tick, self.life)
        self._world.after(CLEANUP_NS, self._cleanup, self.life)
        self._world.after(self._chance.randrange(2_000) * MS, self._apply_later)

    def _roll_back(self) -> None:
        """Its projection is lost: it begins at some checkpoint, and is told anew what came after it."""
        at = self._chance.randrange(len(self._applied) // 2, len(self._applied) + 1)
        reign, self.view = self.view.reign, Namespace(self._cluster.settings)
        for commit in self._applied[:at]:
            commit.change(self.view)
        self.view.reign = reign
        self._commits.extendleft(reversed(self._applied[at:]))
        del self._applied[at:]

    def crash(self) -> None:
        """What was committed to the store stays, as the kernel lives on."""
        self.up = self.leading = self.paused = False
        self.life += 1
        self.store.close()
        self._held.clear()

    def pause(self) -> None:
        self.paused = True
        self._paused_ns = self._world.now_ns

    def resume(self) -> None:
        """What came in meanwhile is read before or after the clock is looked at, as chance will have it."""
        self.paused = False
        slept_ns = self._world.now_ns - self._paused_ns
        self.heard_ns = {number: at_ns + slept_ns for number, at_ns in self.heard_ns.items()}
        held, self._held = self._held, []
        if self._chance.random() < 0.5:
            self.manager.tick()
        for call in held:
            call()

    def lead(self, leading: bool) -> None:
        """It was elected, or deposed, and knows."""
        self.leading = leading
        if leading:
            self.apply()
            self.view.reign = self._cluster.reign
        self.manager.leads(leading)

    def hear_of(self, reign: int) -> None:
        """Another leads, in this epoch."""
        if self.cut_off:
            return
        if self.paused:
            self._held.append(lambda: self.hear_of(reign))
        elif reign > self.view.reign:
            self.view.reign = reign
            if self.leading and self.up:
                self.lead(False)

    def destroy(self) -> None:
        if self.up:
            self.crash()
        shutil.rmtree(self._directory)

    # --- time ---

    def _tick(self, life: int) -> None:
        if life != self.life:
            return
        more = False
        if not self.paused:
            more = self.manager.tick()
        self._world.after(BREATH_NS if more else TICK_NS, self._tick, life)

    def _cleanup(self, life: int) -> None:
        if life != self.life:
            return
        if not self.paused:
            self.manager.cleanup()
        self._world.after(CLEANUP_NS, self._cleanup, life)

    # --- the journal ---

    def committed(self, commit: Commit, lag_ns: int) -> None:
        self._commits.append(commit)
        if self.leading and not self.paused:
            self.apply()
        else:
            self._world.after(lag_ns, self._apply_later)

    def _apply_later(self) -> None:
        if self.up and not self.paused:
            self.apply()
        elif self.up:
            self._held.append(self.apply)

    def apply(self) -> None:
        """Everything that is committed."""
        while self._commits:
            commit = self._commits.popleft()
            self._applied.append(commit)
            commit.change(self.view)
            if self.up:
                self.manager.on_committed(commit.events)
                self.manager.on_released(commit.released)

    # --- calls ---

    def call(self, kind: str, node_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """A DataNode's request, as a REST worker passes it on.

        Raises:
            EsdfsError: The answer is a refusal.
        """
        if not self.up:
            raise Unreachable(f"{self.name} is down")
        if self.paused:
            raise Unreachable(f"{self.name} is paused")
        self._cluster.stats[kind] += 1
        if kind == "register":
            return self._register(body)
        if kind == "report":
            return self.manager.report(node_id, _pack(body))
        answer = self.manager.heartbeat(node_id, _pack(body))
        self.heard_ns[self.view.numbers[node_id]] = self._world.now_ns
        self._cluster.checkers.ordered(self, node_id, answer)
        return answer

    def late(self, kind: str, node_id: str, body: dict[str, Any]) -> None:
        """A request whose sender has given up waiting."""
        if not self.up:
            return
        if self.paused:
            self._held.append(lambda: self.late(kind, node_id, body))
            return
        try:
            self.call(kind, node_id, body)
        except EsdfsError:
            self._cluster.stats["late refused"] += 1

    def _register(self, body: dict[str, Any]) -> dict[str, Any]:
        packed = _pack(body)
        try:
            answer = self.manager.register(packed)
        except NeedsJournal as needed:
            if not self.leading:
                raise Unavailable("the leader has not journaled this DataNode yet") from None
            node_id = needed.node_id
            self._cluster.commit(Commit(lambda namespace: namespace.number(node_id)))
            answer = self.manager.register(packed)
        self.heard_ns[answer["number"]] = self._world.now_ns
        return answer
