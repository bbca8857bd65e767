"""Where missing copies go, and when it is better that they wait for a place there. Pure."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet

from esdfs.env import Rng
from esdfs.namenode.blocks.copies import Copies
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.garbage import Deletions
from esdfs.namenode.blocks.health import Health, Level
from esdfs.namenode.blocks.locations import DataNodeRow
from esdfs.namenode.blocks.placement import Candidate, candidates, choose
from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.blocks.promises import Promises
from esdfs.namenode.namespace.inodes import BlockRecord


class Homes:
    """New homes of blocks that lack copies.

    A copy in the domain of all others (their rack; their host, while there is one rack) is made twice: once
    there, and once more in another. Unless it has one copy left, a block waits for a DataNode in another
    domain that is only busy; but not for ever.
    """

    def __init__(
        self,
        nodes: DataNodeTable,
        deletions: Deletions,
        copies: Copies,
        promises: Promises,
        policy: Policy,
        rng: Rng,
    ) -> None:
        self._nodes = nodes
        self._deletions = deletions
        self._copies = copies
        self._promises = promises
        self._policy = policy
        self._rng = rng
        self._now_ns = 0
        self._patient_until_ns: dict[int, int] = {}

    def at(self, now_ns: int) -> None:
        """It is now."""
        self._now_ns = now_ns

    def found_none(self, block_id: int) -> None:
        """It waits from now on, if it did not before."""
        self._patient_until_ns.setdefault(block_id, self._now_ns + ns(self._policy.rack_wait_ms))

    def forget(self, block_id: int) -> None:
        """It waits no longer."""
        self._patient_until_ns.pop(block_id, None)

    def choose(
        self, block_id: int, record: BlockRecord, health: Health, busy: AbstractSet[int]
    ) -> tuple[int, ...]:
        """New homes. The DataNode of a corrupt copy is one, too: it has set the bad file aside."""
        everyone = [node.number for node in self._nodes]
        held = [self._row(number) for number in health.good]
        never = {*health.good, *health.draining} | self._deletions.leaving_from(block_id)
        never |= self._copies.avoid(block_id, everyone)
        domain = self._nodes.domain
        if not health.lacking:  # it needs another domain, and nothing else will do
            crowded = {domain(row) for row in held}
            never |= {number for number in everyone if domain(self._row(number)) in crowded}
        wanted = health.lacking or 1
        chosen: tuple[int, ...] = ()
        for last_resort in (set(health.corrupt), set[int]()):
            if len(chosen) < wanted:
                among = self._candidates(record, never | busy | last_resort | set(chosen))
                taken = [*held, *(self._row(number) for number in chosen)]
                hosts, used = [row.hostname for row in taken], [row.rack for row in taken]
                chosen += choose(among, wanted - len(chosen), self._rng, hosts, used)
        homes = {domain(row) for row in held} | {domain(self._row(number)) for number in chosen}
        if len(homes) == 1 and self._is_patient(block_id, health):
            others = self._candidates(record, never | set(health.corrupt))
            if any(domain(self._row(one.number)) not in homes for one in others):
                return ()
        return chosen

    def _is_patient(self, block_id: int, health: Health) -> bool:
        return (
            health.target > 1
            and health.level is not Level.ONE_LEFT
            and self._patient_until_ns.get(block_id, self._now_ns + 1) > self._now_ns
        )

    def _candidates(self, record: BlockRecord, exclude: Collection[int]) -> list[Candidate]:
        return candidates(
            self._nodes,
            scheduled=dict(self._promises.by_node),
            size_bytes=record.length_bytes,
            reserve_bytes=self._policy.reserve_bytes,
            exclude=exclude,
            slow=self._nodes.slow,
        )

    def _row(self, number: int) -> DataNodeRow:
        node = self._nodes.get(number)
        assert node is not None, "who has a copy, or could take one, is known"
        return node.row
