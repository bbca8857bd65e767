"""When replicas move between a DataNode's volumes, and which. Pure."""

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from esdfs.datanode.replica import Replica


class VolumeUse(NamedTuple):
    """One volume in service.

    Attributes:
        number: Its place among the node's volumes.
        available_bytes: Room for more; 0 when it takes no new replicas.
    """

    number: int
    used_bytes: int
    capacity_bytes: int
    available_bytes: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.used_bytes / self.capacity_bytes if self.capacity_bytes else 1.0


def uneven(volumes: Sequence[VolumeUse], threshold: float) -> tuple[VolumeUse, VolumeUse] | None:
    """The fullest and the emptiest volume, when their used shares differ by more than ``threshold``."""
    takers = [volume for volume in volumes if volume.available_bytes]
    if not takers:
        return None
    fullest = max(volumes, key=lambda volume: volume.share)
    emptiest = min(takers, key=lambda volume: volume.share)
    return (fullest, emptiest) if fullest.share - emptiest.share > threshold else None


def helps(source: VolumeUse, target: VolumeUse, size_bytes: int) -> bool:
    """Whether so much fits, and leaves the source no emptier than the target: nothing moves to and fro."""
    after = source.used_bytes - size_bytes
    return size_bytes <= target.available_bytes and (
        after * target.capacity_bytes >= (target.used_bytes + size_bytes) * source.capacity_bytes
    )


def worth_moving(
    replicas: Iterable[Replica], source: VolumeUse, target: VolumeUse, limit: int
) -> list[Replica]:
    """At most ``limit`` replicas of ``source``, the largest that help first."""
    fitting = (
        replica
        for replica in replicas
        if replica.volume == source.number and helps(source, target, replica.stored_bytes)
    )
    return heapq.nlargest(limit, fitting, key=lambda replica: (replica.stored_bytes, replica.block_id))
