"""What checkpoints a node finds at its start, and the projection loaded from one when it is behind."""

from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from esdfs.errors import CheckpointDamaged, JournalUnavailable, NewerRelease
from esdfs.ids import Txid
from esdfs.journal.checkpoint import Checkpoint
from esdfs.journal.log import Journal
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.journal.quorum.voters import VoterSet
from esdfs.namenode.checkpoints.archive import Archive, WholeJournal
from esdfs.namenode.checkpoints.files import CheckpointFiles, offer_of
from esdfs.namenode.checkpoints.image import ImageHeader
from esdfs.namenode.checkpoints.making import Progress, load
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import catch_up

_log = structlog.get_logger(__name__)


class Found(msgspec.Struct, frozen=True):
    """The newest checkpoint whose file is there."""

    checkpoint: Checkpoint
    header: ImageHeader

    @property
    def offer(self) -> CheckpointOffer:
        """For the quorum."""
        return offer_of(self.header, self.checkpoint)

    @property
    def voters(self) -> tuple[Txid, VoterSet] | None:
        """The set in force at the checkpoint, and where it was written; None in a cluster of one."""
        offer = self.offer
        return (offer.voters_txid, offer.voters) if offer.voters else None


def find(journal: Journal, directory: Path) -> Found | None:
    """The newest usable checkpoint. Changes nothing.

    Raises:
        JournalUnavailable: Records were compacted away, and no checkpoint stands for them.
    """
    files, base = CheckpointFiles(directory), journal.base()
    for checkpoint in journal.checkpoints():
        if checkpoint.txid >= base.last_txid:
            with suppress(CheckpointDamaged):
                return Found(checkpoint, files.header(checkpoint))
    if base.last_txid:
        raise JournalUnavailable(
            f"the journal in {directory} begins after txid {base.last_txid}, and no checkpoint stands for"
            f" what came before: put one back into {files.directory} (from a backup of it), or make a new"
            " directory for this node and let it fetch everything from the others"
        )
    return None


def tidy(journal: Journal, directory: Path) -> None:
    """Forget checkpoints that are damaged, and remove files that nobody names."""
    files = CheckpointFiles(directory)
    for checkpoint in journal.checkpoints():
        try:
            files.header(checkpoint)
        except CheckpointDamaged as error:
            _log.error("checkpoint forgotten", txid=checkpoint.txid, why=error.message)
            journal.forget_checkpoint(checkpoint.txid)
    for name in files.tidy(each.txid for each in journal.checkpoints()):
        _log.info("leftover removed", file=name)


def restore(store: ProjectionStore, journal: Journal, directory: Path, progress: Progress) -> Found | None:
    """Load the newest checkpoint into a projection that is empty, or lacks records that are gone.

    One with an earlier release's tables is left alone: its state is made again from the records, those that
    were compacted away from the archive.

    Returns what ``find`` found.

    Raises:
        JournalUnavailable: See ``find``.
        NewerRelease: The checkpoint has another release's tables, and the archive lacks records before it.
    """
    tidy(journal, directory)
    files = CheckpointFiles(directory)
    while (found := find(journal, directory)) is not None:
        applied = store.meta().applied_txid
        if applied >= max(journal.base().last_txid, 1):
            return found
        txid = found.checkpoint.txid
        try:
            load(store, files.path(txid), progress)
        except CheckpointDamaged as error:
            _log.error("checkpoint forgotten", txid=txid, why=error.message)
            journal.forget_checkpoint(txid)
        except NewerRelease as error:
            _replay_compacted(store, journal, directory, error)
            return found
        else:
            _log.info("projection loaded", txid=txid)
            return found
    return None


def _replay_compacted(store: ProjectionStore, journal: Journal, directory: Path, error: NewerRelease) -> None:
    """Apply what the journal no longer has; what it has is applied by whoever starts the node."""
    last = journal.base().last_txid
    if last:
        whole = WholeJournal(Archive(directory), journal)
        if whole.base().last_txid:
            raise error
        catch_up(store, whole, until=last)
    _log.info("records are replayed instead of a checkpoint", until=last, why=error.message)
