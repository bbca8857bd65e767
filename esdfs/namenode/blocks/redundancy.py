"""Every block has as many good copies as its file asks for: no fewer, and in time no more."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from esdfs.env import Rng
from esdfs.namenode.blocks import bodies
from esdfs.namenode.blocks.copies import Copies, Copy
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.expected import Expected
from esdfs.namenode.blocks.garbage import Deletions, Order, Why
from esdfs.namenode.blocks.health import Health, Level, examine
from esdfs.namenode.blocks.homes import Homes
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.locations import DataNodeRow, LocationsStore
from esdfs.namenode.blocks.moves import Moves
from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.blocks.promises import Promises
from esdfs.namenode.blocks.queues import RepairQueues
from esdfs.namenode.blocks.replicas import Replica
from esdfs.namenode.blocks.tally import Tally
from esdfs.namenode.blocks.trimming import most_dispensable
from esdfs.namenode.namespace.inodes import BlockRecord

_LOOKED_AT: Final = 64
"""Queued blocks considered at a time, of each queue."""

_CANDIDATES: Final = 8_000

_AGAIN: Final = 256
"""Blocks looked at again at a time."""

_WORKABLE: Final = (Level.ONE_LEFT, Level.FAR_BELOW, Level.BELOW, Level.BADLY_PLACED)


class BlockReplicator:
    """Notices blocks with too few or too many copies, and orders DataNodes to change that.

    ``check`` looks at one block and may be called at any time, any number of times: it only follows what the
    namespace and the reports say. Orders go out with heartbeat answers.

    Attributes:
        replication_factor: Copies of a block whose record asks for none in particular.
        metadata_manager: The namespace.
        waits_for_reports: Safe mode: reports are not followed block by block, a scan follows.
        stopped: Why nothing is ordered (safe mode, brake); empty = it is.
        moves: Blocks that change their DataNode though they lack nothing.
        tally: What was done.
    """

    def __init__(
        self,
        metadata_manager: BlockIndex,
        logger: FilteringBoundLogger,
        *,
        replication_factor: int = 2,
        store: LocationsStore,
        nodes: DataNodeTable,
        deletions: Deletions,
        expected: Expected,
        promises: Promises,
        policy: Policy,
        rng: Rng,
    ) -> None:
        self.replication_factor = replication_factor
        self.metadata_manager = metadata_manager
        self.logger = logger
        self.stopped = ""
        self.waits_for_reports = False
        self.tally = Tally()
        self.overflowed = False
        self._store = store
        self._nodes = nodes
        self._deletions = deletions
        self._expected = expected
        self._policy = policy
        self._copies = Copies(policy)
        self._homes = Homes(nodes, deletions, self._copies, promises, policy, rng)
        self._targets = self._homes.choose
        self.moves = Moves(policy, nodes)
        self._queues = RepairQueues()
        self._scheduled_ns = 0
        self._surplus: dict[int, None] = {}
        self._again: list[int] = []

    # --- one block ------------------------------------------------------------------------------

    def check(
        self,
        block_id: int,
        record: BlockRecord | None = None,
        replicas: Sequence[Replica] | None = None,
    ) -> Health | None:
        """Look at a block (its ``record`` and its ``replicas``, when at hand) and queue it or forget it.

        Returns its health, or None when it needs none: unknown, or still being written.
        """
        if record is None:
            record = self.metadata_manager.block(block_id)
        if record is None or not record.complete:
            self._drop(block_id)
            self._surplus.pop(block_id, None)
            return None
        health = self._examine(block_id, record, replicas)
        if health.level is not None:
            numbers = [replica.number for replica in self._store.replicas(block_id)]
            if self._deletions.reconsider(block_id, numbers):
                health = self._examine(block_id, record)
        self._file(block_id, health)
        if len(health.good) > health.target or health.stale or health.corrupt:
            if len(self._surplus) < self._policy.queued_max:
                self._surplus[block_id] = None
        else:
            self._surplus.pop(block_id, None)
            self.moves.is_enough(block_id, health.good)
        if health.level is None:
            self._copies.cancel_unsent(block_id)
        elif health.level is Level.ONE_LEFT:
            self._copies.hurry(block_id)
        if not health.lacking:
            self._trim(block_id, record, health)
        return health

    def notes(self) -> bool:
        """Whether anything was noted about any block."""
        return bool(self._queues or self._surplus or self._copies or self.moves or self._deletions)

    def follows(self, block_id: int, numbers: Iterable[int]) -> bool:
        """Whether anything was noted about a block, or about its copies on these DataNodes."""
        return (
            self._queues.level(block_id) is not None
            or block_id in self._surplus
            or block_id in self._copies
            or block_id in self.moves
            or any(self._deletions.leaving(number, block_id) for number in numbers)
        )

    def _examine(
        self, block_id: int, record: BlockRecord, replicas: Sequence[Replica] | None = None
    ) -> Health:
        return examine(
            record,
            self._store.replicas(block_id) if replicas is None else replicas,
            self._nodes,
            default_target=self.replication_factor,
            leaving=lambda number: self._deletions.leaving(number, block_id),
            expected=lambda number: (number, block_id) in self._expected,
        )

    def _file(self, block_id: int, health: Health) -> None:
        before, level = self._queues.level(block_id), health.level
        if level is None:
            if before is not None:
                self._drop(block_id)
                self.logger.debug("block has its copies again", block_id=block_id)
            return
        is_full = self._queues.as_urgent(level) >= self._policy.queued_max
        if before is None and is_full and level is not Level.ONE_LEFT:
            self.overflowed = True
            return
        self._queues.put(block_id, level, (*health.good, *health.draining))
        if level is before:
            return
        if level in {Level.MISSING, Level.CORRUPT_ONLY}:
            self.logger.error("block cannot be read", block_id=block_id, why=level.name.lower())
        else:
            self.logger.debug("block has too few copies", block_id=block_id, queue=level.name.lower())

    def _drop(self, block_id: int) -> None:
        self._queues.drop(block_id)
        self._homes.forget(block_id)

    def _trim(self, block_id: int, record: BlockRecord, health: Health) -> None:
        """Order away what is more than enough; see ``permits`` for the last word."""
        if block_id in self._copies or len(health.sure) < health.target:
            return
        replicas = {replica.number: replica for replica in self._store.replicas(block_id)}
        for number in health.stale:
            self._order_away(number, block_id, replicas[number].generation, Why.STALE)
        for number in health.corrupt:
            self._order_away(number, block_id, replicas[number].generation, Why.CORRUPT)
        sure = list(health.sure)
        while len(sure) > health.target:
            leaver = self.moves.leaver(block_id)
            rows = [self._row(number) for number in sure]
            victim = next((row for row in rows if row.number == leaver), None) or most_dispensable(rows)
            if victim is None:
                return
            sure.remove(victim.number)
            self._order_away(victim.number, block_id, record.generation, Why.EXCESS)

    def _order_away(self, number: int, block_id: int, generation: int, why: Why) -> None:
        if self._deletions.add(number, block_id, generation, why, 0):
            self.logger.info("deletion wanted", block_id=block_id, datanode=number, why=why.value)

    def _row(self, number: int) -> DataNodeRow:
        node = self._nodes.get(number)
        assert node is not None, "a copy that counts is on a DataNode we know"
        return node.row

    def permits(self, number: int, block_id: int, order: Order) -> bool:
        """The last question before a deletion is sent: is it still right, by all we know now?"""
        record = self.metadata_manager.block(block_id)
        if order.why.of_garbage:
            return record is None and self.metadata_manager.allocated().has(block_id)
        self._again.append(block_id)
        if record is None or not record.complete or block_id in self._copies:
            return False
        health = self._examine(block_id, record)
        if len(health.sure) < health.target:
            return False
        replica = self._replica(block_id, number)
        if replica is None:
            return False
        if order.why is Why.EXCESS and health.one_domain and not self._is_in_theirs(number, health):
            return False
        if order.why is Why.STALE:
            return replica.generation < record.generation
        return replica.corrupt == (order.why is Why.CORRUPT)

    def _is_in_theirs(self, number: int, health: Health) -> bool:
        domain = self._nodes.domain
        return domain(self._row(number)) in {domain(self._row(other)) for other in health.good}

    def _replica(self, block_id: int, number: int) -> Replica | None:
        found = (replica for replica in self._store.replicas(block_id) if replica.number == number)
        return next(found, None)

    def movable(self, block_id: int, record: BlockRecord) -> tuple[int, ...]:
        """The holders of a block that has exactly the copies it should have, all sure; else none."""
        if block_id in self._copies:
            return ()
        health = self._examine(block_id, record)
        as_it_should = health.level is None and len(health.good) == health.target
        others = health.stale or health.corrupt or health.draining
        return health.good if as_it_should and health.good == health.sure and not others else ()

    def mending(self) -> bool:
        """Whether copies are missing that can be made, as far as noticed.

        A block that is badly placed lacks none: it is waited for while it is copied, since there may be no
        room where it should be.
        """
        lacking = (level for level in _WORKABLE if level is not Level.BADLY_PLACED)
        return bool(self._copies) or any(self._queues.at(level) for level in lacking)

    def settling(self) -> bool:
        """Whether copies are missing that can be made, or there are too many, as far as noticed."""
        return bool(self._surplus) or self.mending()

    # --- what happened --------------------------------------------------------------------------

    def arrived(self, number: int, block_ids: Iterable[int]) -> None:
        """A DataNode reported good copies."""
        if self._copies.idle and self.moves.idle:
            return
        for block_id in block_ids:
            copied = self._copies.arrived(block_id, number)
            moved = not copied and self.moves.arrived(block_id, number)
            self.tally.copied += copied
            self.tally.moved += moved
            if copied or moved:
                self.logger.info("block copied", block_id=block_id, datanode=number)

    def failed(self, block_id: int, number: int, now_ns: int) -> None:
        """A source reported that a target did not get its copy."""
        self.logger.warning("copy failed", block_id=block_id, datanode=number)
        self.tally.copies_failed += 1
        self._copies.failed(block_id, number, now_ns)
        self.moves.failed(block_id, number, now_ns)
        self._again.append(block_id)

    def lost(self, number: int) -> None:
        """A DataNode is late, dead, or another process: nothing is on its way from or to it."""
        self._again.extend(self._copies.lost(number))
        self.moves.lost(number)

    # --- orders ---------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> bool:
        """Give up on what took too long, and order what can be ordered; whether more waits."""
        for block_id, copy in self._copies.expire(now_ns):
            self.logger.warning(
                "copy took too long", block_id=block_id, source=copy.source, targets=copy.targets
            )
            self.tally.copies_failed += len(copy.targets)
            self._again.append(block_id)
        again, self._again = self._again[:_AGAIN], self._again[_AGAIN:]
        for block_id in again:
            self.check(block_id)
        # What may not be deleted now may be later, without any news of that block.
        for block_id in list(islice(self._surplus, _LOOKED_AT)):
            del self._surplus[block_id]
            self.check(block_id)
        self.schedule(now_ns)
        return bool(self._again)

    def schedule_soon(self, now_ns: int, number: int) -> None:
        """A DataNode fetches orders: choose some, unless that was done just now."""
        if self._queues and now_ns - self._scheduled_ns >= ns(self._policy.schedule_every_ms):
            self.schedule(now_ns, number)

    def schedule(self, now_ns: int, number: int = 0) -> None:
        """Choose sources and targets for the most urgent blocks, as far as DataNodes are free.

        Among the equally urgent, those that DataNode ``number`` has come first.
        """
        self._scheduled_ns = now_ns
        self._homes.at(now_ns)
        if self.stopped:
            return
        # Choosing takes time in proportion to the DataNodes there are; a pass should take a few ms.
        budget = max(_LOOKED_AT // 8, min(_LOOKED_AT, _CANDIDATES // (len(self._nodes) + 1)))
        for level in _WORKABLE:
            sources = self._queues.sources(level)
            if number in sources:
                sources = [number, *(source for source in sources if source != number)]
            left, begun = budget, len(self._copies)
            for source in sources:
                left -= self._schedule_from(level, source, left, now_ns)
                self._queues.was_asked(level, source)
                if left <= 0:
                    break
            if left <= 0 and len(self._copies) > begun:
                return  # there is more of these to do before anything less urgent

    def _schedule_from(self, level: Level, source: int, limit: int, now_ns: int) -> int:
        """Let one DataNode copy what it can; how many blocks were looked at."""
        urgent = level is Level.ONE_LEFT
        if not self._obeys(source) or source in self._copies.busy(urgent=urgent)[0]:
            return 0
        waiting = (block_id for block_id in self._queues.of(level, source) if block_id not in self._copies)
        looked_at = 0
        for block_id in list(islice(waiting, limit)):
            looked_at += 1
            self._schedule_one(block_id, now_ns, urgent=urgent)
            self._queues.had_its_turn(block_id)
            if source in self._copies.busy(urgent=urgent)[0]:
                break
        return looked_at

    def _schedule_one(self, block_id: int, now_ns: int, *, urgent: bool) -> bool:
        record = self.metadata_manager.block(block_id)
        if record is None or not record.complete:
            self._drop(block_id)
            return False
        health = self._examine(block_id, record)
        level = health.level
        if level not in _WORKABLE:
            self._file(block_id, health)
            return False
        busy_sources, busy_targets = self._copies.busy(urgent=urgent)
        holders = (*health.good, *health.draining)
        sources = [number for number in holders if number not in busy_sources and self._obeys(number)]
        if not sources:
            return False
        cut_from = {number: self._nodes.cut_from(number) for number in sources}
        beyond = frozenset.intersection(*cut_from.values())
        targets = self._targets(block_id, record, health, busy_targets | beyond)
        if not targets and beyond:  # what a DataNode says of others may be wrong
            targets = self._targets(block_id, record, health, busy_targets)
        if not targets:
            if health.lacking:
                self._homes.found_none(block_id)
            return False
        self._homes.forget(block_id)
        source = min(
            sources,
            key=lambda number: (not cut_from[number].isdisjoint(targets), self._row(number).load.streams),
        )
        deadline_ns = now_ns + ns(self._policy.copy_timeout_ms)
        copy = Copy(source, targets, record.generation, record.length_bytes, deadline_ns, urgent=urgent)
        self._copies.start(block_id, copy)
        self.logger.info(
            "copy wanted",
            block_id=block_id,
            source=source,
            targets=list(targets),
            why=f"{len(health.good)} of {health.target} copies, {level.name.lower()}",
        )
        return True

    def _obeys(self, number: int) -> bool:
        node = self._nodes.get(number)
        return node is not None and node.obeys

    def orders(self, number: int) -> list[dict[str, Any]]:
        """Copies a DataNode is to make, in its heartbeat's answer."""
        if self.stopped:
            return []
        found = []
        for block_id, copy in self._copies.unsent(number):
            targets = [self._nodes.get(target) for target in copy.targets]
            addresses = [(node.row.node_id, node.row.address) for node in targets if node is not None]
            if self.metadata_manager.block(block_id) is None or len(addresses) < len(targets):
                self._copies.drop(block_id)
                continue
            self._copies.sent(block_id)
            found.append(bodies.replicate(block_id, copy.generation, addresses, urgent=copy.urgent))
        return found

    def makes_copies(self, number: int) -> bool:
        """Whether a DataNode makes some, or is to: it can soon make more."""
        return self._copies.sends(number)

    # --- how it stands --------------------------------------------------------------------------

    def settled(self, blocks: Iterable[int]) -> None:
        """Look at these blocks again soon."""
        self._again.extend(blocks)

    def queued(self) -> int:
        """Blocks that lack copies, as far as noticed."""
        return len(self._queues)

    def copying(self) -> int:
        """Blocks on their way."""
        return len(self._copies)

    def counts(self) -> dict[str, int]:
        """Blocks by queue."""
        return self._queues.counts()
