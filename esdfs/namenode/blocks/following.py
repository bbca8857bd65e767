"""What the block manager makes of committed events: blocks promised, stored, given up, released."""

from collections.abc import Callable, Iterable

from esdfs.env import Clock
from esdfs.namenode import events as ev
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.expected import Expected
from esdfs.namenode.blocks.garbage import Deletions, Why
from esdfs.namenode.blocks.index import BlockIndex
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.policy import Policy, ns
from esdfs.namenode.blocks.promises import Promises
from esdfs.namenode.blocks.redundancy import BlockReplicator
from esdfs.namenode.blocks.replicas import Replica
from esdfs.namenode.events import Event


class Following:
    """Follows the journal, event by event.

    Args:
        on_wish: Told what an operator wants of a DataNode.
    """

    def __init__(
        self,
        index: BlockIndex,
        store: LocationsStore,
        nodes: DataNodeTable,
        deletions: Deletions,
        promises: Promises,
        replicator: BlockReplicator,
        expected: Expected,
        policy: Policy,
        clock: Clock,
        on_wish: Callable[[ev.DataNodeStateSet], None],
    ) -> None:
        self._index = index
        self._block_size_bytes = index.cluster().block_size_bytes
        self._store = store
        self._nodes = nodes
        self._deletions = deletions
        self._promises = promises
        self._replicator = replicator
        self._expected = expected
        self._policy = policy
        self._clock = clock
        self._on_wish = on_wish

    def on_committed(self, events: Iterable[Event]) -> int:
        """See ``BlockManager.on_committed``; answers how many blocks were completed."""
        stored = 0
        for event in events:
            match event:
                case ev.FileOpened(block_size_bytes=size_bytes, blocks=blocks):
                    self._promises.make(blocks, size_bytes)
                case ev.BlocksAllocated(blocks=blocks, abandoned=abandoned):
                    self._promises.make(blocks, self._block_size_bytes)
                    for block_id in abandoned:
                        self._give_up(block_id)
                case ev.FileCompleted(blocks=blocks):
                    self._completed(blocks)
                    stored += len(blocks)
                case ev.FileAborted(blocks=blocks):
                    for block_id in blocks:
                        self._give_up(block_id)
                case ev.AttributesSet(inode=inode, replication=int()):
                    self._replicator.settled(self._index.blocks_of_file(inode))
                case ev.DataNodeStateSet():
                    self._on_wish(event)
                case ev.FileLinked(blocks=blocks):
                    self._replicator.settled(block.block_id for block in blocks)
                case _:
                    continue
        return stored

    def _completed(self, blocks: tuple[ev.CompletedBlock, ...]) -> None:
        now_ns = self._clock.monotonic_ns()
        with self._store.write() as locations:
            for completed in blocks:
                block = completed.block
                self._promises.settle(block.block_id)
                told = {
                    replica.number: replica
                    for replica in locations.replicas(block.block_id)
                    if replica.generation == block.generation
                }
                # What a DataNode itself said is newer than its acknowledgement: it may have found rot since.
                fresh = [Replica(number, block.generation) for number in completed.replicas]
                locations.lead(block.block_id, [told.get(one.number, one) for one in fresh])
                for number in completed.replicas:
                    if number not in told:
                        self._expected.add(number, block.block_id, now_ns)
        for completed in blocks:
            self._replicator.check(completed.block.block_id)

    def release(self, block_id: int) -> None:
        """A block that history named: its copies are garbage, once those who began to read them are done."""
        due_ns = self._clock.monotonic_ns() + ns(self._policy.purge_grace_ms)
        self._give_up(block_id, Why.PURGED, due_ns)

    def _give_up(self, block_id: int, why: Why = Why.GIVEN_UP, due_ns: int = 0) -> None:
        """A block that no file will ever name: its copies are garbage wherever they are, or arrive yet."""
        generations = {replica.number: replica.generation for replica in self._store.replicas(block_id)}
        reported = set(generations)
        promised = self._promises.settle(block_id)
        if generations:
            with self._store.write() as locations:
                for number in generations:
                    locations.remove(block_id, number)
                    self._expected.heard(number, block_id)
        if promised is not None:
            generations |= dict.fromkeys(promised.targets, promised.generation)
        for number, generation in generations.items():
            # A dead DataNode that returns names its garbage itself.
            if self._nodes.counts(number):
                sure = number in reported
                self._deletions.add(number, block_id, generation, why, due_ns, certain=sure)
        self._replicator.check(block_id)
