"""The directory ``archive``: segments of records that left the journal, or are about to."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec.structs import astuple

from esdfs.errors import JournalUnavailable
from esdfs.ids import Epoch, Txid
from esdfs.journal import segments
from esdfs.journal.entry import Base, Entry, Head, Identity
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


class WholeJournal:
    """``JournalReader`` of archive and journal together, as if nothing had been compacted.

    It begins where the segments that lead up to the journal begin without a gap; use it offline, for proofs
    and rebuilding: a single record costs reading half a segment.
    """

    def __init__(self, archive: Archive, journal: JournalReader) -> None:
        self._journal = journal
        self._first = Txid(journal.base().last_txid + 1)
        self._segments: list[tuple[Txid, Txid, Path]] = []
        for first, last, path in reversed(archive.segments()):
            if first < self._first <= last + 1:
                self._segments.insert(0, (first, last, path))
                self._first = first

    def identity(self) -> Identity | None:
        """See ``JournalReader.identity``."""
        return self._journal.identity()

    def head(self) -> Head:
        """See ``JournalReader.head``."""
        return self._journal.head()

    def base(self) -> Base:
        """See ``JournalReader.base``."""
        if not self._segments:
            return self._journal.base()
        with self._segments[0][2].open("rb") as file:
            header = segments.read_header(file)
        return Base(
            Epoch(header.before_epoch), Txid(header.first_txid - 1), header.before_chain, header.before_ts_us
        )

    def oldest_txid(self) -> Txid:
        """See ``JournalReader.oldest_txid``."""
        return self._first if self._segments else self._journal.oldest_txid()

    def read(self, after: Txid, *, limit: int) -> list[Entry]:
        """See ``JournalReader.read``."""
        found: list[Entry] = []
        for page in self.scan(after, until=Txid(after + limit)):
            found += [Entry(*row) for row in page]
        return found

    def scan(self, after: Txid, *, until: Txid, page: int = 5000) -> Iterator[Sequence[tuple[Any, ...]]]:
        """See ``JournalReader.scan``; pages of the archive have its own size."""
        for first, last, path in self._segments:
            if last <= after or first > until:
                continue
            for entries in read_segment(path):
                rows = [astuple(entry) for entry in entries if after < entry.txid <= until]
                if rows:
                    yield rows
                    after = entries[-1].txid if rows[-1][0] == entries[-1].txid else until
        yield from self._journal.scan(after, until=until, page=page)

    def txid_at(self, ts_us: int) -> Txid:
        """See ``JournalReader.txid_at``."""
        found = self._journal.txid_at(ts_us)
        for _, _, path in reversed(self._segments):
            if found:
                break
            for entries in read_segment(path):
                found = max([found, *(entry.txid for entry in entries if entry.ts_us <= ts_us)])
        return found


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
