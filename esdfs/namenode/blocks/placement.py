"""Which DataNodes get a new copy. Pure."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from esdfs.env import Rng
from esdfs.errors import NotEnoughDataNodes
from esdfs.namenode.blocks.datanodes import DataNode


class Candidate(NamedTuple):
    """A DataNode that could take one.

    Attributes:
        pressure: Streams and writes it has or is about to get.
        rack: Where it stands.
        slow: Its disk is far slower than the others'.
    """

    number: int
    host: str
    available_bytes: int
    pressure: int
    rack: str = ""
    slow: bool = False


def candidates(
    nodes: Iterable[DataNode],
    *,
    scheduled: dict[int, tuple[int, int]],
    size_bytes: int,
    reserve_bytes: int,
    exclude: Collection[int] = (),
    slow: Collection[int] = (),
) -> list[Candidate]:
    """The ACTIVE DataNodes in service with room.

    ``scheduled``: (count, bytes) of writes promised and not finished.
    """
    found = []
    for node in nodes:
        row = node.row
        if not node.serves or row.number in exclude:
            continue
        count, promised_bytes = scheduled.get(row.number, (0, 0))
        # A promise is not a use: most blocks stay below their limit, so promises never block more than half.
        left_bytes = row.available_space - min(promised_bytes, row.available_space // 2)
        if left_bytes >= size_bytes + reserve_bytes:
            pressure = row.load.streams + count
            is_slow = row.number in slow
            found.append(Candidate(row.number, row.hostname, left_bytes, pressure, row.rack, is_slow))
    return found


def choose(
    among: Sequence[Candidate],
    wanted: int,
    rng: Rng,
    hosts: Collection[str] = (),
    racks: Collection[str] = (),
) -> tuple[int, ...]:
    """At most ``wanted`` of them, the pipeline's head first: by chance, weighted by free space and load.

    None twice. As far as there is a choice, in this order: not all on one rack, no two on one host, none on
    a slow DataNode. ``hosts`` and ``racks`` have copies already.
    """
    left = list(among)
    used_hosts, used_racks = set(hosts), set(racks)
    chosen: list[int] = []
    while left and len(chosen) < wanted:
        pool = left
        if len(used_racks) == 1:
            pool = [one for one in pool if one.rack not in used_racks] or pool
        pool = [one for one in pool if one.host not in used_hosts] or pool
        pool = [one for one in pool if not one.slow] or pool
        candidate = _weighted(pool, rng)
        left.remove(candidate)
        used_hosts.add(candidate.host)
        used_racks.add(candidate.rack)
        chosen.append(candidate.number)
    return tuple(chosen)


def _weighted(among: Sequence[Candidate], rng: Rng) -> Candidate:
    if len(among) == 1:
        return among[0]
    weights = [(candidate.available_bytes + 1) / (1 + max(0, candidate.pressure)) for candidate in among]
    point = rng.random() * sum(weights)
    for candidate, weight in zip(among, weights, strict=True):
        point -= weight
        if point < 0:
            return candidate
    return among[-1]


def demand(found: int, wanted: int, minimum: int, *, live: int, size_bytes: int, excluded: int) -> None:
    """Refuse when too few DataNodes can take a block.

    Raises:
        NotEnoughDataNodes: Fewer than ``minimum``. Fewer than ``wanted`` is repaired later.
    """
    if found >= min(minimum, wanted):
        return
    lacking = "" if found == live else f", {found} with room for {size_bytes} bytes"
    without = f" ({excluded} excluded by the writer)" if excluded else ""
    raise NotEnoughDataNodes(
        f"{live} live DataNodes{lacking}{without}, {min(minimum, wanted)} needed for {wanted} copies: "
        "start more DataNodes or free space, then try again",
        live=live,
        needed=min(minimum, wanted),
    )
