"""What a reported replica is good for, held against the namespace. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from esdfs.blocks import DataNodeStatus
from esdfs.namenode.blocks.admin import DECOMMISSIONED
from esdfs.namenode.blocks.garbage import Why
from esdfs.namenode.blocks.unplaced import Found, why_ahead
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.datanode_states import DECOMMISSIONING
from esdfs.namenode.namespace.inodes import BlockRecord
from esdfs.namenode.rest.ports import DataNodeRow, Replica

State = Literal["needed", "historical", "surplus", "stale", "corrupt", "orphan", "unreachable", "ahead"]
STATES: Final[tuple[State, ...]] = (
    "needed",  # by a present file, or by one that is being written
    "historical",  # only the past shows its block: a moment inside the window, or a snapshot
    "surplus",  # good, and there are more than the file asks for
    "stale",  # of an older generation
    "corrupt",  # set aside by its DataNode
    "orphan",  # nothing names its block, now or then: it waits to be deleted
    "unreachable",  # its DataNode is dead
    "ahead",  # of the journal: an alarm, never deleted
)

_REASONS: Final = {
    Why.GIVEN_UP.value: "its writer gave the block up",
    Why.PURGED.value: "history that showed it is forgotten",
    Why.ORPHAN.value: "no file that is known ever named its block",
}


class Judged(NamedTuple):
    """A replica's state, and why it is not ``needed``."""

    state: State
    why: str = ""


class Need(NamedTuple):
    """Who needs a block.

    Attributes:
        record: What the namespace knows of it; None = nothing.
        copies: How many it should have.
        present: A present file names it, or an open one.
    """

    record: BlockRecord | None
    copies: int
    present: bool


def judge(
    block_id: int,
    need: Need,
    replicas: Sequence[Replica],
    nodes: Mapping[int, DataNodeRow],
    allocated: Allocated,
) -> list[Judged]:
    """The state of each replica of a block, in their order."""
    record = need.record
    if record is None:
        return [_unknown(block_id, allocated)] * len(replicas)
    doubted = [_doubted(record, replica, nodes.get(replica.number)) for replica in replicas]
    good = [at for at, found in enumerate(doubted) if found is None]
    # Copies on DataNodes that are to be switched off count last: they are made anew elsewhere.
    good.sort(key=lambda at: _is_leaving(nodes[replicas[at].number]))
    kept = set(good[: need.copies])
    needed = Judged("needed") if need.present else Judged("historical", "only the past shows its block")
    surplus = Judged("surplus", f"{need.copies} good copies are enough")
    return [found or (needed if at in kept else surplus) for at, found in enumerate(doubted)]


def _unknown(block_id: int, allocated: Allocated) -> Judged:
    if not allocated.has(block_id):
        return Judged("ahead", why_ahead(block_id, allocated))
    return Judged("orphan", "nothing names its block any more; its deletion is about to be wanted")


def _doubted(record: BlockRecord, replica: Replica, node: DataNodeRow | None) -> Judged | None:
    if replica.generation > record.generation:
        return Judged("ahead", f"generation {replica.generation}, the journal has {record.generation}")
    if node is None or node.status is DataNodeStatus.DEAD:
        return Judged("unreachable", f"its DataNode is dead: {node.status_why if node else 'unknown'}")
    if replica.corrupt:
        return Judged("corrupt", "its bytes did not verify; its DataNode has set them aside")
    if replica.generation < record.generation:
        return Judged("stale", f"generation {replica.generation}, the file has {record.generation}")
    return None


def _is_leaving(node: DataNodeRow) -> bool:
    return node.admin.state in {DECOMMISSIONING, DECOMMISSIONED}


def judge_unplaced(found: Found, allocated: Allocated) -> Judged:
    """The state of a replica that locations do not tell of."""
    if not found.reason:
        return Judged("ahead", why_ahead(found.block_id, allocated))
    when = "its deletion was ordered" if found.sent else f"to be deleted in {-(-found.due_ms // 1000)} s"
    if not found.sent and not found.due_ms:
        when = "to be deleted by its DataNode's next heartbeats"
    return Judged("orphan", f"{_REASONS[found.reason]}; {when}")
