"""Writers, and those who change their minds."""

from esdfs.blocks import Block
from esdfs.errors import NotEnoughDataNodes
from esdfs.namenode import events as ev
from tests.sim.blocks.cluster import Cluster
from tests.sim.blocks.datanode import SimDataNode
from tests.sim.blocks.namespace import BLOCK_BYTES, Commit, Namespace
from tests.sim.world import MS

BLOCKS_A_FILE = 3


class Workload:
    """Files that are written, abandoned, given other replication, and forgotten.

    Args:
        pause_ns: Mean time between two of these.
        until_ns: When it ends.
    """

    def __init__(self, cluster: Cluster, *, pause_ns: int, until_ns: int) -> None:
        self._cluster = cluster
        self._chance = cluster.world.rng("workload")
        self._pause_ns, self._until_ns = pause_ns, until_ns
        self._fickle = self._chance.choice((1, 1, 4, 20))
        self._inode = 0
        self._writing: dict[int, tuple[int, ...]] = {}

    def populate(self, blocks: int) -> None:
        """Files from before; each copy is on a host of its own."""
        nodes = list(self._cluster.datanodes.values())
        while self._cluster.truth.next_id <= blocks:
            replication = self._chance.choice((2, 2, 2, 3, 3, 4))
            self._inode += 1
            for _ in range(self._chance.randrange(1, BLOCKS_A_FILE + 1)):
                homes: list[SimDataNode] = []
                while len(homes) < replication:
                    node = self._chance.choice(nodes)
                    if node.host not in {home.host for home in homes}:
                        homes.append(node)
                block_id = self._cluster.truth.next_id
                inode = self._inode

                def change(
                    namespace: Namespace,
                    block_id: int = block_id,
                    inode: int = inode,
                    copies: int = replication,
                ) -> None:
                    namespace.allocate(block_id, inode, copies)
                    namespace.complete(block_id)

                self._cluster.commit(Commit(change))
                for home in homes:
                    home.plant(block_id)

    def begin(self) -> None:
        self._cluster.world.after(self._pause_ns, self._act)

    def _act(self) -> None:
        if self._cluster.world.now_ns >= self._until_ns:
            return
        self._cluster.world.after(int(self._chance.expovariate(1 / self._pause_ns)), self._act)
        changes = [self._replicate] * self._fickle
        act = self._chance.choice([self._write, self._write, self._write, self._forget, *changes])
        act()

    def end(self) -> None:
        """Whoever still writes gives up."""
        for block_id in list(self._writing):
            self._abort(block_id)

    # --- writing ---

    def _write(self) -> None:
        leader = self._cluster.leader()
        if leader is None or leader.paused:
            return
        replication = self._chance.choice((2, 2, 2, 3))
        try:
            (targets,) = leader.manager.place(1, replication, set(), BLOCK_BYTES)
        except NotEnoughDataNodes:
            self._cluster.stats["refused writes"] += 1
            return
        self._inode += 1
        block_id, inode = self._cluster.truth.next_id, self._inode
        allocated = ev.BlocksAllocated(inode, (ev.AllocatedBlock(block_id, 1, targets),), ())
        self._cluster.commit(Commit(lambda ns: ns.allocate(block_id, inode, replication), [allocated]))
        self._writing[block_id] = targets
        self._cluster.world.after(self._chance.randrange(100, 4_000) * MS, self._arrive, block_id, targets)

    def _arrive(self, block_id: int, targets: tuple[int, ...]) -> None:
        reached = []
        for number in targets:
            node = self._cluster.node_of(number)
            if node.up and self._chance.random() < 0.95:
                node.store(block_id)
                reached.append(number)
        if len(reached) < 2 or self._chance.random() < 0.1:
            self._cluster.world.after(self._chance.randrange(20_000) * MS, self._abort, block_id)
        else:
            self._cluster.world.after(
                self._chance.randrange(1_000) * MS, self._complete, block_id, tuple(reached)
            )

    def _complete(self, block_id: int, reached: tuple[int, ...]) -> None:
        if block_id not in self._writing or self._cluster.leader() is None:
            return self._abort(block_id)
        del self._writing[block_id]
        inode = self._cluster.truth.records[block_id].inode
        block = ev.CompletedBlock(Block(block_id, 1, BLOCK_BYTES, BLOCK_BYTES, 0), reached)
        done = ev.FileCompleted(inode, 1, "f", BLOCK_BYTES, 0, (block,), 0, 0)
        self._cluster.commit(Commit(lambda ns: ns.complete(block_id), [done]))
        self._cluster.stats["written"] += 1
        return None

    def _abort(self, block_id: int) -> None:
        if self._writing.pop(block_id, None) is None:
            return
        inode = self._cluster.truth.records[block_id].inode
        aborted = ev.FileAborted(inode, "given up", (block_id,))
        self._cluster.garbage.add(block_id)
        self._cluster.commit(Commit(lambda ns: ns.drop(block_id), [aborted]))

    # --- changing ---

    def _some_file(self) -> int:
        truth = self._cluster.truth
        for _ in range(20):
            inode = self._chance.randrange(1, self._inode + 1)
            blocks = truth.files.get(inode)
            if blocks and all(truth.records[block_id].complete for block_id in blocks):
                return inode
        return 0

    def _forget(self) -> None:
        """Its last version leaves history."""
        if (inode := self._some_file()) and self._cluster.leader() is not None:
            blocks = list(self._cluster.truth.files[inode])

            def change(namespace: Namespace) -> None:
                for block_id in blocks:
                    namespace.drop(block_id)

            self._cluster.garbage.update(blocks)
            self._cluster.commit(Commit(change, [], blocks))
            self._cluster.stats["forgotten"] += len(blocks)

    def _replicate(self) -> None:
        if (inode := self._some_file()) and self._cluster.leader() is not None:
            copies = self._chance.choice((2, 2, 3, 4))
            changed = ev.AttributesSet(inode, 1, "f", None, None, None, copies, None)
            self._cluster.commit(Commit(lambda ns: ns.replicate(inode, copies), [changed]))
