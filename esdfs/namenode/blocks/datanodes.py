"""Who the DataNodes are, and which of them live. Pure: time comes in as arguments."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from esdfs.blocks import DataNodeStatus
from esdfs.env import Rng
from esdfs.errors import IdentityConflict, InvalidRequest, UnknownDataNode
from esdfs.namenode.blocks.bodies import Heartbeat, Registration
from esdfs.namenode.blocks.locations import DataNodeRow
from esdfs.namenode.blocks.policy import Policy, ns

_ALIVE = frozenset({DataNodeStatus.ACTIVE, DataNodeStatus.INACTIVE, DataNodeStatus.MAINTENANCE})


class DataNode:
    """What is known of one DataNode beyond its row.

    Attributes:
        heard_ns: Its last sign of life.
        registered: Since this NameNode started: it will fetch orders.
        confirmed: Its replicas are as it said in a full report since it registered.
        wants_report: A full report is to be asked of it.
        report_due_ns: When to ask for the next regular full report.
        lost_ns: Since when it is dead.
        long_dead: It was dead already when this NameNode started.
        maintenance_until_ns: An operator's promise; 0 = none.
        told_seq: The number of its newest report.
    """

    def __init__(self, row: DataNodeRow, heard_ns: int, *, registered: bool) -> None:
        self.row = row
        self.heard_ns = heard_ns
        self.registered = registered
        self.confirmed = False
        self.wants_report = registered
        self.lost_ns = heard_ns if row.status is DataNodeStatus.DEAD else 0
        self.long_dead = row.status is DataNodeStatus.DEAD
        self.report_due_ns = 0
        self.maintenance_until_ns = 0
        self.told_seq = 0

    @property
    def number(self) -> int:
        """Its short name."""
        return self.row.number

    @property
    def status(self) -> DataNodeStatus:
        """What we think of it."""
        return self.row.status

    @property
    def counts(self) -> bool:
        """Whether its replicas count as copies."""
        return self.row.status in _ALIVE

    @property
    def obeys(self) -> bool:
        """Whether it can be expected to fetch an order soon."""
        return self.registered and self.row.status in {DataNodeStatus.ACTIVE, DataNodeStatus.MAINTENANCE}


class Change(NamedTuple):
    """A DataNode's status changed; ``before`` is None when it is new."""

    node: DataNode
    before: DataNodeStatus | None
    why: str


class DataNodeTable:
    """All DataNodes, by number and by name."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._by_number: dict[int, DataNode] = {}
        self._by_id: dict[str, DataNode] = {}
        self._ticked_ns: int | None = None

    def __iter__(self) -> Iterator[DataNode]:
        return iter(self._by_number.values())

    def __len__(self) -> int:
        return len(self._by_number)

    def get(self, number: int) -> DataNode | None:
        """By number."""
        return self._by_number.get(number)

    def named(self, node_id: str) -> DataNode | None:
        """By name."""
        return self._by_id.get(node_id)

    def counts(self, number: int) -> bool:
        """Whether replicas on this DataNode count as copies."""
        node = self._by_number.get(number)
        return node is not None and node.counts

    def by_status(self) -> dict[str, int]:
        """How many are in each status."""
        found = Counter(node.status.value for node in self)
        return {status.value: found[status.value] for status in DataNodeStatus}

    def restore(self, rows: Iterable[DataNodeRow], now_ns: int) -> None:
        """Take over what an earlier process knew: as it was, and heard of just now."""
        for row in rows:
            self._add(DataNode(row, now_ns, registered=False))

    def _add(self, node: DataNode) -> None:
        self._by_number[node.number] = node
        self._by_id[node.row.node_id] = node

    def vet(self, body: Registration) -> None:
        """Refuse who must not register.

        Raises:
            InvalidRequest: Not an identity or an address.
            IdentityConflict: Other disks under a known name, or an older process than the one we know.
        """
        if not body.node_id or not body.uuid or not body.hostname or not 0 < body.port < 65536:
            raise InvalidRequest("node_id, uuid, hostname and a port between 1 and 65535 are needed")
        known = self._by_id.get(body.node_id)
        if known is None:
            return
        if known.row.uuid != body.uuid:
            raise IdentityConflict(
                f"{body.node_id} is known with uuid {known.row.uuid}: choose another node id for these disks"
            )
        if body.incarnation < known.row.incarnation and known.status is not DataNodeStatus.DEAD:
            raise IdentityConflict(
                f"a later process runs {body.node_id} (incarnation {known.row.incarnation}): stop one of them"
            )

    def register(self, body: Registration, number: int, now_ns: int, now_us: int) -> Change | None:
        """Take a DataNode in, or in again. None when its status and process are as they were."""
        self.vet(body)
        known = self._by_number.get(number)
        keeps = known is not None and known.status is DataNodeStatus.MAINTENANCE
        row = DataNodeRow(
            number=number,
            node_id=body.node_id,
            uuid=body.uuid,
            incarnation=body.incarnation,
            hostname=body.hostname,
            port=body.port,
            local_socket=body.local_socket,
            status=DataNodeStatus.MAINTENANCE if keeps else DataNodeStatus.ACTIVE,
            storage_capacity=body.storage_capacity,
            available_space=body.available_space,
            used_bytes=body.used_bytes,
            last_heartbeat_us=now_us,
            blocks_stored=body.blocks_stored,
            failed_volumes=sum(volume.failed for volume in body.volumes),
            slow_volumes=sum(volume.slow for volume in body.volumes),
            volumes=body.volumes,
        )
        node = DataNode(row, now_ns, registered=True)
        node.told_seq = body.seq
        if known is not None and known.row.incarnation == body.incarnation:
            node.told_seq = max(known.told_seq, body.seq)
        if known is not None:
            node.maintenance_until_ns = known.maintenance_until_ns
        self._add(node)
        if known is None:
            return Change(node, None, "registered for the first time here")
        if known.status is not row.status:
            return Change(node, known.status, "registered again")
        return None

    def speaker(self, node_id: str, incarnation: int) -> DataNode:
        """Who speaks.

        Raises:
            UnknownDataNode: It has to register (again).
            IdentityConflict: A later process has taken its place.
        """
        node = self._by_id.get(node_id)
        if node is None or not node.registered or incarnation > node.row.incarnation:
            raise UnknownDataNode(f"{node_id} is not registered here: register first", node_id=node_id)
        if incarnation < node.row.incarnation:
            raise IdentityConflict(
                f"a later process runs {node_id} (incarnation {node.row.incarnation}): stop one of them"
            )
        return node

    def heartbeat(self, node: DataNode, body: Heartbeat, now_ns: int, now_us: int) -> Change | None:
        """A sign of life."""
        before = node.status
        keeps = before is DataNodeStatus.MAINTENANCE
        node.heard_ns = now_ns
        node.row = msgspec.structs.replace(
            node.row,
            status=before if keeps else DataNodeStatus.ACTIVE,
            storage_capacity=body.storage_capacity,
            available_space=body.available_space,
            used_bytes=body.used_bytes,
            last_heartbeat_us=now_us,
            blocks_stored=body.blocks_stored,
            failed_volumes=sum(volume.failed for volume in body.volumes),
            slow_volumes=sum(volume.slow for volume in body.volumes),
            volumes=body.volumes,
            load=body.load,
            peers=body.peers,
        )
        if before is node.status:
            return None
        if before is DataNodeStatus.DEAD:
            # What it had when it was last heard of is not what it has now.
            node.confirmed = False
            node.wants_report = True
        return Change(node, before, "heard of again")

    def doubt(self, now_ns: int, rng: Rng) -> None:
        """What they said so far justifies no deletion any more; they are asked again, one by one."""
        for node in self:
            node.confirmed = False
            due_ns = now_ns + int(ns(self._policy.takeover_report_ms) * rng.random())
            node.report_due_ns = min(node.report_due_ns, due_ns)

    def maintain(self, number: int, until_ns: int, now_ns: int) -> Change | None:
        """Set MAINTENANCE until then, or (0) end it: silence is expected, new blocks are not sent."""
        node = self._by_number[number]
        before = node.status
        node.maintenance_until_ns = until_ns
        if until_ns:
            return self._set(node, DataNodeStatus.MAINTENANCE, "set by an operator")
        if before is DataNodeStatus.MAINTENANCE:
            return self._set(node, self._by_age(node, now_ns), "maintenance ended")
        return None

    def tick(self, now_ns: int) -> list[Change]:
        """Who became late, or too late, since the last time."""
        if self._ticked_ns is not None:
            gap_ns = now_ns - self._ticked_ns
            if gap_ns > ns(self._policy.pause_ms):
                # We were the ones who slept: what they said meanwhile may not have been read yet.
                for node in self:
                    node.heard_ns = min(now_ns, node.heard_ns + gap_ns)
        self._ticked_ns = now_ns
        changes = []
        for node in self:
            if node.status is DataNodeStatus.MAINTENANCE:
                if now_ns < node.maintenance_until_ns:
                    continue
                change = self._set(node, self._by_age(node, now_ns), "maintenance ended by its deadline")
            elif node.status is DataNodeStatus.DEAD:
                continue
            else:
                age_ms = (now_ns - node.heard_ns) // 1_000_000
                status = self._by_age(node, now_ns)
                if status is DataNodeStatus.ACTIVE:
                    continue
                change = self._set(node, status, f"no heartbeat for {age_ms} ms")
            if change is not None:
                changes.append(change)
        return changes

    def _by_age(self, node: DataNode, now_ns: int) -> DataNodeStatus:
        age_ns = now_ns - node.heard_ns
        if age_ns >= ns(self._policy.dead_after_ms):
            return DataNodeStatus.DEAD
        if age_ns >= ns(self._policy.inactive_after_ms):
            return DataNodeStatus.INACTIVE
        return DataNodeStatus.ACTIVE

    def _set(self, node: DataNode, status: DataNodeStatus, why: str) -> Change | None:
        before = node.status
        if before is status:
            return None
        node.row = msgspec.structs.replace(node.row, status=status)
        if status is DataNodeStatus.DEAD:
            node.lost_ns = node.heard_ns + ns(self._policy.dead_after_ms)
        return Change(node, before, why)

    def forget(self, number: int) -> None:
        """Drop a DataNode; should it come back, it registers under its old number."""
        node = self._by_number.pop(number)
        del self._by_id[node.row.node_id]
