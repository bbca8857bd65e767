"""Checkpoint files in a NameNode's directory: named by txid, whole or not there at all."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from esdfs.errors import CheckpointDamaged, JournalUnavailable
from esdfs.ids import Epoch, NodeId, Position, Txid
from esdfs.journal.checkpoint import Checkpoint, Checkpoints
from esdfs.journal.entry import Base
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.journal.quorum.voters import Voter, VoterKind, VoterSet
from esdfs.namenode.checkpoints.image import ImageHeader, VoterOf, read_header

DIRECTORY: Final = "checkpoints"
KEPT: Final = 2
"""Checkpoints kept: the newest, and the one before it in case that is damaged."""

_BEGUN: Final = ".tmp"
_ARRIVING: Final = ".part"
_DIFFERS: Final = ".differs"
_READ_BYTES: Final = 1 << 20


class CheckpointFiles:
    """The directory ``checkpoints`` of one NameNode. Created when missing.

    Args:
        directory: The NameNode's.
    """

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self.directory = self._path = directory / DIRECTORY
        self._path.mkdir(mode=0o700, exist_ok=True)

    def relative(self, txid: int) -> str:
        """What ``Checkpoint.path`` is for a file of this directory."""
        return f"{DIRECTORY}/ckpt-{txid:020d}"

    def path(self, txid: int) -> Path:
        """Where the checkpoint at ``txid`` is, if it is there."""
        return self._root / self.relative(txid)

    def begun(self, txid: int) -> Path:
        """Where one is while it is written."""
        return self._path / f"{self.path(txid).name}{_BEGUN}"

    def arriving(self, txid: int, sha256: bytes) -> Path:
        """Where one is while it is downloaded; kept over a restart, so that it goes on from there."""
        return self._path / f"{self.path(txid).name}-{sha256.hex()[:16]}{_ARRIVING}"

    def publish(self, unfinished: Path, txid: int) -> None:
        """Give a complete file its name. Durable on return.

        Raises:
            JournalUnavailable: The disk failed.
        """
        try:
            fd = os.open(unfinished, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            unfinished.replace(self.path(txid))
            self._sync()
        except OSError as error:
            raise JournalUnavailable(f"the checkpoint {unfinished} cannot be kept: {error}") from error

    def tidy(self, keep: Iterable[int]) -> list[str]:
        """Remove what no catalogue names and no download can go on from; returns the names."""
        kept = {self.path(txid).name for txid in keep}
        gone = [
            file.name
            for file in sorted(self._path.iterdir())
            if file.name not in kept and file.suffix not in (_ARRIVING, _DIFFERS)
        ]
        for name in gone:
            (self._path / name).unlink()
        return gone

    def forget(self, txid: int) -> None:
        """Remove the file; the catalogue has forgotten it before."""
        self.path(txid).unlink(missing_ok=True)

    def set_aside(self, txid: int) -> Path:
        """Keep a file that nobody may go on from, for whoever finds out why; returns where it is."""
        aside = self.path(txid).with_suffix(_DIFFERS)
        self.path(txid).replace(aside)
        return aside

    def forget_arriving(self, but: Path) -> None:
        """Remove every download that was not finished, except ``but``."""
        for file in self._path.glob(f"*{_ARRIVING}"):
            if file != but:
                file.unlink(missing_ok=True)

    def header(self, checkpoint: Checkpoint) -> ImageHeader:
        """What the file says it is of, checked against the catalogue.

        Raises:
            CheckpointDamaged: Missing, or not the file the catalogue means.
        """
        path = self.path(checkpoint.txid)
        try:
            with path.open("rb") as file:
                header = read_header(file)
                size_bytes = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise CheckpointDamaged(f"the checkpoint {path} cannot be read: {error.strerror}") from error
        if (header.txid, header.chain) != (checkpoint.txid, checkpoint.chain):
            raise CheckpointDamaged(f"the checkpoint {path} is of txid {header.txid}, or of another journal")
        if size_bytes != checkpoint.size_bytes:
            raise CheckpointDamaged(
                f"the checkpoint {path} has {size_bytes} bytes instead of {checkpoint.size_bytes}"
            )
        return header

    def _sync(self) -> None:
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def forget_old(catalogue: Checkpoints, files: CheckpointFiles) -> None:
    """Keep the newest checkpoints only. Called where the journal is written."""
    for old in catalogue.checkpoints()[KEPT:]:
        catalogue.forget_checkpoint(old.txid)  # first: a file that the catalogue names must be there
        files.forget(old.txid)


@contextmanager
def removed_on_error(path: Path) -> Iterator[None]:
    """No half-written file stays behind an exception."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> bytes:
    """Of a whole file. Reads all of it.

    Raises:
        CheckpointDamaged: It cannot be read.
    """
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                total.update(piece)
    except OSError as error:
        raise CheckpointDamaged(f"{path} cannot be read: {error.strerror}") from error
    return total.digest()


def offer_of(header: ImageHeader, checkpoint: Checkpoint) -> CheckpointOffer:
    """What the quorum offers to followers that lack the records."""
    return CheckpointOffer(
        Position(Epoch(header.epoch), Txid(header.txid)),
        header.chain,
        header.ts_us,
        Txid(header.voters_txid),
        voters_of(header),
        checkpoint.size_bytes,
        checkpoint.sha256,
    )


def voters_of(header: ImageHeader) -> VoterSet:
    """Who votes at the checkpoint; nobody in a cluster of one."""
    return VoterSet(
        Voter(NodeId(voter.node_id), voter.storage_id, VoterKind(voter.kind), voter.endpoint)
        for voter in header.voters
    )


def voters_in(voters: VoterSet) -> tuple[VoterOf, ...]:
    """As a header names them."""
    return tuple(VoterOf(each.node_id, each.storage_id, each.kind.value, each.endpoint) for each in voters)


def base_of(offer: CheckpointOffer) -> Base:
    """Where a journal begins after a checkpoint."""
    return Base(offer.last.epoch, offer.last.txid, offer.chain, offer.last_ts_us)
