"""The directory ``archive``: segments of records that left the journal, or are about to."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from esdfs.errors import JournalUnavailable
from esdfs.ids import Txid
from esdfs.journal import segments
from esdfs.journal.entry import Base, Entry
from esdfs.journal.log import JournalReader
from esdfs.namenode.checkpoints.files import removed_on_error

DIRECTORY: Final = "archive"
_BEGUN: Final = ".tmp"
_PREFIX: Final = "seg-"


class Archive:
    """Of one NameNode. Segments never overlap; they leave a gap where a checkpoint was installed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / DIRECTORY

    def segments(self) -> list[tuple[Txid, Txid, Path]]:
        """(first txid, last txid, file), in order."""
        if not self.directory.is_dir():
            return []
        found = []
        for file in self.directory.glob(f"{_PREFIX}*-*"):
            _, first, last = file.name.split("-")
            if first.isdigit() and last.isdigit():
                found.append((Txid(int(first)), Txid(int(last)), file))
        return sorted(found)

    def last_txid(self) -> Txid:
        """The newest record archived; 0 when none is."""
        return max((last for _, last, _ in self.segments()), default=Txid(0))

    def seal(self, reader: JournalReader, cluster_id: str, after: Txid, until: Txid) -> Path:
        """Write the records after ``after`` up to ``until`` into a segment. Durable on return.

        Raises:
            JournalCorrupt: A record is damaged; nothing was kept.
            JournalUnavailable: The disk or the database failed; nothing was kept.
        """
        base = _before(reader, after)
        name = f"{_PREFIX}{after + 1:020d}-{until:020d}"
        begun = self.directory / f"{name}{_BEGUN}"
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            with removed_on_error(begun):
                with begun.open("wb") as file:
                    for piece in segments.encode(cluster_id, base, until, reader.scan(after, until=until)):
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                begun.replace(self.directory / name)
                _sync(self.directory)
                _sync(self.directory.parent)
        except OSError as error:
            raise JournalUnavailable(f"the segment {begun} cannot be written: {error.strerror}") from error
        return self.directory / name

    def tidy(self) -> None:
        """Remove what a crash left half-written."""
        for file in self.directory.glob(f"*{_BEGUN}"):
            file.unlink()


def read_segment(path: Path) -> Iterator[list[Entry]]:
    """The records of a segment, proven, in pages. See ``segments.read``."""
    with path.open("rb") as file:
        yield from segments.read(file)


def _before(reader: JournalReader, after: Txid) -> Base:
    base = reader.base()
    if after == base.last_txid:
        return base
    (entry,) = reader.read(Txid(after - 1), limit=1)
    return Base(entry.epoch, entry.txid, entry.chain, entry.ts_us)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
