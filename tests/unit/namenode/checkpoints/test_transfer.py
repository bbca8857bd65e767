"""A checkpoint travels from one node's directory into another's, whatever happens on the way."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from esdfs.env_os import OsClock
from esdfs.errors import (
    CheckpointDamaged,
    CheckpointGone,
    InsufficientStorage,
    JournalUnavailable,
    NewerRelease,
    Unreachable,
)
from esdfs.ids import Epoch, NodeId, Position, Txid
from esdfs.journal.checkpoint import Checkpoint
from esdfs.journal.entry import Base, Entry
from esdfs.journal.quorum.effects import InstallCheckpoint
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.journal.sql import SqlJournal, open_journal
from esdfs.namenode.checkpoints import transfer
from esdfs.namenode.checkpoints.archive import Archive
from esdfs.namenode.checkpoints.files import CheckpointFiles, offer_of
from esdfs.namenode.checkpoints.image import ImageHeader, VoterOf
from esdfs.namenode.checkpoints.making import make
from esdfs.namenode.checkpoints.recovery import find, restore, tidy
from esdfs.namenode.checkpoints.transfer import CheckpointExchange, FetchChunk
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.digest import digest
from esdfs.rpc.chunks import ChunkAsked
from tests.journals import end, in_sqlite
from tests.unit.namenode.checkpoints.records import CLUSTER, apply, more, projection, records

LINE = records(60)
LAST = LINE[-1]
LEADER = NodeId("nn-1")
VOTERS = (VoterOf("nn-1", "s1", "voter", "h1:1 http://h1:2"),)


class Node:
    """A directory with a journal and checkpoint files, and what exchanges them."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        directory.mkdir()
        self.directory, self._stack = directory, stack
        self.url = in_sqlite(directory)
        self.files = CheckpointFiles(directory)
        self.journal: SqlJournal = self.reopen()
        self.installed: list[Txid] = []
        self.unfit: list[str] = []

    def reopen(self) -> SqlJournal:
        """As the next process finds it."""
        self.journal = self._stack.enter_context(closing(open_journal(self.url)))
        return self.journal

    def exchange(
        self,
        fetch: FetchChunk,
        *,
        check: Callable[[ImageHeader], None] = lambda _: None,
        free_bytes_min: int = 0,
    ) -> CheckpointExchange:
        return CheckpointExchange(
            self.files,
            self.journal,
            OsClock(),
            cluster_id=CLUSTER,
            fetch_chunk=fetch,
            check=check,
            on_unfit=self.unfit.append,
            on_installed=self.installed.append,
            free_bytes_min=free_bytes_min,
        )

    def names(self) -> list[str]:
        return sorted(file.name for file in self.files.directory.iterdir())


def base() -> Base:
    return Base(LAST.epoch, LAST.txid, LAST.chain, LAST.ts_us)


async def nobody(_source: NodeId, _asked: ChunkAsked) -> bytes:
    raise Unreachable("nobody is there")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_RETRY_S", 0.0)
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 500)  # several pieces of a small file


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def leader(tmp_path: Path, stack: ExitStack) -> Node:
    """Has a checkpoint at the end of ``LINE``."""
    node = Node(tmp_path / "leader", stack)
    node.journal.append(LINE)
    with closing(projection(node.directory, LINE)) as store, store.image() as image:
        made = make(node.files, image, CLUSTER, 2, VOTERS)
    path = node.files.relative(LAST.txid)
    node.journal.remember_checkpoint(
        Checkpoint(
            LAST.txid, LAST.epoch, LAST.chain, 1, made.size_bytes, made.sha256, made.state_digest, path
        )
    )
    return node


@pytest.fixture
def follower(tmp_path: Path, stack: ExitStack) -> Node:
    """Has the first records only."""
    node = Node(tmp_path / "follower", stack)
    node.journal.append(LINE[:20])
    return node


def offer(leader: Node) -> CheckpointOffer:
    (checkpoint,) = leader.journal.checkpoints()
    return offer_of(leader.files.header(checkpoint), checkpoint)


def run(
    leader: Node,
    follower: Node,
    spoil: Callable[[ChunkAsked, bytes], bytes] = lambda _, data: data,
    *,
    install: bool = True,
    asked_for: list[int] | None = None,
    **options: object,
) -> None:
    """One fetch, and the installation when it succeeds."""

    async def all_of_it() -> None:
        source = leader.exchange(nobody)

        async def fetch(_: NodeId, asked: ChunkAsked) -> bytes:
            if asked_for is not None:
                asked_for.append(asked.offset)
            return spoil(asked, await source.chunk(asked))

        exchange = follower.exchange(fetch, **options)  # type: ignore[arg-type]
        wanted = offer(leader)
        await exchange.fetch(LEADER, wanted)
        if install:
            write = InstallCheckpoint(wanted, False, wanted.last, None)
            await asyncio.to_thread(exchange.install, write)
            await asyncio.sleep(0)

    asyncio.run(all_of_it())


def test_a_checkpoint_is_fetched_and_the_journal_begins_after_it(leader: Node, follower: Node) -> None:
    run(leader, follower)
    assert follower.journal.base() == base()
    assert follower.journal.head() == end(LINE)
    assert follower.journal.checkpoints()[0].state_digest == leader.journal.checkpoints()[0].state_digest
    assert follower.installed == [LAST.txid]
    assert follower.names() == leader.names()


def test_pieces_damaged_on_the_way_are_asked_for_again(leader: Node, follower: Node) -> None:
    failed: set[int] = set()

    def once(asked: ChunkAsked, data: bytes) -> bytes:
        if asked.offset not in failed:
            failed.add(asked.offset)
            raise CheckpointDamaged("damaged on its way")
        return data

    run(leader, follower, once)
    assert len(failed) > 2
    assert follower.journal.base() == base()


def test_a_download_goes_on_where_it_broke_off(leader: Node, follower: Node) -> None:
    def breaks(asked: ChunkAsked, data: bytes) -> bytes:
        if asked.offset >= 1000:
            raise Unreachable("the line is cut")
        return data

    with pytest.raises(Unreachable):
        run(leader, follower, breaks)
    assert [Path(name).suffix for name in follower.names()] == [".part"]
    tidy(follower.reopen(), follower.directory)  # a restart keeps it

    asked_for: list[int] = []
    run(leader, follower, asked_for=asked_for)
    assert asked_for[0] == 1000
    assert follower.journal.base() == base()


def test_a_file_that_is_not_the_one_offered_is_refused_and_begun_anew(leader: Node, follower: Node) -> None:
    with pytest.raises(CheckpointDamaged, match="not the one it offered"):
        run(leader, follower, lambda _, data: data[:-1] + bytes([data[-1] ^ 1]) if data else data)
    assert follower.names() == []
    assert follower.journal.base() == Base()

    run(leader, follower)
    assert follower.journal.base() == base()


def test_a_file_that_ends_early_is_refused(leader: Node, follower: Node) -> None:
    with pytest.raises(CheckpointDamaged):
        run(leader, follower, lambda asked, data: data if asked.offset < 1000 else b"")
    assert follower.names() == []


def test_a_checkpoint_that_is_no_longer_there_is_said_to_be_gone(leader: Node, follower: Node) -> None:
    wanted = offer(leader)
    leader.journal.forget_checkpoint(LAST.txid)

    async def fetch() -> None:
        source = leader.exchange(nobody)
        await follower.exchange(lambda _, asked: source.chunk(asked)).fetch(LEADER, wanted)

    with pytest.raises(CheckpointGone):
        asyncio.run(fetch())
    assert follower.journal.head() == end(LINE[:20])


def test_a_checkpoint_that_does_not_fit_on_the_disk_is_not_begun(leader: Node, follower: Node) -> None:
    with pytest.raises(InsufficientStorage, match="make room"):
        run(leader, follower, free_bytes_min=1 << 60)
    assert follower.names() == []


def test_a_checkpoint_of_a_newer_release_stops_this_node(leader: Node, follower: Node) -> None:
    def check(_: ImageHeader) -> None:
        raise NewerRelease("the cluster is at feature level 9: upgrade this node")

    with pytest.raises(NewerRelease):
        run(leader, follower, check=check)
    assert follower.unfit == ["the cluster is at feature level 9: upgrade this node"]
    assert follower.journal.base() == Base()


def test_a_file_of_another_place_than_was_offered_is_refused(leader: Node, follower: Node) -> None:
    async def fetch() -> None:
        source = leader.exchange(nobody)
        wanted = offer(leader)
        wrong = CheckpointOffer(
            Position(Epoch(9), LAST.txid),
            wanted.chain,
            wanted.last_ts_us,
            wanted.voters_txid,
            wanted.voters,
            wanted.size_bytes,
            wanted.sha256,
        )
        await follower.exchange(lambda _, asked: source.chunk(asked)).fetch(LEADER, wrong)

    with pytest.raises(CheckpointDamaged, match="not of what was offered"):
        asyncio.run(fetch())


# --- a crash after each step: what the next start finds -------------------------------------------


def restarted(node: Node, line: list[Entry]) -> str:
    """What a node's projection is after its next start, with the journal's records applied."""
    journal = node.reopen()
    with closing(projection(node.directory)) as store:
        restore(store, journal, node.directory, lambda *_: None)
        rest = journal.read(Txid(store.meta().applied_txid), limit=1000)
        apply(store, rest)
        assert store.meta().applied_txid == len(line)
        return digest(store)[1]


def digest_of(tmp_path: Path, line: list[Entry]) -> str:
    with closing(projection(tmp_path / f"whole {len(line)}", line)) as store:
        return digest(store)[1]


def test_after_the_download_alone_nothing_has_happened(tmp_path: Path, leader: Node, follower: Node) -> None:
    projection(follower.directory, LINE[:10]).close()
    run(leader, follower, install=False)
    assert restarted(follower, LINE[:20]) == digest_of(tmp_path, LINE[:20])
    assert follower.names() == []  # nobody knows it: it is fetched again
    run(leader, follower)
    assert restarted(follower, LINE) == digest_of(tmp_path, LINE)


@pytest.mark.parametrize("applied", [0, 10, 20], ids=["no", "an old", "the last"])
def test_a_projection_that_was_not_loaded_before_the_crash_is_loaded_at_the_start(
    tmp_path: Path, leader: Node, follower: Node, applied: int
) -> None:
    projection(follower.directory, LINE[:applied]).close()
    run(leader, follower)
    assert restarted(follower, LINE) == digest_of(tmp_path, LINE)

    rest = more(LINE, 15)
    follower.journal.append(rest)
    assert restarted(follower, LINE + rest) == digest_of(tmp_path, LINE + rest)


def test_the_older_checkpoint_is_used_when_the_newer_is_damaged(
    tmp_path: Path, leader: Node, follower: Node
) -> None:
    run(leader, follower)
    rest = more(LINE, 15)
    follower.journal.append(rest)
    last = rest[-1]
    newer = Checkpoint(last.txid, last.epoch, last.chain, 1, 9, b"", b"", follower.files.relative(last.txid))
    follower.files.path(last.txid).write_bytes(b"nonsense!")
    follower.journal.remember_checkpoint(newer)

    assert restarted(follower, LINE + rest) == digest_of(tmp_path, LINE + rest)
    assert [each.txid for each in follower.journal.checkpoints()] == [LAST.txid]
    assert len(follower.names()) == 1


def test_a_checkpoint_damaged_within_is_noticed_when_it_is_loaded(leader: Node) -> None:
    """Nothing was compacted here: the journal alone makes the state again."""
    path = leader.files.path(LAST.txid)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    (leader.directory / "namespace.mdb" / "TRUST").unlink()
    with closing(projection(leader.directory)) as store:
        assert restore(store, leader.journal, leader.directory, lambda *_: None) is None
        assert store.meta().applied_txid == 0
    assert leader.journal.checkpoints() == []


def test_after_an_upgrade_of_the_tables_the_records_are_replayed(
    tmp_path: Path, leader: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint has the tables of the release before; journal or archive have all records."""
    monkeypatch.setattr(layout, "FORMAT", layout.FORMAT + 1)
    wanted = digest_of(tmp_path, LINE)
    assert restarted(leader, LINE) == wanted

    base = leader.journal.base()
    Archive(leader.directory).seal(leader.journal, CLUSTER, base.last_txid, Txid(10))
    leader.journal.compact(Txid(10), limit=1000)
    (leader.directory / "namespace.mdb" / "TRUST").unlink()
    assert restarted(leader, LINE) == wanted


def test_an_upgrade_of_the_tables_without_the_records_before_is_refused(
    leader: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader.journal.compact(Txid(10), limit=1000)
    monkeypatch.setattr(layout, "FORMAT", layout.FORMAT + 1)
    with (
        closing(projection(leader.directory)) as store,
        pytest.raises(NewerRelease, match="run the same release on every NameNode"),
    ):
        restore(store, leader.reopen(), leader.directory, lambda *_: None)


def test_without_any_checkpoint_a_compacted_journal_is_refused(leader: Node, follower: Node) -> None:
    run(leader, follower)
    follower.files.path(LAST.txid).unlink()
    with (
        closing(projection(follower.directory)) as store,
        pytest.raises(JournalUnavailable, match="put one back"),
    ):
        restore(store, follower.reopen(), follower.directory, lambda *_: None)


def test_leftovers_go_and_what_is_kept_for_a_person_stays(leader: Node) -> None:
    for name in (
        "ckpt-00000000000000000999.tmp",
        "ckpt-00000000000000000005",
        "ckpt-00000000000000000007.differs",
    ):
        (leader.files.directory / name).write_bytes(b"x")
    tidy(leader.journal, leader.directory)
    assert find(leader.journal, leader.directory) is not None
    assert leader.names() == [
        leader.files.path(LAST.txid).name.replace(f"{LAST.txid:020d}", "0" * 19 + "7") + ".differs",
        leader.files.path(LAST.txid).name,
    ]
