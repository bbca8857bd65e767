"""Who the DataNodes are, and which of them live. Pure: time comes in as arguments."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from esdfs.blocks import DataNodeStatus
from esdfs.env import Rng
from esdfs.errors import IdentityConflict, UnknownDataNode
from esdfs.namenode.blocks.admin import Admin
from esdfs.namenode.blocks.bodies import Heartbeat, Registration
from esdfs.namenode.blocks.locations import DataNodeRow
from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.blocks.slowness import slow_by_load
from esdfs.namenode.events import DataNodeStateSet
from esdfs.namenode.namespace.datanode_states import DECOMMISSIONING, MAINTENANCE, holds

MAINTAINED: Final = DataNodeStatus.MAINTENANCE


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
        late: Nothing was heard of it for as long as makes a DataNode INACTIVE.
        wish: What an operator last wanted of it, also when that no longer holds.
        told_seq: The number of its newest report.
        unreached: Names of those it last said it does not reach.
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
        self.late = False
        self.wish: DataNodeStateSet | None = None
        self.told_seq = 0
        self.unreached: frozenset[str] = frozenset()

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
        return self.row.status is not DataNodeStatus.DEAD

    @property
    def obeys(self) -> bool:
        """Whether it can be expected to fetch an order soon."""
        if self.row.status is DataNodeStatus.MAINTENANCE:
            return self.registered and not self.late
        return self.registered and self.row.status is DataNodeStatus.ACTIVE

    @property
    def drains(self) -> bool:
        """Whether it is being, or was, decommissioned: its copies are read, and made anew elsewhere."""
        return self.wish is not None and self.wish.state == DECOMMISSIONING

    @property
    def serves(self) -> bool:
        """Whether new copies may go to it."""
        return self.registered and self.row.status is DataNodeStatus.ACTIVE and not self.drains

    def rests(self, now_us: int) -> bool:
        """Whether an operator said that it may be silent now."""
        return self.wish is not None and self.wish.state == MAINTENANCE and holds(self.wish, now_us)

    def show(self, admin: Admin) -> None:
        """What an operator wants of it, and how far that is."""
        self.row = msgspec.structs.replace(self.row, admin=admin)


class _Domains(NamedTuple):
    by_rack: bool
    domains: frozenset[str]


class Change(NamedTuple):
    """A DataNode's status changed; ``before`` is None when it is new."""

    node: DataNode
    before: DataNodeStatus | None
    why: str


class DataNodeTable:
    """All DataNodes, by number and by name.

    Attributes:
        losing: One is about to be dead, or just was declared so: many copies may be missing any moment.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._by_number: dict[int, DataNode] = {}
        self._by_id: dict[str, DataNode] = {}
        self._wishes: dict[int, DataNodeStateSet] = {}
        self._domains: _Domains | None = None
        self._ticked_ns: int | None = None
        self.losing = False

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

    @property
    def domains(self) -> frozenset[str]:
        """Racks where new copies may be put; hosts, while there is one rack. Blocks are in two of them."""
        return self._spread().domains

    @property
    def by_rack(self) -> bool:
        """Whether `domains` are racks."""
        return self._spread().by_rack

    def domain(self, row: DataNodeRow) -> str:
        """That of a DataNode, whether it may get new copies or not."""
        return row.rack if self._spread().by_rack else row.hostname

    def _spread(self) -> "_Domains":
        if self._domains is None:
            rows = [node.row for node in self if node.serves]
            racks = frozenset(row.rack for row in rows)
            by_rack = len(racks) > 1
            self._domains = _Domains(by_rack, racks if by_rack else frozenset(row.hostname for row in rows))
        return self._domains

    def cut_from(self, number: int) -> frozenset[int]:
        """Those a DataNode last said it does not reach."""
        node = self._by_number.get(number)
        if node is None or not node.unreached:
            return frozenset()
        return frozenset(
            other.number for name in node.unreached if (other := self._by_id.get(name)) is not None
        )

    @property
    def slow(self) -> frozenset[int]:
        """Those far slower than the others at making bytes durable or at serving them, as they last said."""
        loads = {node.number: node.row.load for node in self if node.serves}
        return slow_by_load(loads, factor=self._policy.slow_factor, floor_ms=self._policy.slow_ms)

    def by_status(self) -> dict[str, int]:
        """How many are in each status."""
        found = Counter(node.status.value for node in self)
        return {status.value: found[status.value] for status in DataNodeStatus}

    def restore(self, rows: Iterable[DataNodeRow], now_ns: int) -> None:
        """Take over what an earlier process knew: as it was, and heard of just now."""
        for row in rows:
            self._add(DataNode(row, now_ns, registered=False))

    def _add(self, node: DataNode) -> None:
        node.wish = self._wishes.get(node.number)
        self._domains = None
        self._by_number[node.number] = node
        self._by_id[node.row.node_id] = node

    def vet(self, body: Registration, now_ns: int) -> None:
        """Refuse who must not register.

        On one host a later process takes over at once: it holds the locks of the volumes. From another host
        it may speak for a copy of them, so the one that is alive stays.

        Raises:
            IdentityConflict: Other disks under a known name, an older process than the one we know, or one
                on another host than a living one.
        """
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
        silent_ns = now_ns - known.heard_ns
        is_elsewhere = known.registered and body.hostname != known.row.hostname
        if is_elsewhere and silent_ns < ns(self._policy.inactive_after_ms):
            raise IdentityConflict(
                f"{body.node_id} is alive at {known.row.address}, heard of {silent_ns // 10**6} ms ago: stop "
                f"it there, and start this one {self._policy.inactive_after_ms / 1000:g} s later"
            )

    def register(self, body: Registration, number: int, rack: str, now_ns: int, now_us: int) -> Change | None:
        """Take a DataNode in, or in again. None when its status and process are as they were."""
        self.vet(body, now_ns)
        known = self._by_number.get(number)
        wish = self._wishes.get(number)
        rests = wish is not None and wish.state == MAINTENANCE and holds(wish, now_us)
        why = "registered for the first time here" if known is None else "registered again"
        if known is not None and known.status is (MAINTAINED if rests else DataNodeStatus.ACTIVE):
            why = known.row.status_why
        row = DataNodeRow(
            number=number,
            node_id=body.node_id,
            uuid=body.uuid,
            incarnation=body.incarnation,
            hostname=body.hostname,
            port=body.port,
            local_socket=body.local_socket,
            rack=rack,
            status=MAINTAINED if rests else DataNodeStatus.ACTIVE,
            status_why=why,
            admin=Admin() if known is None else known.row.admin,
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
        self._add(node)
        if known is None:
            return Change(node, None, why)
        return Change(node, known.status, why) if known.status is not row.status else None

    def stands(self, node: DataNode, rack: str) -> None:
        """It is known by now where."""
        node.row = msgspec.structs.replace(node.row, rack=rack)
        self._domains = None

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
        node.late = False
        node.unreached = frozenset(peer.node_id for peer in body.peers if not peer.reachable)
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
        self._domains = None
        if before is DataNodeStatus.DEAD:
            _distrust(node)
        node.row = msgspec.structs.replace(node.row, status_why="heard of again")
        return Change(node, before, "heard of again")

    def doubt(self, now_ns: int, rng: Rng) -> None:
        """What they said so far justifies no deletion any more; they are asked again, one by one."""
        for node in self:
            node.confirmed = False
            due_ns = now_ns + int(ns(self._policy.takeover_report_ms) * rng.random())
            node.report_due_ns = min(node.report_due_ns, due_ns)

    def want(self, wish: DataNodeStateSet, now_ns: int, now_us: int) -> Change | None:
        """An operator wants this of a DataNode, known here or not yet; None = its status stays."""
        self._wishes[wish.number] = wish
        self._domains = None
        node = self._by_number.get(wish.number)
        if node is None:
            return None
        node.wish = wish
        before = node.status
        if node.rests(now_us):
            if before is DataNodeStatus.DEAD:
                _distrust(node)
            node.late = self._by_age(node, now_ns) is not DataNodeStatus.ACTIVE or not node.registered
            return self._set(node, MAINTAINED, wish.why or "set by an operator")
        if before is MAINTAINED:
            return self._set(node, self._by_age(node, now_ns), wish.why or "maintenance ended by an operator")
        return None

    def tick(self, now_ns: int, now_us: int) -> list[Change]:
        """Who became late, or too late, since the last time."""
        if self._ticked_ns is not None:
            gap_ns = now_ns - self._ticked_ns
            if gap_ns > ns(self._policy.pause_ms):
                # We were the ones who slept: what they said meanwhile may not have been read yet.
                for node in self:
                    node.heard_ns = min(now_ns, node.heard_ns + gap_ns)
        self._ticked_ns = now_ns
        changes = []
        late_ns = now_ns - ns(self._policy.inactive_after_ms)
        for node in self:
            if node.heard_ns > late_ns and node.row.status is DataNodeStatus.ACTIVE:
                continue  # as nearly all are, nearly always
            if node.status is MAINTAINED:
                node.late = self._by_age(node, now_ns) is not DataNodeStatus.ACTIVE
                if node.rests(now_us):
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
        self.losing = any(self._dies(node, now_ns) for node in self)
        return changes

    def _dies(self, node: DataNode, now_ns: int) -> bool:
        """Twice the usual time between heartbeats before and after it does: all others get to know of it."""
        if node.status is MAINTAINED:
            return False
        until_ns = node.heard_ns + ns(self._policy.dead_after_ms) - now_ns
        return abs(until_ns) <= 2 * ns(self._policy.heartbeat_interval_ms)

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
        self._domains = None
        node.row = msgspec.structs.replace(node.row, status=status, status_why=why)
        if status is DataNodeStatus.DEAD:
            node.lost_ns = node.heard_ns + ns(self._policy.dead_after_ms)
        return Change(node, before, why)

    def forget(self, number: int) -> None:
        """Drop a DataNode; should it come back, it registers under its old number."""
        node = self._by_number.pop(number)
        self._domains = None
        del self._by_id[node.row.node_id]


def _distrust(node: DataNode) -> None:
    """It was dead: what it had when it was last heard of is not what it has now."""
    node.confirmed = False
    node.wants_report = node.registered
