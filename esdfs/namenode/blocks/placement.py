"""Which DataNodes get a new copy. Pure."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from esdfs.blocks import DataNodeStatus
from esdfs.env import Rng
from esdfs.errors import NotEnoughDataNodes
from esdfs.namenode.blocks.datanodes import DataNode


class Candidate(NamedTuple):
    """A DataNode that could take one.

    Attributes:
        pressure: Streams and writes it has or is about to get.
    """

    number: int
    host: str
    available_bytes: int
    pressure: int


def candidates(
    nodes: Iterable[DataNode],
    *,
    scheduled: dict[int, tuple[int, int]],
    size_bytes: int,
    reserve_bytes: int,
    exclude: Collection[int] = (),
) -> list[Candidate]:
    """The ACTIVE DataNodes with room. ``scheduled``: (count, bytes) of writes promised and not finished."""
    found = []
    for node in nodes:
        row = node.row
        if row.status is not DataNodeStatus.ACTIVE or not node.registered or row.number in exclude:
            continue
        count, promised_bytes = scheduled.get(row.number, (0, 0))
        # A promise is not a use: most blocks stay below their limit, so promises never block more than half.
        left_bytes = row.available_space - min(promised_bytes, row.available_space // 2)
        if left_bytes >= size_bytes + reserve_bytes:
            found.append(Candidate(row.number, row.hostname, left_bytes, row.load.streams + count))
    return found


def choose(among: Sequence[Candidate], wanted: int, rng: Rng, hosts: Collection[str] = ()) -> tuple[int, ...]:
    """At most ``wanted`` of them, the pipeline's head first: by chance, weighted by free space and load.

    None twice, and a host that has a copy (``hosts``: before this one) only when no other is left.
    """
    left = list(among)
    used = set(hosts)
    chosen: list[int] = []
    while left and len(chosen) < wanted:
        fresh = [candidate for candidate in left if candidate.host not in used]
        candidate = _weighted(fresh or left, rng)
        left.remove(candidate)
        used.add(candidate.host)
        chosen.append(candidate.number)
    return tuple(chosen)


def _weighted(among: Sequence[Candidate], rng: Rng) -> Candidate:
    if len(among) == 1:
        return among[0]
    weights = [(candidate.available_bytes + 1) / (1 + candidate.pressure) for candidate in among]
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
