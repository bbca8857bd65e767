"""DataNodes that start while a disk of theirs is bad."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esdfs.blocks import MIB
from esdfs.datanode import layout
from esdfs.datanode.config import DataNodeConfig
from esdfs.datanode.ending import Ending
from esdfs.datanode.fence import EpochFence
from esdfs.datanode.figures import Figures
from esdfs.datanode.load import Load
from esdfs.datanode.main import DataNode
from esdfs.datanode.opening import open_volumes
from esdfs.datanode.peers import PeerTable
from esdfs.datanode.replica import BlockKey
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import IdentityConflict, ReplicaCorrupt, ReplicaNotFound, Unavailable
from tests.blocks import Shelf, content, plain_frames

DATA = content(MIB + 777)


def failing(real: Callable[..., object], number: int, *paths: Path) -> Callable[..., object]:
    """``real``, which fails for these paths."""

    def call(path: Path, *args: object, **options: object) -> object:
        if Path(path) in paths:
            raise OSError(number, os.strerror(number))
        return real(path, *args, **options)

    return call


def no_directory(root: Path, _: pytest.MonkeyPatch) -> None:
    root.rename(root.with_name("aside"))
    root.write_text("a file")


def no_version(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "read_bytes", failing(Path.read_bytes, errno.EIO, root / "VERSION"))


def no_list(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "scandir", failing(os.scandir, errno.EIO, root / "current"))


def read_only(root: Path, patch: pytest.MonkeyPatch) -> None:
    leftover = root / "tmp" / "77_1.data"
    leftover.touch()
    patch.setattr(Path, "rename", failing(Path.rename, errno.EROFS, leftover))


def no_epoch(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "read_text", failing(Path.read_text, errno.EIO, root / "EPOCH"))


def garbled_epoch(root: Path, _: pytest.MonkeyPatch) -> None:
    (root / "EPOCH").write_bytes(b"\xff\x00")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Block 1 on the first volume, block 2 on the second."""
    shelf = Shelf(tmp_path, volumes=2, capacity_bytes=64 * MIB)
    for block_id in (1, 2):
        shelf.put(plain_frames(block_id, DATA))
        assert shelf.roots[block_id - 1] in shelf.data_path(block_id).parents
    for volume in shelf.volumes:
        volume.adopt("cluster")
    EpochFence(shelf.volumes).admit(3)
    yield shelf
    shelf.store.close()


@pytest.mark.parametrize("damage", [no_directory, no_version, no_list, read_only, no_epoch, garbled_epoch])
def test_a_node_starts_with_its_good_volumes_and_says_which_is_bad(
    shelf: Shelf, damage: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    before = shelf.volumes[1].version
    with pytest.MonkeyPatch.context() as patch:
        damage(shelf.roots[0], patch)
        shelf.reopen()
        fence = EpochFence(shelf.volumes)
    bad, good = shelf.volumes
    assert bad.failed
    assert not good.failed
    assert good.version == before
    assert shelf.read(2) == DATA
    with pytest.raises(ReplicaNotFound):
        shelf.store.find(1)
    assert fence.highest == 3
    told = Figures(shelf.store, Load(OsClock()), PeerTable(OsClock()), OsClock()).heartbeat()
    assert [volume["failed"] for volume in told["volumes"]] == [True, False]  # type: ignore[attr-defined]  # of heartbeats
    shelf.put(plain_frames(3, DATA))
    assert shelf.roots[1] in shelf.data_path(3).parents


def test_a_volume_that_could_not_be_opened_is_tried_again_at_the_next_start(shelf: Shelf) -> None:
    with pytest.MonkeyPatch.context() as patch:
        no_version(shelf.roots[0], patch)
        shelf.reopen()
    shelf.reopen()
    assert [volume.failed for volume in shelf.volumes] == ["", ""]
    assert shelf.read(1) == shelf.read(2) == DATA


@pytest.mark.parametrize("number", [errno.EIO, errno.EUCLEAN])
@pytest.mark.parametrize("suffix", ["data", "meta"])
def test_a_replica_whose_files_the_disk_cannot_read_is_set_aside_alone(
    shelf: Shelf, suffix: str, number: int
) -> None:
    path = shelf.data_path(1).with_suffix(f".{suffix}")
    shelf.put(plain_frames(3, DATA))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", failing(Path.open, number, path))
        patch.setattr(Path, "stat", failing(Path.stat, number, path))
        shelf.reopen()
    assert [volume.failed for volume in shelf.volumes] == ["", ""]
    assert shelf.store.corrupt() == [BlockKey(1, 1)]
    with pytest.raises(ReplicaCorrupt):
        shelf.read(1)
    assert shelf.read(2) == shelf.read(3) == DATA


def test_a_volume_that_cannot_be_read_is_not_formatted_and_no_identity_is_made_up(tmp_path: Path) -> None:
    known, new = tmp_path / "known", tmp_path / "new"
    for volume in open_volumes([known], "dn-1", 0, OsRng()):
        volume.close()
    version = (known / "VERSION").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        no_version(known, patch)
        with pytest.raises(Unavailable, match=f"{known}.*Input/output error"):
            open_volumes([known, new], "dn-1", 0, OsRng())
    assert (known / "VERSION").read_bytes() == version
    assert not (new / "VERSION").exists()
    both = open_volumes([known, new], "dn-1", 0, OsRng())
    assert [volume.failed for volume in both] == ["", ""]
    assert len({volume.version.node_uuid for volume in both}) == 1
    for volume in both:
        volume.close()


def test_a_new_volume_that_cannot_be_formatted_fails_and_is_formatted_at_a_later_start(shelf: Shelf) -> None:
    shelf.roots.append(shelf.roots[0].with_name("added"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", failing(Path.rename, errno.EIO, shelf.roots[2] / "VERSION.new"))
        shelf.reopen()
    assert [bool(volume.failed) for volume in shelf.volumes] == [False, False, True]
    shelf.reopen()
    assert [volume.failed for volume in shelf.volumes] == ["", "", ""]
    (shelf.roots[2] / "VERSION").unlink()
    (shelf.roots[2] / "trash" / "1_1_1.data").touch()
    shelf.store.close()
    with pytest.raises(IdentityConflict, match="'trash'"):
        open_volumes([shelf.roots[2]], "dn-1", 0, OsRng())
    shelf.roots.pop()
    shelf.open()


def test_an_epoch_that_a_volume_missed_is_written_to_it_at_the_start(shelf: Shelf) -> None:
    shelf.volumes[0].fail("a test")
    EpochFence(shelf.volumes).admit(5)
    (shelf.roots[0] / layout.FAILED_FILE).unlink()
    shelf.reopen()
    assert EpochFence(shelf.volumes).highest == 5
    assert [(root / "EPOCH").read_text() for root in shelf.roots] == ["5\n", "5\n"]


@pytest.fixture
def ending() -> Iterator[Ending]:
    ending = Ending()
    yield ending
    ending._reader.close()
    ending._writer.close()


def node(roots: list[Path], ending: Ending) -> DataNode:
    config = DataNodeConfig(
        node_id="dn-1", volumes=list(map(str, roots)), namenodes=[], reserve_bytes=0, scrub_period_s=0
    )
    return DataNode(config, OsClock(), OsRng(), ending)


def test_a_node_whose_first_volume_is_bad_knows_its_cluster_and_serves_this_host(
    shelf: Shelf, ending: Ending
) -> None:
    shelf.store.close()
    no_directory(shelf.roots[0], pytest.MonkeyPatch())
    started = node(shelf.roots, ending)
    started.start()
    assert started._cluster_id() == "cluster"
    assert list(shelf.roots[1].glob("*.sock"))
    started.stop()
    shelf.roots[0].unlink()
    shelf.roots[0].with_name("aside").rename(shelf.roots[0])
    shelf.open()


def test_a_node_without_a_usable_volume_does_not_start_and_names_each(shelf: Shelf, ending: Ending) -> None:
    shelf.volumes[1].fail("a broken arm")
    shelf.store.close()
    with pytest.MonkeyPatch.context() as patch:
        no_list(shelf.roots[0], patch)
        with pytest.raises(Unavailable) as refusal:
            node(shelf.roots, ending)
    for root, reason in zip(shelf.roots, ("Input/output error", "a broken arm"), strict=True):
        assert f"{root}: " in refusal.value.message
        assert reason in refusal.value.message
    shelf.open()
