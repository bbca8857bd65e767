"""Journal and projection behind one face: what is true, and how it becomes so."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from esdfs.errors import IdentityConflict
from esdfs.ids import Txid
from esdfs.journal.entry import Entry, Identity
from esdfs.journal.log import Journal
from esdfs.journal.replication import Replication
from esdfs.namenode.events import ClusterFormatted, DataNodeStateSet, VoterEntry
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord, OpenFile
from esdfs.namenode.projection.horizon import Standing, standing
from esdfs.namenode.projection.layout import Meta
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import Progress, catch_up
from esdfs.namenode.projection.views import PresentView
from esdfs.namenode.projection.writer import Writer

T = TypeVar("T")


class MetadataManager:
    """The one owner of a NameNode's journal and projection.

    The projection never holds what the journal does not: a batch is applied speculatively in an open
    write transaction, and committed only after ``Replication`` says its records are.
    """

    def __init__(
        self, journal: Journal, identity: Identity, replication: Replication, store: ProjectionStore
    ) -> None:
        self.identity = identity
        self.replication = replication
        self._journal = journal
        self._store = store

    def catch_up(self, progress: Progress | None = None) -> int:
        """Apply committed records the projection lacks; returns how many."""
        return catch_up(self._store, self._journal, until=self.replication.commit_txid, progress=progress)

    @property
    def projection_path(self) -> Path:
        """Where the namespace is; it can be rebuilt."""
        return self._store.path

    def speculate(self) -> Writer:
        """Open the speculative state after the newest committed one."""
        return self._store.begin()

    @contextmanager
    def present(self) -> Iterator[PresentView]:
        """The newest committed state."""
        with self._store.present() as view:
            yield view

    def meta(self) -> Meta:
        """Where the committed state stands."""
        return self._store.meta()

    def tail(self, after: Txid, *, limit: int) -> list[Entry]:
        """Committed records above ``after``."""
        return self.replication.tail(after, limit=limit)

    def oldest_txid(self) -> Txid:
        """The first record still in the journal."""
        return self._journal.oldest_txid()

    def open_files(self) -> list[OpenFile]:
        """All files being written."""
        return self._read(lambda view: view.open_files())

    # --- what the block manager asks (``blocks.manager.BlockIndex``) -------------------------------

    def block(self, block_id: int) -> BlockRecord | None:
        """What the namespace knows of a block."""
        return self._read(lambda view: view.block(block_id))

    def blocks(self, block_ids: Sequence[int]) -> Sequence[BlockRecord | None]:
        """The same for many, in one look."""
        return self._read(lambda view: view.blocks(block_ids))

    def generations(self, block_ids: Sequence[int]) -> Sequence[int | None]:
        """Only the generations of ``blocks``."""
        return self._read(lambda view: view.generations(block_ids))

    def blocks_after(self, block_id: int, limit: int) -> tuple[Sequence[int], Sequence[BlockRecord]]:
        """At most ``limit`` blocks with an id above ``block_id``, in order: their ids, and they."""
        return self._read(lambda view: view.blocks_after(block_id, limit))

    def datanode_states(self) -> list[DataNodeStateSet]:
        """What operators want of DataNodes."""
        return self._read(lambda view: view.datanode_states())

    def allocated(self) -> Allocated:
        """Which block ids were given out."""
        return self._read(lambda view: view.allocated())

    def cluster(self) -> ClusterFormatted:
        """The cluster's settings."""
        return self._read(lambda view: view.cluster())

    def voters(self) -> tuple[VoterEntry, ...]:
        """The NameNodes that vote."""
        return self._read(lambda view: view.voters())

    def feature_level(self) -> int:
        """What may be written: see ``upcasters``."""
        return self._read(lambda view: view.feature_level())

    def standing(self, now_us: int) -> Standing:
        """How much history there is."""
        return self._read(lambda view: standing(view, now_us))

    def number_of(self, node_id: str, uuid: str) -> int | None:
        """A DataNode's number; None when it has none yet.

        Raises:
            IdentityConflict: The name belongs to a DataNode with another identity on disk.
        """
        with self.present() as view:
            number = view.number_of(node_id)
            known = None if number is None else view.datanode(number)
        if known is not None and known.uuid != uuid:
            raise IdentityConflict(
                f"{node_id} is the name of another DataNode (uuid {known.uuid}): a node that lost its disks "
                "is a new node and needs a new name"
            )
        return number

    def blocks_of_file(self, inode: int) -> list[int]:
        """The blocks a present file names."""
        with self.present() as view:
            place = view.place_of(inode)
            found = None if place is None else view.child(*place)
        return [] if found is None else [block.block_id for block in found.blocks]

    def epoch(self) -> int:
        """The reign in whose name DataNodes are given orders."""
        return self.replication.epoch

    def close(self) -> None:
        """Stop cleanly: the projection may be trusted at the next start, even after a reboot."""
        self._store.close()
        self._journal.close()

    def _read(self, ask: Callable[[PresentView], T]) -> T:
        with self._store.present() as view:
            return ask(view)
