"""The block manager's face: what the engine calls from its one thread. No call takes more than a few ms."""

from collections.abc import Iterable
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from esdfs.blocks import BlockLocation, DataNodeStatus
from esdfs.env import Clock, Rng
from esdfs.errors import IdentityConflict, InvalidRequest
from esdfs.namenode.blocks import bodies
from esdfs.namenode.blocks.balancing import Balancer
from esdfs.namenode.blocks.beat import next_heartbeat_ms
from esdfs.namenode.blocks.brake import Brake
from esdfs.namenode.blocks.datanodes import Change, DataNode, DataNodeTable
from esdfs.namenode.blocks.expected import Expected
from esdfs.namenode.blocks.farewell import Farewell
from esdfs.namenode.blocks.following import Following
from esdfs.namenode.blocks.garbage import Deletions
from esdfs.namenode.blocks.health import located
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.intake import Intake
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.neighbours import Neighbours
from esdfs.namenode.blocks.operating import Operating
from esdfs.namenode.blocks.placing import Placing
from esdfs.namenode.blocks.policy import Policy, from_config, ns
from esdfs.namenode.blocks.promises import Promises
from esdfs.namenode.blocks.racks import Racks
from esdfs.namenode.blocks.redundancy import BlockReplicator
from esdfs.namenode.blocks.releasing import Releasing
from esdfs.namenode.blocks.rows import Rows
from esdfs.namenode.blocks.scanning import Scanning
from esdfs.namenode.blocks.unplaced import Unplaced
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.events import DataNodeStateSet, Event

__all__ = ["BlockIndex", "BlockManager", "NeedsJournal"]


class NeedsJournal(Exception):
    """This DataNode has no number yet: journal ``DataNodeAdded``, then register it again."""

    def __init__(self, node_id: str, uuid: str) -> None:
        super().__init__(f"{node_id} has no number yet")
        self.node_id = node_id
        self.uuid = uuid


class BlockManager:
    """DataNodes, and where blocks are and should be. Soft state, filled by reports.

    Attributes:
        place, serving: See ``Placing``.
        racks: To be asked about a DataNode before it is registered.
        unplaced: What DataNodes hold beside what locations tell.
    """

    def __init__(
        self,
        config: NameNodeConfig,
        store: LocationsStore,
        index: BlockIndex,
        clock: Clock,
        rng: Rng,
        logger: FilteringBoundLogger,
        *,
        policy: Policy | None = None,
    ) -> None:
        self._policy = policy or from_config(config)
        self._store = store
        self._index = index
        self._clock = clock
        self._rng = rng
        self._log = logger
        now_ns = clock.monotonic_ns()
        self._nodes = DataNodeTable(self._policy)
        self._nodes.restore(store.datanodes().values(), now_ns)
        self._rows = Rows(store, self._nodes, clock)
        self._deletions = Deletions(self._policy)
        self._neighbours = Neighbours()
        self._promises = Promises()
        self._reign: int | None = index.epoch()  # the epoch it leads in
        self._brake = Brake(self._policy)
        self._cluster = index.cluster()
        expected = Expected(self._policy)
        self.replicator = BlockReplicator(
            index,
            logger,
            replication_factor=self._cluster.replication,
            store=store,
            nodes=self._nodes,
            deletions=self._deletions,
            expected=expected,
            promises=self._promises,
            policy=self._policy,
            rng=rng,
        )
        self.balancer = Balancer(
            index, store, self._nodes, self.replicator, self._promises, self._policy, logger
        )
        self._intake = Intake(
            index,
            store,
            self._nodes,
            self._deletions,
            self.replicator,
            self._policy,
            clock,
            logger,
            expected,
            self._on_confirmed,
        )
        self.unplaced = Unplaced(index, self._intake.futures, self._deletions, self._nodes, clock)
        self._operating = Operating(
            index,
            store,
            self._nodes,
            self.replicator,
            clock,
            logger,
            on_changed=self._changed,
            on_wish=lambda node: self._scanning.blocks_of(node.number),
            on_counted=lambda node: self._rows.changed(node.number),
        )
        self._following = Following(
            index,
            store,
            self._nodes,
            self._deletions,
            self._promises,
            self.replicator,
            expected,
            self._policy,
            clock,
            self._wanted,
        )
        self._releasing = Releasing(clock, self._following.release, lambda: self._deletions.has_room)
        self._scanning = Scanning(
            index,
            store,
            self._nodes,
            self.replicator,
            self._policy,
            clock,
            logger,
            on_stray=lambda block_id: self._releasing.add([block_id]),
        )
        self.replicator.stopped = self._why_stopped()
        placing = Placing(self._cluster, self._nodes, self._promises, self._policy, rng)
        self.place, self.serving = placing.place, placing.serving
        self.racks = Racks(config.topology, config.topology_script, clock, logger)
        self._farewell = Farewell(
            index, store, self._nodes, self._deletions, self.replicator, self._policy, logger
        )
        self._operating.restore()

    # --- DataNodes speak ------------------------------------------------------------------------

    def register(self, body: bytes) -> dict[str, Any]:
        """Take a DataNode in. Known to readers on return.

        Raises:
            NeedsJournal: It is new to the cluster.
            IdentityConflict: Another cluster's, another's name, an older process, or one on another
                host than one that lives.
            InvalidRequest: Not a registration.
        """
        told = bodies.decode(bodies.registration, body)
        if told.cluster_id and told.cluster_id != self._cluster.cluster_id:
            raise IdentityConflict(
                f"{told.node_id} has data of cluster {told.cluster_id}, this is {self._cluster.cluster_id}: "
                "point it at its own NameNodes"
            )
        self._nodes.vet(told, self._clock.monotonic_ns())
        number = self._index.number_of(told.node_id, told.uuid)
        if number is None:
            raise NeedsJournal(told.node_id, told.uuid)
        known = self._nodes.get(number)
        self._intake.futures.heard(told.highest_block_id, self._index.allocated())
        anew = known is not None and known.row.incarnation != told.incarnation
        if anew:
            self.replicator.settled(self._deletions.restarted(number))
            self.replicator.lost(number)
        self._intake.restarted(number, anew=anew)
        rack = self.racks.of(told.node_id, told.hostname, told.rack)
        now_ns, now_us = self._clock.monotonic_ns(), self._clock.wall_us()
        change = self._nodes.register(told, number, rack, now_ns, now_us)
        node = self._nodes.get(number)
        assert node is not None, "a registered DataNode is known"
        node.report_due_ns = node.heard_ns + ns(self._spread(self._policy.full_report_every_ms))
        self._rows.changed(number)
        if change is not None:
            self._operating.look(node)
            self._changed(change)
        self._rows.write()
        self._log.info("DataNode registered", node_id=told.node_id, number=number, uuid=told.uuid, rack=rack)
        return {
            "cluster_id": self._cluster.cluster_id,
            "number": number,
            "heartbeat_interval_ms": self._policy.heartbeat_interval_ms,
            "epoch": self._index.epoch(),
        }

    def heartbeat(self, node_id: str, body: bytes) -> dict[str, Any]:
        """A DataNode lives; the answer has its orders.

        Raises:
            UnknownDataNode: It has to register (again).
            IdentityConflict: A later process has taken its place.
        """
        told = bodies.decode(bodies.heartbeat, body)
        node = self._nodes.speaker(node_id, told.incarnation)
        now_ns = self._clock.monotonic_ns()
        if now_ns >= node.report_due_ns:
            node.wants_report = True
            node.report_due_ns = now_ns + ns(self._spread(self._policy.full_report_every_ms))
        rack = self.racks.by_now(node_id, node.row.hostname)
        if rack and rack != node.row.rack:
            self._nodes.stands(node, rack)
            self._scanning.blocks_of(node.number)
            self._log.info("rack learned", node_id=node_id, rack=rack)
        failed_before = node.row.failed_volumes
        change = self._nodes.heartbeat(node, told, now_ns, self._clock.wall_us())
        self._rows.changed(node.number)
        if change is not None:
            self._changed(change)
            self._rows.write()
        if node.row.failed_volumes > failed_before:
            self._log.error("disk failed", node_id=node_id, why="it said so")
        commands = self._orders(node, now_ns)
        return {
            "epoch": self._index.epoch(),
            "commands": commands,
            "full_report": node.wants_report,
            "peers": self._neighbours.due(node, self._nodes, now_ns),
            "next_ms": next_heartbeat_ms(self._policy, len(self._nodes), awaited=self._awaits(node)),
        }

    def _awaits(self, node: DataNode) -> bool:
        return not self.replicator.stopped and (
            self._nodes.losing or self.replicator.makes_copies(node.number)
        )

    def _orders(self, node: DataNode, now_ns: int) -> list[dict[str, Any]]:
        if self.replicator.stopped or not node.obeys:
            return []
        self.replicator.schedule_soon(now_ns, node.number)
        orders = self.replicator.orders(node.number) + self.balancer.orders(node.number)
        due = self._deletions.due(node.number, now_ns, self.replicator.permits)
        for block_id, generation in due:
            self._log.info("deletion ordered", block_id=block_id, datanode=node.number)
            orders.append(bodies.delete(block_id, generation))
        self.replicator.tally.deletions += len(due)
        return orders

    def report(self, node_id: str, body: bytes) -> dict[str, Any]:
        """A page of replicas: taken in on return, worked through soon.

        Raises:
            UnknownDataNode, IdentityConflict: As for a heartbeat.
            Overloaded: Later.
        """
        told = bodies.decode(bodies.report, body)
        node = self._nodes.speaker(node_id, told.incarnation)
        if told.size() > bodies.REPORT_ENTRIES_MAX:
            raise InvalidRequest(f"a page has at most {bodies.REPORT_ENTRIES_MAX} entries")
        idle = not self._intake.busy
        self._intake.accept(node, told)
        if idle:  # else the next tick is near, and the pages of many DataNodes come at once
            self._intake.work(self._deadline())
        return {"epoch": self._index.epoch()}

    @property
    def foreign_below(self) -> int:
        """See ``decide.Situation.foreign_below``."""
        return self._intake.futures.below

    # --- the engine asks ------------------------------------------------------------------------

    def on_committed(self, events: Iterable[Event]) -> None:
        """These happened, in this order; the index shows them."""
        self._scanning.total += self._following.on_committed(events)

    def on_released(self, block_ids: Iterable[int]) -> None:
        """No version that is kept names these blocks any more, and that is committed."""
        self._releasing.add(block_ids)

    def reloaded(self) -> None:
        """The index jumped to a later state: what happened in between is found by looking at everything."""
        self._operating.restore()
        self._scanning.everything()

    def locations(self, block_id: int) -> list[BlockLocation]:
        """Where a block can be read, its leader marked."""
        record = self._index.block(block_id)
        if record is None:
            return []
        return located(block_id, record.generation, self._store.replicas(block_id), self._nodes)

    # --- operators ------------------------------------------------------------------------------

    def recheck(self, *, begin: bool) -> dict[str, Any]:
        """Look at all blocks now, and ask every DataNode for a full report. Answers how it stands.

        ``busy``: Why it is not done yet; "" = all that can be mended is. ``left``: Blocks that lack copies.
        """
        if begin:
            for node in self._nodes:
                node.wants_report = node.wants_report or node.registered
            self._scanning.everything()
            self._log.info("everything is looked at", why="an operator asked for it")
        return self.status() | {"busy": self._busy(), "left": self.replicator.queued()}

    def _busy(self) -> str:
        if self.replicator.stopped:
            return self.replicator.stopped
        if any(node.wants_report and node.obeys for node in self._nodes):
            return "DataNodes are to report"
        if self._intake.busy:
            return "reports are being read"
        if self._scanning.walking:
            return "blocks are being looked at"
        return "copies are being made" if self.replicator.mending() else ""

    def resume_copies(self) -> dict[str, Any]:
        """Copy again after a mass failure: the DataNodes will not come back. Answers what stops it still."""
        if self._brake.reason:
            self._log.warning("copying goes on", why="an operator asked for it")
        self._brake.release(self._nodes)
        self.replicator.stopped = self._why_stopped()
        return {"copying_stopped": self._idle()}

    # --- time -----------------------------------------------------------------------------------

    def tick(self) -> bool:
        """Look at the clock and do a slice of waiting work; whether more waits."""
        now_ns = self._clock.monotonic_ns()
        changes = self._nodes.tick(now_ns, self._clock.wall_us())
        for change in changes:
            if change.before is DataNodeStatus.MAINTENANCE:
                self._operating.look(change.node)
            self._changed(change)
        if changes:
            self._rows.write()
        self._rows.tick(now_ns)
        if self._brake.tick(self._nodes, now_ns):
            self._log.error(
                "copying stopped" if self._brake.reason else "copying goes on", why=self._brake.reason
            )
        deadline_ns = self._deadline()
        more = self._intake.work(deadline_ns)
        more = self._releasing.work(deadline_ns) or more
        more = self._scanning.work(now_ns, deadline_ns) or more
        is_late = lambda: self._clock.monotonic_ns() >= deadline_ns  # noqa: E731 - one clock, one deadline
        more = self._operating.work(now_ns, is_late) or more
        self.replicator.stopped = self._why_stopped()
        more = self.balancer.tick(now_ns) or more
        return self.replicator.tick(now_ns) or more or self._scanning.behind

    def _on_confirmed(self, number: int) -> None:
        self._scanning.confirmed(number)

    def leads(self, leading: bool) -> None:
        """Only the leader's orders are obeyed, so only it gives any."""
        # By the epoch: who is elected again may never have known that another led meanwhile.
        reign = self._index.epoch() if leading else None
        if reign == self._reign:
            return
        if leading:
            # What our predecessor ordered may still happen: no report made before is trusted.
            self._nodes.doubt(self._clock.monotonic_ns(), self._rng)
        self.balancer.forget(self._clock.monotonic_ns())
        self._reign = reign
        self.unplaced.leads = leading
        self.replicator.stopped = self._why_stopped()

    def _why_stopped(self) -> str:
        if self._reign is None:
            return "another NameNode leads"
        return f"safe mode: {unsafe}" if (unsafe := self._scanning.unsafe) else self._brake.reason

    def _idle(self) -> str:
        """Why no copies are made or deleted; empty = they are."""
        ours, theirs = self._index.epoch(), self._intake.obeyed_epoch
        if self._reign is not None and theirs > ours:
            return (
                f"DataNodes obey a leader of epoch {theirs}, this one's is {ours}: another NameNode leads, or"
                " this one's journal went back in time (then stop it and run esdfs namenode force-standalone)"
            )
        return self.replicator.stopped

    def _changed(self, change: Change) -> None:
        node, before, why = change
        number = node.number
        self._rows.changed(number)
        self._log.warning(
            "DataNode status",
            node_id=node.row.node_id,
            before=before.value if before else None,
            now=node.status.value,
            why=why,
        )
        if node.status in {DataNodeStatus.DEAD, DataNodeStatus.INACTIVE}:
            self.replicator.lost(number)
        if node.status is DataNodeStatus.DEAD:
            self._deletions.dead(number)
        if {DataNodeStatus.DEAD, DataNodeStatus.MAINTENANCE} & {node.status, before}:
            # All its copies stopped to count, or count again.
            self._scanning.blocks_of(number)

    def _wanted(self, wish: DataNodeStateSet) -> None:
        self._operating.apply(wish)
        self._rows.write()  # whoever is told that it is so may look next

    def cleanup(self) -> None:
        """Ask again for what is overdue; forget DataNodes that are dead for long and hold nothing needed."""
        now_ns = self._clock.monotonic_ns()
        again = (
            self._deletions.overdue(now_ns) | self._intake.disappointed(now_ns) | self._intake.reconsider()
        )
        for number in sorted(again):
            node = self._nodes.get(number)
            if node is not None and node.obeys and not node.wants_report:
                node.wants_report = True
                self._log.info("full report wanted", node_id=node.row.node_id, why="an answer is overdue")
        self._farewell.tick(now_ns)

    def _spread(self, every_ms: int) -> int:
        """Between a half and the whole of it, so that DataNodes do not all come at once."""
        return every_ms - int(every_ms * self._rng.random() / 2)

    def _deadline(self) -> int:
        return self._clock.monotonic_ns() + ns(self._policy.slice_ms)

    # --- how it stands --------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For people and metrics: DataNodes by status, blocks by state, what waits, and what stopped."""
        queues = self.replicator.counts()
        return {
            "safe_mode": bool(self._scanning.unsafe),
            "safe_mode_reason": self._scanning.unsafe,
            "copying_stopped": self._idle(),
            "datanodes": self._nodes.by_status(),
            "blocks": {
                "total": self._scanning.total,
                "under_replicated": queues["one_left"] + queues["far_below"] + queues["below"],
                "missing": queues["missing"],
                "corrupt": queues["corrupt_only"],
                "pending": self.replicator.copying(),
            },
            "queues": {
                **queues,
                **self._deletions.counts(self._nodes.counts),
                "reports": len(self._intake),
                "writing": len(self._promises),
                "released": len(self._releasing),
            },
            "done": msgspec.structs.asdict(self.replicator.tally),
            **self.unplaced.status(),
        }

    def close(self) -> None:
        """Leave the newest rows to the next process."""
        self._rows.write()
        self._store.close()
