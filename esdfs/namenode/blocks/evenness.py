"""How evenly DataNodes are filled, and which moves make it more even. Pure.

A DataNode's use is the part of its capacity that its replicas take. The goal is that no use is further from
the cluster's than a threshold. A move never leaves its source emptier than its target: so the largest
distance never grows, and the sum of capacity times squared distance falls with every move, which is why
balancing ends.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Share(NamedTuple):
    """One DataNode.

    Attributes:
        used_bytes: By its replicas, with those on their way to it and without those that leave it.
    """

    number: int
    used_bytes: int
    capacity_bytes: int

    @property
    def use(self) -> float:
        """From 0 to 1."""
        return self.used_bytes / self.capacity_bytes


def cluster_use(shares: Iterable[Share]) -> float:
    """Of all together; 0 without capacity."""
    used = capacity = 0
    for share in shares:
        used += share.used_bytes
        capacity += share.capacity_bytes
    return used / capacity if capacity else 0.0


def spread(shares: Sequence[Share]) -> float:
    """The largest distance of a DataNode's use from the cluster's."""
    even = cluster_use(shares)
    return max((abs(share.use - even) for share in shares), default=0.0)


def to_go_bytes(shares: Sequence[Share], threshold: float) -> int:
    """What has to be moved at least until nobody is further away than ``threshold``."""
    even = cluster_use(shares)
    too_much = sum(max(0.0, s.use - even - threshold) * s.capacity_bytes for s in shares)
    too_little = sum(max(0.0, even - threshold - s.use) * s.capacity_bytes for s in shares)
    return round(max(too_much, too_little))


def sources(shares: Sequence[Share], threshold: float) -> list[Share]:
    """Whom to take from, the fullest first: those too full, or while some are too empty all above average."""
    even = cluster_use(shares)
    lack = any(share.use < even - threshold for share in shares)
    found = [share for share in shares if share.use > even + (0.0 if lack else threshold)]
    return sorted(found, key=lambda share: (-share.use, share.number))


def targets(shares: Sequence[Share], source: Share, threshold: float) -> list[Share]:
    """Whom to give to, the emptiest first; while the source is not too full, only those too empty."""
    even = cluster_use(shares)
    below = even if source.use > even + threshold else even - threshold
    found = [share for share in shares if share.use < below]
    return sorted(found, key=lambda share: (share.use, share.number))


def improves(source: Share, target: Share, size_bytes: int) -> bool:
    """Whether the source is still as full as the target after so much was moved."""
    after = source.used_bytes - size_bytes
    return after * target.capacity_bytes >= (target.used_bytes + size_bytes) * source.capacity_bytes


def unevenness(shares: Sequence[Share]) -> float:
    """What falls with every move."""
    even = cluster_use(shares)
    return sum(share.capacity_bytes * (share.use - even) ** 2 for share in shares)


class Round:
    """The DataNodes as they will be after the moves chosen so far.

    Args:
        room: Bytes left, of those that take new blocks.
    """

    def __init__(self, shares: list[Share], threshold: float, room: dict[int, int]) -> None:
        self._shares = {share.number: share for share in shares}
        self._threshold = threshold
        self._room = room
        self._takers: dict[int, list[Share]] = {}

    def takers(self, source: int) -> list[Share]:
        """Whom a DataNode should give to now, the emptiest first; empty when it need not."""
        if source not in self._takers:
            shares = list(self._shares.values())
            giver = self._shares[source]
            needed = giver in sources(shares, self._threshold)
            takers = targets(shares, giver, self._threshold) if needed else []
            self._takers[source] = [taker for taker in takers if taker.number in self._room]
        return self._takers[source]

    def fitting(self, source: int, size_bytes: int, reserve_bytes: int) -> list[int]:
        """Those of them that so much can go to, and that it helps."""
        giver = self._shares[source]
        return [
            taker.number
            for taker in self.takers(source)
            if self._room[taker.number] >= size_bytes + reserve_bytes and improves(giver, taker, size_bytes)
        ]

    def moves(self, source: int, target: int, size_bytes: int) -> None:
        """So much is going to be moved."""
        for number, change in ((source, -size_bytes), (target, size_bytes)):
            share = self._shares[number]
            self._shares[number] = share._replace(used_bytes=max(0, share.used_bytes + change))
        self._room[target] -= size_bytes
        self._takers.clear()
