"""Records leave the journal only after they are in the archive, and nothing is there twice or missing."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from esdfs.env_os import OsClock
from esdfs.errors import JournalCorrupt
from esdfs.ids import Micros, Txid
from esdfs.journal.entry import Base, Entry
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.journal.quorum.voters import VoterSet
from esdfs.journal.sql import SqlJournal, open_journal, open_reader
from esdfs.journal.verify import verify
from esdfs.namenode.checkpoints import compaction
from esdfs.namenode.checkpoints.archive import Archive, WholeJournal, read_segment
from esdfs.namenode.checkpoints.compaction import Compaction
from esdfs.namenode.checkpoints.helper import ArchiveRecords
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.namespace.inodes import Cursor
from tests.journals import end, entries, in_sqlite
from tests.unit.namenode.checkpoints.records import CLUSTER

LINE = entries(100)
RETAIN = 10
T = TypeVar("T")


class Stopped(Exception):
    """The process ends here."""


class Side:
    """The journal's owner: remembers what it was told, and can end the process at a step."""

    def __init__(self, stop_at: int = -1) -> None:
        self.steps = 0
        self.told: list[Base] = []
        self._stop_at = stop_at

    def voters_at(self, txid: Txid) -> tuple[Txid, VoterSet]:
        raise AssertionError(txid)

    async def in_journal(self, work: Callable[[], T]) -> T:
        self._step()
        return await asyncio.to_thread(work)

    def checkpointed(self, offer: CheckpointOffer) -> None:
        raise AssertionError(offer)

    def compacted(self, base: Base) -> None:
        self._step()
        self.told.append(base)

    def _step(self) -> None:
        if self.steps == self._stop_at:
            raise Stopped
        self.steps += 1


class _Wall(OsClock):
    """A clock that stands still."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us

    def wall_us(self) -> Micros:
        return Micros(self._now_us)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_SEGMENT_RECORDS", 35)
    monkeypatch.setattr(compaction, "_DELETE_RECORDS", 20)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return in_sqlite(tmp_path)


@pytest.fixture
def journal(url: str) -> Iterator[SqlJournal]:
    with closing(open_journal(url)) as journal:
        journal.append(LINE)
        yield journal


def run(
    directory: Path,
    journal: SqlJournal,
    url: str,
    checkpoint_txid: int,
    side: Side,
    retain: int = RETAIN,
    *,
    cursors: tuple[Cursor, ...] = (),
    now_us: int = 0,
) -> list[int]:
    """One compaction; returns the bases it told of."""
    config = NameNodeConfig(
        node_id="nn-1", dir=str(directory), journal_url=url, journal_retain_records=retain
    )
    moved: list[int] = []

    async def seal(job: ArchiveRecords) -> None:
        with closing(open_reader(job.journal_url)) as reader:
            Archive(directory).seal(reader, job.cluster_id, Txid(job.after), Txid(job.until))

    compaction_ = Compaction(
        config,
        journal,
        CLUSTER,
        side,
        seal,
        lambda base: moved.append(base.last_txid),
        lambda: list(cursors),
        _Wall(now_us),
    )
    asyncio.run(compaction_.run(Txid(checkpoint_txid)))
    return moved


def whole(directory: Path, journal: SqlJournal) -> list[Entry]:
    """Everything there ever was, proven."""
    reader = WholeJournal(Archive(directory), journal)
    assert verify(reader, since=reader.base().head, workers=1).last_txid == LINE[-1].txid
    return reader.read(Txid(0), limit=1000)


def test_records_before_the_checkpoint_move_into_the_archive(
    tmp_path: Path, journal: SqlJournal, url: str
) -> None:
    side = Side()
    assert run(tmp_path, journal, url, 90, side) == [20, 40, 60, 80]
    assert side.told == [journal.base()]
    assert journal.read(Txid(0), limit=1000) == LINE[80:]

    kept = Archive(tmp_path).segments()
    assert [(first, last) for first, last, _ in kept] == [(1, 35), (36, 70), (71, 80)]
    assert [entry for *_, file in kept for page in read_segment(file) for entry in page] == LINE[:80]
    assert whole(tmp_path, journal) == LINE


def test_nothing_moves_when_everything_is_to_be_kept(tmp_path: Path, journal: SqlJournal, url: str) -> None:
    assert run(tmp_path, journal, url, 90, Side(), retain=0) == []
    assert run(tmp_path, journal, url, 9, Side(), retain=10) == []
    assert journal.base() == Base()
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("stop_at", range(7))
def test_a_crash_at_any_step_loses_nothing_and_the_next_run_goes_on(
    tmp_path: Path, journal: SqlJournal, url: str, stop_at: int
) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, journal, url, 90, Side(stop_at))
    assert whole(tmp_path, journal) == LINE

    run(tmp_path, journal, url, 95, Side())
    assert journal.base().last_txid == 85
    assert whole(tmp_path, journal) == LINE
    spans = [(first, last) for first, last, _ in Archive(tmp_path).segments()]
    assert [first for first, _ in spans] == [1, *(last + 1 for _, last in spans[:-1])]


def test_a_half_written_segment_is_removed_and_written_anew(
    tmp_path: Path, journal: SqlJournal, url: str
) -> None:
    (tmp_path / "archive").mkdir()
    half = tmp_path / "archive" / f"seg-{1:020d}-{35:020d}.tmp"
    half.write_bytes(b"half")
    assert Archive(tmp_path).segments() == []
    run(tmp_path, journal, url, 90, Side())
    assert not half.exists()
    assert whole(tmp_path, journal) == LINE


def test_a_damaged_record_stays_where_it_is(tmp_path: Path, journal: SqlJournal, url: str) -> None:
    with journal._writing.begin() as connection:
        connection.exec_driver_sql("UPDATE journal SET payload = x'00' WHERE txid = 50")
    side = Side()
    with pytest.raises(JournalCorrupt, match="50"):
        run(tmp_path, journal, url, 90, side)
    assert (journal.base(), side.told) == (Base(), [])
    assert [last for _, last, _ in Archive(tmp_path).segments()] == [35]


def test_where_a_checkpoint_was_installed_the_archive_has_a_gap(
    tmp_path: Path, journal: SqlJournal, url: str
) -> None:
    run(tmp_path, journal, url, 50, Side())
    journal.truncate(Txid(60))
    last = LINE[69]
    from tests.contract.test_journal import base_at, image_at  # noqa: PLC0415 - two lines of help

    journal.install(base_at(last), image_at(last), keep_tail=False)
    journal.append(LINE[70:])
    run(tmp_path, journal, url, 95, Side())

    spans = [(first, last) for first, last, _ in Archive(tmp_path).segments()]
    assert spans[-1] == (71, 85)
    reader = WholeJournal(Archive(tmp_path), journal)
    assert reader.base() == base_at(last)
    assert reader.oldest_txid() == 71
    assert reader.read(Txid(0), limit=100) == LINE[70:]
    assert reader.head() == end(LINE)
    assert reader.txid_at(LINE[72].ts_us) == 73


def test_what_a_cursor_has_not_read_is_held_until_it_is_too_old(
    tmp_path: Path, journal: SqlJournal, url: str
) -> None:
    behind = (Cursor("slow", 33, "ann", 0), Cursor("ahead", 1000, "ann", 0))
    assert run(tmp_path, journal, url, 90, Side(), cursors=behind, now_us=LINE[0].ts_us)[-1] == 33
    week_us = 7 * 86_400 * 1_000_000
    assert run(tmp_path, journal, url, 90, Side(), cursors=behind, now_us=LINE[49].ts_us + week_us)[-1] == 50
    assert run(tmp_path, journal, url, 90, Side(), cursors=behind[1:], now_us=LINE[0].ts_us)[-1] == 80
    assert whole(tmp_path, journal) == LINE
