"""Clients that write and read, and a check of what they were told.

Each client has one request under way and repeats it, with the same number, until it is answered. All
answers carry a position in one list, so real-time order and list order can be compared directly.
"""

from esdfs.ids import NodeId
from tests.sim.checkers import InvariantBrokenError
from tests.sim.cluster import Cluster
from tests.sim.node import Outcome
from tests.sim.world import MS

CLIENT_TIMEOUT_NS = 250 * MS
HOP_NS = MS // 2


class History:
    """What clients saw."""

    def __init__(self) -> None:
        self.longest_seen = 0
        self.acknowledged: dict[tuple[bytes, int], int] = {}
        self.last_answer_ns = 0


class Client:
    """One caller of the cluster."""

    def __init__(
        self,
        cluster: Cluster,
        history: History,
        number: int,
        *,
        until_ns: int,
        reads: float,
        loyalty: float,
        think_ns: tuple[int, int],
    ) -> None:
        self._cluster, self._world, self._history = cluster, cluster.world, history
        self._id = b"client-%010d" % number
        self._rng = cluster.world.rng(f"client/{number}")
        self._until_ns, self._reads, self._think_ns = until_ns, reads, think_ns
        self._loyalty = loyalty  # how often it asks where it was answered last
        self._seq = 0
        self._hint: NodeId | None = None
        self._is_write = False
        self._begun_seeing = 0
        self._attempt = 0
        self._is_done = True
        self._world.after(self._rng.randrange(100 * MS), self._begin)

    def _begin(self) -> None:
        if self._world.now_ns > self._until_ns:
            return
        self._seq += 1
        self._is_write = self._rng.random() >= self._reads
        self._begun_seeing = self._history.longest_seen
        self._is_done = False
        self._try()

    def _try(self) -> None:
        self._attempt += 1
        attempt, rng, cluster = self._attempt, self._rng, self._cluster
        follows_hint = self._hint and rng.random() < self._loyalty
        target = self._hint if self._hint and follows_hint else rng.choice(cluster.voter_ids)
        self._world.after(HOP_NS, self._ask, target, attempt)
        self._world.after(CLIENT_TIMEOUT_NS, self._give_up, target, attempt)

    def _ask(self, target: NodeId, attempt: int) -> None:
        node, seq = self._cluster.nodes[target], self._seq

        def answer(outcome: Outcome) -> None:
            self._world.after(HOP_NS, self._answered, outcome, target, seq, attempt)

        if self._is_write:
            node.handle(node.write, self._id, seq, answer)
        else:
            node.handle(node.read, answer)

    def _answered(self, outcome: Outcome, target: NodeId, seq: int, attempt: int) -> None:
        if self._is_done or seq != self._seq:
            return
        if not outcome.ok:
            if attempt == self._attempt:
                self._hint = outcome.leader_id
                self._world.after(self._rng.randrange(5 * MS, 30 * MS), self._retry, attempt)
            return
        if not self._is_write and attempt != self._attempt:
            return  # a read that was given up; another is under way
        self._hint = target
        self._finish(outcome.value, target)

    def _retry(self, attempt: int) -> None:
        if not self._is_done and attempt == self._attempt:
            self._try()

    def _give_up(self, target: NodeId, attempt: int) -> None:
        if not self._is_done and attempt == self._attempt:
            if self._hint == target:
                self._hint = None
            self._try()

    def _finish(self, position: int, target: NodeId) -> None:
        history, stats = self._history, self._cluster.stats
        self._is_done = True
        if self._is_write:
            stats["acknowledged writes"] += 1
            if position <= self._begun_seeing:
                raise InvariantBrokenError(
                    "HistoryIsLinearizable",
                    f"a write got position {position}; {self._begun_seeing} was visible before it began",
                )
            history.acknowledged[self._id, self._seq] = position
        else:
            stats["reads"] += 1
            if position < self._begun_seeing:
                raise InvariantBrokenError(
                    "HistoryIsLinearizable",
                    f"{target} read {position}; {self._begun_seeing} was visible before the read began",
                )
        history.longest_seen = max(history.longest_seen, position)
        history.last_answer_ns = self._world.now_ns
        self._world.after(self._rng.randrange(*self._think_ns), self._begin)
