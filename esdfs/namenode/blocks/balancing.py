"""Moving blocks from full DataNodes to empty ones, when an operator wants it. Soft: a failover ends it."""

from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from esdfs.blocks import DataNodeStatus
from esdfs.namenode.blocks import evenness, moves
from esdfs.namenode.blocks.copies import Copy
from esdfs.namenode.blocks.datanodes import DataNode, DataNodeTable
from esdfs.namenode.blocks.evenness import Round, Share
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.laps import Lap
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.placement import candidates
from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.blocks.promises import Promises
from esdfs.namenode.blocks.redundancy import BlockReplicator
from esdfs.namenode.frames import Balance

UNDER_WAY_MAX: Final = 1_000
"""Moves at a time, in the whole cluster."""

_LOOKED_AT: Final = 64
"""Blocks considered in one tick: each costs a few reads."""

_CALM_HEARTBEATS: Final = 3
"""Nothing changed for so long: all have said how full they are since."""

_RESTLESS_MS: Final = 120_000

_STUCK: Final = (
    "no block of the fuller DataNodes can go to an emptier one: those have a copy of it, or no room, or "
    "copies would be closer together, or blocks are too large for this threshold"
)


class Wish:
    """What an operator asked for.

    Attributes:
        threshold: A part of a DataNode's capacity.
        bytes_per_s: Each DataNode sends at most so much.
    """

    __slots__ = ("bytes_per_s", "threshold")

    def __init__(self, threshold: float, bytes_per_s: int) -> None:
        self.threshold = threshold
        self.bytes_per_s = bytes_per_s


class Balancer:
    """Chooses blocks to move until no DataNode is too full or too empty, or says why it cannot.

    A block moves only while it lacks nothing and has nothing to spare, each of its copies sure; the target
    has none of it and takes new blocks, and its copies are no closer together than before. Making missing
    copies comes first. Every step may be the last: see `moves`.
    """

    def __init__(
        self,
        index: BlockIndex,
        store: LocationsStore,
        nodes: DataNodeTable,
        replicator: BlockReplicator,
        promises: Promises,
        policy: Policy,
        logger: FilteringBoundLogger,
    ) -> None:
        self._index = index
        self._store = store
        self._nodes = nodes
        self._replicator = replicator
        self._moves = replicator.moves
        self._promises = promises
        self._policy = policy
        self._log = logger
        self._wish: Wish | None = None
        self._state = "off"
        self._why = "nobody asked for it"
        self._ended_ns: int | None = None
        self._ended_spread: float | None = None
        self._laps: dict[int, Lap] = {}
        self._calm_since_ns: int | None = None
        self._restless_since_ns: int | None = None

    # --- operators ------------------------------------------------------------------------------

    def ask(self, wanted: Balance, now_ns: int) -> dict[str, Any]:
        """Do what an operator asks for; answers the status then."""
        match wanted.action:
            case "start":
                self.start(wanted.threshold, wanted.bytes_per_s)
            case "stop":
                self.stop(now_ns)
            case "status":
                pass
        return self.status()

    def start(self, threshold: float, bytes_per_s: int = 0) -> None:
        """Balance from now on; what ran before goes on with these numbers. 0 = the usual rate."""
        rate = bytes_per_s or self._policy.balance_bytes_per_s
        if self._wish is None:
            self._moves.begin()
        self._moves.limit(rate)
        self._wish = Wish(threshold, rate)
        self._state, self._why = "running", ""
        self._calm_since_ns = self._restless_since_ns = None
        self._laps.clear()
        self._log.info("balancing", threshold=threshold, bytes_per_s=rate)

    def stop(self, now_ns: int) -> None:
        """Begin no further moves, and wait for none."""
        self._moves.cancel()
        if self._wish is not None:
            self._end("stopped", "an operator stopped it", now_ns)

    def forget(self, now_ns: int) -> None:
        """This NameNode begins to lead, or no longer does: whatever was wanted here is of before."""
        self._moves.cancel()
        self._end("off", "nobody asked for it since this NameNode leads", now_ns)
        self._ended_ns = self._ended_spread = None

    def _end(self, state: str, why: str, now_ns: int) -> None:
        self._wish = None
        self._ended_ns = now_ns
        self._state, self._why = state, why
        self._ended_spread = evenness.spread(self._shares({}))
        self._log.info(
            "balancing", state=state, why=why, spread=self._ended_spread, moved_bytes=self._moves.moved_bytes
        )

    def status(self) -> dict[str, Any]:
        """For people: how uneven it is, what was moved and what is to be moved."""
        said, coming = self._shares({}), self._moves.coming_bytes()
        wish = self._wish
        threshold = wish.threshold if wish else self._policy.balance_threshold
        return {
            "state": self._state,
            "why": self._why or self._replicator.stopped or self._waits(),
            "threshold": threshold,
            "bytes_per_s": wish.bytes_per_s if wish else self._policy.balance_bytes_per_s,
            "spread": evenness.spread(said),
            "ended_spread": self._ended_spread,  # clients write on: it may differ from now
            "use": evenness.cluster_use(said),
            "to_go_bytes": evenness.to_go_bytes(said, threshold) if threshold else 0,
            "moved_blocks": self._moves.moved_blocks,
            "moved_bytes": self._moves.moved_bytes,
            "moving_blocks": self._moves.copying(),
            "datanodes": [
                {
                    "node_id": node.row.node_id,
                    "used_bytes": share.used_bytes,
                    "capacity_bytes": share.capacity_bytes,
                    "use": share.use,
                    "coming_bytes": coming.get(share.number, 0),
                }
                for share in sorted(said)
                if (node := self._nodes.get(share.number)) is not None
            ],
        }

    def orders(self, number: int) -> list[dict[str, Any]]:
        """Transfers a DataNode is to make, in its heartbeat's answer."""
        return self._moves.orders(number, self._known) if self._moves else []

    def _known(self, block_id: int) -> bool:
        return self._index.block(block_id) is not None

    # --- time -----------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> bool:
        """Follow what moves and choose what moves next; whether there is more to choose at once."""
        for block_id in self._moves.tick(now_ns, self._has):
            self._log.warning("move took too long", block_id=block_id)
            self._replicator.tally.copies_failed += 1
        if self._replicator.stopped:
            return False
        if self._wish is None:
            self._start_unasked(now_ns)
            return False
        calm = self._is_calm(now_ns)
        shares = self._shares(self._moves.coming_bytes())
        if evenness.spread(shares) <= self._wish.threshold:
            # What is under way counts as done in there; it is over when it really is.
            over = not self._moves and evenness.spread(self._shares({})) <= self._wish.threshold
            if over and calm:
                self._end("balanced", "", now_ns)
            return False
        if self._replicator.copying() or len(self._moves) >= UNDER_WAY_MAX:
            return False
        return self._choose(shares, self._wish, now_ns, calm=calm)

    def _is_calm(self, now_ns: int) -> bool:
        """Whether what DataNodes last said is how it is: no copies are made or trimmed, nobody is silent.

        Copies that are trimmed for ever (their DataNode cannot be asked) are not waited for to the end.
        """
        if self._missing() or self._replicator.settling():
            self._calm_since_ns = None
            if self._restless_since_ns is None:
                self._restless_since_ns = now_ns
            return not self._missing() and now_ns - self._restless_since_ns >= ns(_RESTLESS_MS)
        self._restless_since_ns = None
        if self._calm_since_ns is None:
            self._calm_since_ns = now_ns
        return now_ns - self._calm_since_ns >= _CALM_HEARTBEATS * ns(self._policy.heartbeat_interval_ms)

    def _start_unasked(self, now_ns: int) -> None:
        threshold = self._policy.balance_threshold
        if not threshold or self._moves:
            return
        if self._ended_ns is not None and now_ns - self._ended_ns < ns(self._policy.balance_pause_ms):
            return
        if evenness.spread(self._shares({})) > threshold:
            self.start(threshold)

    def _choose(self, shares: list[Share], wish: Wish, now_ns: int, *, calm: bool) -> bool:
        looked_at = 0
        around = Round(shares, wish.threshold, self._room())
        givers = evenness.sources(shares, wish.threshold)
        for number in (giver.number for giver in givers):
            lap = self._laps.setdefault(number, Lap())
            if lap.rests(now_ns) or not self._obeys(number):
                continue
            if number in self._moves.busy()[0] or not around.takers(number):
                continue
            # Who is busy with moves now, or not sure of its copies, can move something later.
            lap.undisturbed = lap.undisturbed and calm and not self._moves
            page = self._store.blocks_of(number, after=lap.after, limit=_LOOKED_AT - looked_at)
            if not page:
                lap.end(now_ns, ns(self._policy.heartbeat_interval_ms))
            for block_id in page:
                lap.after = block_id
                looked_at += 1
                if self._move(block_id, number, around, wish, now_ns):
                    lap.found = True
                    if number in self._moves.busy()[0] or not around.takers(number):
                        break
            if looked_at >= _LOOKED_AT:
                return True
        if self._moves or not calm:
            return False
        if all(self._hopeless(giver.number, around, now_ns) for giver in givers):
            self._end("stuck", _STUCK, now_ns)
            return False
        return looked_at > 0

    def _hopeless(self, number: int, around: Round, now_ns: int) -> bool:
        return self._laps.setdefault(number, Lap()).fruitless(now_ns) or not around.takers(number)

    def _move(self, block_id: int, source: int, around: Round, wish: Wish, now_ns: int) -> bool:
        """Start to move a block away from a DataNode, if that is right and helps."""
        if block_id in self._moves:
            return False
        record = self._index.block(block_id)
        if record is None or not record.complete:
            return False
        holders = self._replicator.movable(block_id, record)
        if source not in holders:
            return False
        size_bytes = record.length_bytes
        others = [number for number in holders if number != source]
        fit = around.fitting(source, size_bytes, self._policy.reserve_bytes)
        never = {*others, *self._moves.avoid(block_id, fit), *self._moves.busy()[1]}
        target = next((n for n in fit if n not in never and self._suits(block_id, source, n, others)), None)
        if target is None:
            return False
        waiting = size_bytes + self._moves.waiting_bytes(source)
        deadline_ns = moves.deadline_ns(now_ns, self._policy, waiting, wish.bytes_per_s)
        copy = Copy(source, (target,), record.generation, size_bytes, deadline_ns)
        self._moves.start(block_id, copy, deadline_ns + ns(moves.LEAVING_MS))
        around.moves(source, target, size_bytes)
        self._log.debug("move wanted", block_id=block_id, source=source, target=target)
        return True

    def _room(self) -> dict[int, int]:
        """Bytes that the DataNodes which take new blocks have left."""
        among = candidates(self._nodes, scheduled=dict(self._promises.by_node), size_bytes=0, reserve_bytes=0)
        return {candidate.number: candidate.available_bytes for candidate in among}

    def _suits(self, block_id: int, source: int, target: int, others: list[int]) -> bool:
        return not self._has(block_id, target) and self._keeps_apart(source, target, others)

    def _keeps_apart(self, source: int, target: int, others: list[int]) -> bool:
        """Whether the copies are on as many hosts and racks after the move as before."""
        before, after = ([self._place(number) for number in (first, *others)] for first in (source, target))
        return all(
            len({place[of] for place in after}) >= len({place[of] for place in before}) for of in (0, 1)
        )

    def _place(self, number: int) -> tuple[str, str]:
        """(host, rack)."""
        node = self._nodes.get(number)
        return ("", "") if node is None else (node.row.hostname, node.row.rack)

    def _obeys(self, number: int) -> bool:
        node = self._nodes.get(number)
        return node is not None and node.obeys

    def _has(self, block_id: int, number: int) -> bool:
        return any(replica.number == number for replica in self._store.replicas(block_id))

    def _waits(self) -> str:
        missing = self._missing() if self._wish else []
        return f"nothing was heard of {', '.join(missing)} for a while" if missing else ""

    def _missing(self) -> list[str]:
        """DataNodes that take part and are silent: they are back soon, or dead soon."""
        return sorted(node.row.node_id for node in self._taking_part() if not node.obeys)

    def _taking_part(self) -> list[DataNode]:
        alive = {DataNodeStatus.ACTIVE, DataNodeStatus.INACTIVE}
        return [
            node
            for node in self._nodes
            if node.status in alive and not node.drains and node.row.storage_capacity
        ]

    def _shares(self, coming: dict[int, int]) -> list[Share]:
        return [
            Share(
                node.number,
                max(0, node.row.used_bytes + coming.get(node.number, 0)),
                node.row.storage_capacity,
            )
            for node in self._taking_part()
        ]
