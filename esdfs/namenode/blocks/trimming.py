"""Which of too many copies may go. Pure."""

from collections import Counter
from collections.abc import Sequence

from esdfs.blocks import DataNodeStatus
from esdfs.namenode.blocks.locations import DataNodeRow


def most_dispensable(copies: Sequence[DataNodeRow]) -> DataNodeRow | None:
    """One on an ACTIVE DataNode whose rack has another copy, then whose host has, then on the fullest one.

    ``copies`` are in recorded order: the leader is the last to go of equal ones. The only copy of a rack goes
    only when no rack has two.
    """
    racks = Counter(row.rack for row in copies)
    hosts = Counter(row.hostname for row in copies)

    def cost(row: DataNodeRow) -> tuple[bool, bool, bool, int]:
        is_head = row.number == copies[0].number
        return racks[row.rack] == 1, hosts[row.hostname] == 1, is_head, row.available_space

    active = [row for row in copies if row.status is DataNodeStatus.ACTIVE]
    victim = min(active, key=cost, default=None)
    if victim is not None and racks[victim.rack] == 1 and max(racks.values()) > 1:
        return None  # its rack would be left without, and the others are not ours to choose now
    return victim
