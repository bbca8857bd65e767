"""The same state makes the same file everywhere, and the file makes that state again or nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.errors import CheckpointDamaged, NewerRelease
from esdfs.namenode.checkpoints.files import CheckpointFiles, sha256_of
from esdfs.namenode.checkpoints.image import VoterOf, read_header, read_trailer
from esdfs.namenode.checkpoints.making import Made, load, make
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.digest import digest
from esdfs.namenode.projection.lmdb import ProjectionStore
from tests.unit.namenode.checkpoints.records import CLUSTER, apply, more, projection, records

LINE = records(40)
VOTERS = (VoterOf("nn-1", "s1", "voter", "h1:1 http://h1:2"),)


def made(store: ProjectionStore) -> tuple[Path, Made]:
    """A checkpoint of a projection, beside it."""
    files = CheckpointFiles(store.path.parent)
    with store.image() as image:
        return files.path(image.meta.applied_txid), make(files, image, CLUSTER, 2, VOTERS)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    store = projection(tmp_path / "a", LINE)
    path = made(store)[0]
    store.close()
    return path


def test_however_a_state_came_about_its_file_is_the_same(tmp_path: Path) -> None:
    first, one = made(projection(tmp_path / "a", LINE, batch=1000))
    second, other = made(projection(tmp_path / "b", LINE, batch=1))

    assert first.read_bytes() == second.read_bytes()
    assert one == other
    assert one.sha256 == sha256_of(first)
    assert one.size_bytes == first.stat().st_size


def test_one_record_more_is_another_file(tmp_path: Path) -> None:
    store = projection(tmp_path / "a", LINE)
    _, before = made(store)
    apply(store, more(LINE, 1))
    _, after = made(store)
    assert before.sha256 != after.sha256
    assert before.state_digest != after.state_digest


def test_the_file_says_what_it_is_of(tmp_path: Path) -> None:
    store = projection(tmp_path / "a", LINE)
    path, told = made(store)
    with path.open("rb") as file:
        header = read_header(file)
        trailer = read_trailer(file)

    last = LINE[-1]
    assert (header.txid, header.epoch, header.chain, header.ts_us) == (
        last.txid,
        last.epoch,
        last.chain,
        last.ts_us,
    )
    assert (header.cluster_id, header.voters_txid, header.voters) == (CLUSTER, 2, VOTERS)
    assert (header.feature_level, header.layout_format) == (2, layout.FORMAT)
    assert trailer.state_digest == told.state_digest == bytes.fromhex(digest(store)[1])


def test_a_loaded_state_is_the_one_that_was_saved_and_goes_on_from_there(
    tmp_path: Path, checkpoint: Path
) -> None:
    rest = more(LINE, 20)
    original = projection(tmp_path / "a", rest)  # where the checkpoint was made of LINE
    copy = projection(tmp_path / "b", LINE[:30])

    assert load(copy, checkpoint) == LINE[-1].txid
    apply(copy, rest)
    assert digest(copy) == digest(original)
    with copy.present() as view:
        assert view.child(1, "renamed 1") is not None
        assert view.past(LINE[-1].txid - 1).child(1, "file 00000") is not None


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.95, 0.999])
def test_a_changed_byte_anywhere_leaves_the_state_of_before(
    tmp_path: Path, checkpoint: Path, part: float
) -> None:
    data = bytearray(checkpoint.read_bytes())
    data[int(part * len(data))] ^= 0x20
    checkpoint.write_bytes(data)

    copy = projection(tmp_path / "b", LINE[:30])
    before = digest(copy)
    with pytest.raises(CheckpointDamaged):
        load(copy, checkpoint)
    assert digest(copy) == before


@pytest.mark.parametrize("part", [0.001, 0.5, 0.99])
def test_a_file_cut_short_leaves_the_state_of_before(tmp_path: Path, checkpoint: Path, part: float) -> None:
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: int(part * len(data))])

    copy = projection(tmp_path / "b", LINE[:30])
    before = digest(copy)
    with pytest.raises(CheckpointDamaged):
        load(copy, checkpoint)
    assert digest(copy) == before


def test_a_file_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(CheckpointDamaged, match="cannot be read"):
        load(projection(tmp_path / "b"), tmp_path / "nothing")


def test_another_releases_tables_are_not_loaded(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "FORMAT", layout.FORMAT + 1)
    with pytest.raises(NewerRelease, match="layout"):
        load(projection(tmp_path / "b"), checkpoint)


def test_an_image_does_not_see_what_is_committed_while_it_is_read(tmp_path: Path) -> None:
    store = projection(tmp_path / "a", LINE)
    _, alone = made(store)
    with store.image() as image:
        apply(store, more(LINE, 50))
        assert make(CheckpointFiles(tmp_path / "a"), image, CLUSTER, 2, VOTERS) == alone


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path) -> None:
    store, files = projection(tmp_path / "a", LINE), CheckpointFiles(tmp_path / "a")
    with pytest.raises(AssertionError, match="failing here"), store.image() as image:
        make(files, image._replace(tables=_failing(image.tables)), CLUSTER, 0, ())
    assert list(files.directory.iterdir()) == []


def _failing(
    tables: Iterator[tuple[bytes, Iterator[tuple[bytes, bytes]]]],
) -> Iterator[tuple[bytes, Iterator[tuple[bytes, bytes]]]]:
    for number, table in enumerate(tables):
        assert number < 5, "failing here"
        yield table


def test_values_longer_than_a_group_come_back(tmp_path: Path) -> None:
    store: ProjectionStore = projection(tmp_path / "a", LINE)
    writer = store.begin()
    writer._txn.put(b"\xff" * 16 + bytes(8), bytes(range(256)) * 12_000, db=writer._dbs[b"results"])
    writer.commit()
    path, _ = made(store)
    copy = projection(tmp_path / "b")
    load(copy, path)
    assert digest(copy) == digest(store)
