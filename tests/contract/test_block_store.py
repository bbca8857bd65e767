"""A DataNode's store on a real disk: what it promises whatever happens to its files."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from esdfs.blocks import CHUNK_BYTES, MIB
from esdfs.datanode import layout
from esdfs.datanode.opening import open_volumes
from esdfs.datanode.replica import BlockKey
from esdfs.datanode.scrub import Scrubber
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import (
    DiskFailed,
    EsdfsError,
    IdentityConflict,
    NewerRelease,
    OutOfRange,
    Overloaded,
    ReplicaCorrupt,
    ReplicaExists,
    ReplicaNotFound,
    Unavailable,
    VolumeFull,
)
from esdfs.rpc.datanode import trimmed
from esdfs.rpc.messages import BlockRequest
from tests.blocks import Shelf, compressed_frames, content, flip, plain_frames

DATA = content(2 * MIB + 100_000)
TEXT = b"the quick brown fox jumps over the lazy dog; " * 60_000


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def logical(shelf: Shelf, block_id: int, offset: int = 0, length: int = 0) -> bytes:
    request = BlockRequest(block_id=block_id, offset=offset, length=length)
    frames = shelf.store.read(block_id, 0, offset, length)
    return b"".join(bytes(piece) for piece in trimmed(frames, request))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, MIB, len(DATA)])
def test_what_was_finalized_is_read_back_also_after_a_restart(shelf: Shelf, size: int) -> None:
    receipt = shelf.put(plain_frames(7, DATA[:size]))
    assert receipt.length_bytes == size
    assert logical(shelf, 7) == DATA[:size]
    shelf.reopen()
    assert logical(shelf, 7) == DATA[:size]
    assert shelf.store.receipt(shelf.store.find(7)) == receipt


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 1),
        (CHUNK_BYTES - 1, 2),
        (MIB - 1, 2),
        (MIB, MIB),
        (5, len(DATA)),
        (len(DATA) - 1, 1),
        (len(DATA), 0),
    ],
)
@pytest.mark.parametrize("make", [plain_frames, compressed_frames])
def test_any_range_is_read(shelf: Shelf, offset: int, length: int, make: Callable[..., object]) -> None:
    data = (TEXT if make is compressed_frames else DATA)[: len(DATA)]
    shelf.put(make(7, data))  # type: ignore[arg-type]  # both make frames
    offset = min(offset, len(data))
    assert logical(shelf, 7, offset, length) == data[offset : offset + length if length else None]


def test_a_range_behind_the_end_is_refused(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    with pytest.raises(OutOfRange):
        shelf.read(7, offset=len(DATA) + 1)


def test_a_small_range_reads_only_its_chunks(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    flip(shelf.data_path(7), 0)
    assert logical(shelf, 7, MIB + 5, 10) == DATA[MIB + 5 : MIB + 15]
    assert len(shelf.read(7, offset=MIB + 5, length=10)) == CHUNK_BYTES


META_BYTES = layout.HEADER_BYTES + 4 * 34 + 4

DAMAGES: dict[str, Callable[[Shelf], None]] = {
    "the first data byte": lambda s: flip(s.data_path(7), 0),
    "a middle data byte": lambda s: flip(s.data_path(7), MIB + 77),
    "the last data byte": lambda s: flip(s.data_path(7), len(DATA) - 1),
    "data cut short": lambda s: os.truncate(s.data_path(7), len(DATA) - 1),
    "meta magic": lambda s: flip(s.data_path(7).with_suffix(".meta"), 0),
    "meta header": lambda s: flip(s.data_path(7).with_suffix(".meta"), 33),
    "meta checksum table": lambda s: flip(s.data_path(7).with_suffix(".meta"), layout.HEADER_BYTES + 40),
    "meta's own checksum": lambda s: flip(s.data_path(7).with_suffix(".meta"), META_BYTES - 1),
    "meta cut short": lambda s: os.truncate(s.data_path(7).with_suffix(".meta"), 90),
    "another block's data": lambda s: swap(s, ".data"),
    "another block's meta": lambda s: swap(s, ".meta"),
    "another block's files": lambda s: swap(s, ".data", ".meta"),
}


def swap(shelf: Shelf, *suffixes: str) -> None:
    for suffix in suffixes:
        one, other = (shelf.data_path(n).with_suffix(suffix) for n in (7, 8))
        aside = one.with_name("aside")
        one.rename(aside)
        other.rename(one)
        aside.rename(other)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_any_kind_is_never_served(shelf: Shelf, damage: str, restart: bool) -> None:
    shelf.put(plain_frames(7, DATA))
    shelf.put(plain_frames(8, content(len(DATA), seed=2)))
    DAMAGES[damage](shelf)
    if restart:
        shelf.reopen()
    served = bytearray()

    def serve() -> None:
        for frame in shelf.store.read(7):
            served.extend(frame.data)

    with pytest.raises(ReplicaCorrupt):
        serve()
    assert DATA.startswith(bytes(served))
    assert shelf.store.corrupt()[0] == BlockKey(7, 1)
    with pytest.raises(ReplicaCorrupt, match="set aside"):
        shelf.store.find(7)
    assert any(name.startswith("7_1_") for name in shelf.files("corrupt"))
    shelf.reopen()
    assert BlockKey(7, 1) in shelf.store.corrupt()
    with pytest.raises(EsdfsError):
        shelf.read(7)


def test_a_corrupt_replica_is_replaced_by_a_new_copy(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    flip(shelf.data_path(7), 9)
    with pytest.raises(ReplicaCorrupt):
        shelf.read(7)
    assert shelf.heard.events[-1] == ("corrupt", BlockKey(7, 1))
    shelf.put(plain_frames(7, DATA))
    assert logical(shelf, 7) == DATA
    assert shelf.store.corrupt() == []


def test_a_doubt_about_a_replica_that_was_replaced_meanwhile_is_no_alarm(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    old = shelf.store.find(7)
    shelf.put(plain_frames(7, DATA, generation=2))
    shelf.store.doubt(old, "read of the old generation")
    assert logical(shelf, 7) == DATA
    assert ("corrupt", BlockKey(7, 1)) not in shelf.heard.events


def test_damage_is_not_forgotten_because_a_scrub_ended_while_it_was_read(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    reading = shelf.store.read(7)
    next(reading)
    shelf.store.verified(shelf.store.find(7))
    flip(shelf.data_path(7), MIB + 5)
    with pytest.raises(ReplicaCorrupt):
        list(reading)
    assert shelf.store.corrupt() == [BlockKey(7, 1)]
    assert shelf.heard.events[-1] == ("corrupt", BlockKey(7, 1))


def test_the_scrubber_finds_what_nobody_reads_and_remembers_what_it_read(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    shelf.put(plain_frames(8, DATA))
    flip(shelf.data_path(8), MIB)
    scrubber = Scrubber(shelf.store, OsClock(), period_s=1000, bytes_per_s=1e12)
    assert scrubber.scrub(shelf.store.find(7)) is True
    assert scrubber.scrub(shelf.store.find(8)) is False
    assert shelf.heard.events[-1] == ("corrupt", BlockKey(8, 1))
    verified_us = shelf.store.find(7).verified_us
    assert verified_us > 0
    shelf.reopen()
    assert shelf.store.find(7).verified_us == verified_us
    shelf.put(plain_frames(9, DATA))
    shelf.reopen()
    assert shelf.store.find(9).verified_us == 0


def test_what_is_verified_is_read_from_the_disk(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.put(plain_frames(7, DATA))
    done: list[str] = []
    for name in ("posix_fadvise", "preadv"):
        real = getattr(os, name)

        def call(*args: object, name: str = name, real: Callable[..., object] = real) -> object:
            if not done or done[-1] != name:
                done.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, call)
    shelf.store.verify(shelf.store.find(7))
    assert done == ["posix_fadvise", "preadv", "posix_fadvise"]
    flip(shelf.data_path(7), MIB)
    with pytest.raises(ReplicaCorrupt):
        shelf.store.verify(shelf.store.find(7))
    assert shelf.store.corrupt() == [BlockKey(7, 1)]


# --- generations, deletes ---


def test_a_present_or_newer_generation_is_not_overwritten(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA, generation=2))
    for generation in (1, 2):
        with pytest.raises(ReplicaExists):
            shelf.put(plain_frames(7, b"x", generation=generation))
    assert logical(shelf, 7) == DATA


def test_two_streams_cannot_write_one_block_at_a_time(shelf: Shelf) -> None:
    first = next(iter(plain_frames(7, DATA)))
    writer = shelf.store.start(first)
    with pytest.raises(Overloaded, match="another stream"):
        shelf.store.start(first)
    writer.drop()
    shelf.put(plain_frames(7, DATA))


def test_a_newer_generation_replaces_the_older(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, b"old"))
    shelf.put(plain_frames(7, b"new", generation=2))
    assert logical(shelf, 7) == b"new"
    with pytest.raises(ReplicaNotFound):
        shelf.read(7, generation=1)
    assert [name for name in shelf.files("current") if name.startswith("7_")] == ["7_2.data", "7_2.meta"]
    shelf.reopen()
    assert logical(shelf, 7) == b"new"


def test_a_delete_spares_newer_generations_and_is_idempotent(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA, generation=5))
    assert shelf.store.delete(7, 4) is False
    assert logical(shelf, 7) == DATA
    assert shelf.store.delete(7, 5) is True
    assert shelf.store.delete(7, 5) is False
    with pytest.raises(ReplicaNotFound):
        shelf.read(7)
    shelf.reopen()
    with pytest.raises(ReplicaNotFound):
        shelf.read(7)


def test_the_trash_is_kept_for_its_delay(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    shelf.store.delete(7, 1)
    assert shelf.store.empty_trash(delay_s=1000) == 0
    assert len(shelf.files("trash")) == 2
    assert shelf.store.empty_trash(delay_s=0) == 2
    assert shelf.files("trash") == []


@pytest.mark.parametrize("state", ["trash", "corrupt"])
def test_what_was_dropped_while_the_clock_was_ahead_goes_after_its_delay_from_now(
    shelf: Shelf, state: str
) -> None:
    names = [f"7_1_{2**60}.data", f"7_1_{2**60}.meta", f"7_1_{2**60 + 1}.data"]
    for name in names:
        (shelf.roots[0] / state / name).touch()
    assert shelf.store.empty_trash(delay_s=1000) == 0
    assert shelf.store.empty_trash(delay_s=1000) == 0
    found = [layout.parse_name(name) for name in shelf.files(state)]
    assert len(found) == 3
    now_us = OsClock().wall_us()
    assert all(name is not None and now_us - 60 * 10**6 < name.when_us <= now_us for name in found)


def set_aside_days_ago(shelf: Shelf, days: int) -> None:
    flip(shelf.data_path(7), 9)
    with pytest.raises(ReplicaCorrupt):
        shelf.read(7)
    for path in (shelf.roots[0] / "corrupt").iterdir():
        block_id, generation, when = path.stem.split("_")
        earlier = int(when) - days * 86_400 * 10**6
        path.rename(path.with_stem(f"{block_id}_{generation}_{earlier}"))


def test_what_was_set_aside_is_kept_until_the_leader_ordered_it_away_and_a_week_is_over(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    set_aside_days_ago(shelf, 8)
    assert shelf.store.empty_trash(delay_s=0) == 0
    shelf.store.delete(7, 1)
    assert shelf.store.empty_trash(delay_s=2 * 86_400) == 0
    assert shelf.store.empty_trash(delay_s=0) == 2
    shelf.put(plain_frames(7, DATA))
    set_aside_days_ago(shelf, 6)
    shelf.store.delete(7, 1)
    assert shelf.store.empty_trash(delay_s=0) == 0
    assert len(shelf.files("corrupt")) == 2


@pytest.mark.parametrize("restart", [False, True])
def test_what_was_set_aside_and_replaced_is_not_reported_and_goes_after_a_week(
    shelf: Shelf, restart: bool
) -> None:
    shelf.put(plain_frames(7, DATA))
    set_aside_days_ago(shelf, 8)
    shelf.put(plain_frames(7, DATA))
    if restart:
        shelf.reopen()
    assert shelf.store.corrupt() == []
    assert shelf.store.empty_trash(delay_s=0) == 2
    assert logical(shelf, 7) == DATA


def test_a_reader_is_not_disturbed_by_a_delete(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    frames = shelf.store.read(7)
    pieces = [bytes(next(frames).data)]
    shelf.store.delete(7, 1)
    shelf.store.empty_trash(delay_s=0)
    pieces += [bytes(frame.data) for frame in frames]
    assert b"".join(pieces) == DATA


# --- what crashes leave ---


def test_an_unfinished_block_is_never_visible(shelf: Shelf) -> None:
    frames = list(plain_frames(7, DATA))
    writer = shelf.store.start(frames[0])
    writer.accept(frames[0])
    writer.write(frames[0])
    assert shelf.files("tmp") == ["7_1.data"]
    shelf.reopen()  # as after a kill
    with pytest.raises(ReplicaNotFound):
        shelf.store.find(7)
    assert shelf.files("tmp") == []
    assert len(shelf.files("trash")) == 1  # its bytes are kept for a while
    shelf.put(plain_frames(7, DATA))
    assert logical(shelf, 7) == DATA


def test_a_crash_between_the_renames_leaves_nothing_visible(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    path = shelf.data_path(7)
    path.rename(shelf.roots[0] / "tmp" / path.name)
    shelf.reopen()
    with pytest.raises(ReplicaNotFound):
        shelf.store.find(7)
    assert shelf.files("current") == shelf.files("tmp") == []
    assert len(shelf.files("trash")) == 2


def test_a_replica_in_the_wrong_directory_is_not_served(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    elsewhere = shelf.roots[0] / "current" / "ab" / "cd"
    elsewhere.mkdir(parents=True)
    for suffix in ("data", "meta"):
        path = shelf.data_path(7).with_suffix(f".{suffix}")
        shutil.copy(path, elsewhere / path.name)
    for path in shelf.data_path(7).parent.iterdir():
        path.unlink()
    shelf.reopen()
    with pytest.raises(EsdfsError):
        shelf.read(7)


def test_of_two_copies_on_two_volumes_the_newer_generation_is_kept(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, volumes=2)
    shelf.put(plain_frames(7, b"old"))
    source = shelf.data_path(7).parent
    (other,) = (v for v in shelf.volumes if v.root not in source.parents)
    saved = {path.name: path.read_bytes() for path in source.iterdir()}
    shelf.put(plain_frames(7, b"new", generation=2))
    directory = other.root / other.make_directory(7)
    for name, raw in saved.items():
        (directory / name).write_bytes(raw)
    shelf.reopen()
    assert logical(shelf, 7) == b"new"
    assert [name for name in shelf.files("current") if name.startswith("7_")] == ["7_2.data", "7_2.meta"]


@pytest.mark.parametrize("bad", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("later", [0, 1])
def test_of_two_equal_copies_on_two_volumes_a_good_one_is_kept(
    tmp_path: Path, bad: tuple[int, ...], later: int
) -> None:
    """A volume that had failed was put back, after the block had been copied to the other."""
    shelf = Shelf(tmp_path, volumes=2)
    shelf.put(plain_frames(7, DATA))
    source = shelf.data_path(7)
    (other,) = (v for v in shelf.volumes if v.root not in source.parents)
    directory = other.root / other.make_directory(7)
    for path in (source, source.with_suffix(".meta")):
        shutil.copy2(path, directory / path.name)
    for index in bad:
        flip(shelf.volumes[index].final_path(7, 1, "data"), MIB + 5)
    os.utime(shelf.volumes[1 - later].final_path(7, 1, "data"), (1, 1))
    os.utime(shelf.volumes[later].final_path(7, 1, "data"), (2, 2))
    shelf.reopen()
    if len(bad) < 2:
        assert logical(shelf, 7) == DATA
        assert shelf.store.corrupt() == []
    else:
        with pytest.raises(ReplicaCorrupt):
            shelf.read(7)
        assert shelf.store.corrupt() == [BlockKey(7, 1)]
    assert sum(v.used_bytes for v in shelf.volumes) == (len(DATA) if len(bad) < 2 else 0)
    kept = shelf.files("current") + shelf.files("trash") + shelf.files("corrupt")
    assert len(kept) == 4, "nothing is unlinked"


def test_of_two_equal_copies_the_one_is_kept_whose_disk_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path, volumes=2)
    shelf.put(plain_frames(7, DATA))
    source = shelf.data_path(7)
    (other,) = (v for v in shelf.volumes if v.root not in source.parents)
    directory = other.root / other.make_directory(7)
    for path in (source, source.with_suffix(".meta")):
        shutil.copy2(path, directory / path.name)
    later = shelf.volumes[0].final_path(7, 1, "data")
    os.utime(later, ns=(2**62, 2**62))
    preadv = os.preadv

    def fails_there(fd: int, *args: object) -> object:
        if Path(f"/proc/self/fd/{fd}").readlink() == later:
            raise OSError(errno.ENODEV, "no such device")
        return preadv(fd, *args)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(os, "preadv", fails_there)
    shelf.reopen()
    assert shelf.volumes[0].failed
    assert logical(shelf, 7) == DATA


def test_files_of_others_are_left_alone(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    stranger = shelf.data_path(7).with_name("README")
    stranger.write_text("mine")
    shelf.reopen()
    assert stranger.read_text() == "mine"
    assert logical(shelf, 7) == DATA


# --- full and failing disks ---


def test_a_write_that_would_use_the_reserve_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    shelf = Shelf(tmp_path, reserve_bytes=free * 2)
    with pytest.raises(VolumeFull):
        shelf.put(plain_frames(7, DATA))
    assert shelf.files("tmp") == []
    assert shelf.volumes[0].available_bytes() == 0
    assert not shelf.volumes[0].failed


def test_promised_room_is_given_back(shelf: Shelf) -> None:
    frames = list(plain_frames(7, DATA))
    writer = shelf.store.start(frames[0])
    writer.accept(frames[0])
    writer.write(frames[0])
    writer.drop()
    shelf.put(plain_frames(8, DATA))
    assert shelf.volumes[0]._promised_bytes == 0


def test_after_a_failed_write_the_volume_is_out_of_service_for_good(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, volumes=2)
    shelf.put(plain_frames(7, DATA))
    volume = next(v for v in shelf.volumes if v.root in shelf.data_path(7).parents)
    other = next(v for v in shelf.volumes if v is not volume)
    with pytest.raises(DiskFailed), volume.changing("fsync of a block", full_is_failure=True):
        raise OSError(5, "Input/output error")
    assert ("removed", BlockKey(7, 1)) in shelf.heard.events
    with pytest.raises(ReplicaNotFound):
        shelf.read(7)
    shelf.put(plain_frames(8, DATA))
    assert other.root in shelf.data_path(8).parents
    shelf.reopen()
    assert [bool(v.failed) for v in shelf.volumes] == [v.root == volume.root for v in shelf.volumes]
    with pytest.raises(ReplicaNotFound):
        shelf.read(7)
    (volume.root / layout.FAILED_FILE).unlink()  # the operator's decision
    shelf.reopen()
    assert logical(shelf, 7) == DATA


def test_a_disk_that_is_full_at_a_write_is_not_failed_but_at_an_fsync_it_is(shelf: Shelf) -> None:
    (volume,) = shelf.volumes
    with pytest.raises(VolumeFull), volume.changing("writing"):
        raise OSError(28, "No space left on device")
    assert not volume.failed
    with pytest.raises(DiskFailed), volume.changing("fsync", full_is_failure=True):
        raise OSError(28, "No space left on device")
    assert shelf.volumes[0].failed
    with pytest.raises(DiskFailed):
        shelf.put(plain_frames(7, DATA))


def test_a_directory_whose_name_may_not_be_durable_is_never_written_to(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at the fsync, too: later the directory is there, and nobody would know."""

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(DiskFailed):
            shelf.put(plain_frames(7, DATA))
    assert shelf.volumes[0].failed
    assert shelf.files("current") == []


def test_a_directory_that_is_there_already_is_made_durable_before_it_is_used(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made it may have been killed before its fsync."""
    (shelf.roots[0] / layout.directory(7)).mkdir(parents=True)
    flushed: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{fd}").readlink().relative_to(shelf.roots[0])))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    shelf.put(plain_frames(7, DATA))
    assert flushed == ["current", "current/00", "current/00/00"]
    shelf.put(plain_frames(8, DATA))
    assert flushed[3:] == ["current/00/00"]


@pytest.mark.parametrize("what", ["fdatasync", "fsync", "pwrite", "rename"])
def test_when_the_disk_fails_nothing_is_acknowledged_and_nothing_is_tried_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    shelf.put(plain_frames(6, DATA))
    calls: list[object] = []

    def fail(*args: object) -> None:
        calls.append(args)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        if what == "rename":
            patch.setattr(Path, "rename", fail)
        else:
            patch.setattr(os, what, fail)
        with pytest.raises(DiskFailed, match="Input/output error"):
            shelf.put(plain_frames(7, DATA))
        assert len(calls) == 1
    for block_id in (6, 7):
        with pytest.raises(ReplicaNotFound):
            shelf.store.find(block_id)
    with pytest.raises(DiskFailed):
        shelf.put(plain_frames(8, DATA))


@pytest.mark.parametrize(
    ("number", "error"),
    [
        *((number, ReplicaCorrupt) for number in (errno.EIO, errno.EUCLEAN, errno.EBADMSG)),
        *((number, Overloaded) for number in (errno.EMFILE, errno.ENOMEM)),
        *((number, DiskFailed) for number in (errno.ENODEV, errno.ENXIO, errno.ESTALE)),
    ],
)
@pytest.mark.parametrize("call", ["open", "preadv"])
def test_a_failed_read_says_whose_fault_it_is(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: type[EsdfsError]
) -> None:
    shelf.put(plain_frames(7, DATA))

    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(error):
            shelf.read(7)
    assert shelf.store.corrupt() == ([BlockKey(7, 1)] if error is ReplicaCorrupt else [])
    assert bool(shelf.volumes[0].failed) is (error is DiskFailed)
    assert (("removed", BlockKey(7, 1)) in shelf.heard.events) is (error is DiskFailed)


def test_a_process_out_of_descriptors_does_not_blame_the_disk(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(Overloaded):
            shelf.put(plain_frames(7, DATA))
    assert not shelf.volumes[0].failed
    shelf.put(plain_frames(7, DATA))


def test_a_replica_whose_files_were_taken_away_is_reported_as_gone(shelf: Shelf) -> None:
    shelf.put(plain_frames(7, DATA))
    shelf.data_path(7).unlink()
    with pytest.raises(ReplicaNotFound):
        shelf.read(7)
    assert shelf.heard.events[-1] == ("removed", BlockKey(7, 1))
    shelf.put(plain_frames(7, DATA))
    assert logical(shelf, 7) == DATA


def test_an_older_generation_finished_late_does_not_win(shelf: Shelf) -> None:
    frames = list(plain_frames(7, b"old"))
    writer = shelf.store.start(frames[0])
    writer.accept(frames[0])
    writer.write(frames[0])
    shelf.put(plain_frames(7, b"new", generation=2))
    shelf.store.finalize([writer])
    assert logical(shelf, 7) == b"new"
    shelf.reopen()
    assert logical(shelf, 7) == b"new"


# --- identity ---


def test_volumes_of_others_are_refused(tmp_path: Path) -> None:
    def opening(*names: str, node_id: str = "dn-1") -> None:
        for volume in open_volumes([tmp_path / name for name in names], node_id, 0, OsRng()):
            volume.close()

    opening("a")
    opening("b")
    opening("a")
    with pytest.raises(IdentityConflict, match="belongs to DataNode 'dn-1'"):
        opening("a", node_id="dn-2")
    with pytest.raises(IdentityConflict, match="than the other volumes"):
        opening("a", "b")
    for name, cluster in (("a", "one"), ("c", "two")):
        (volume,) = open_volumes([tmp_path / name], "dn-1", 0, OsRng())
        volume.adopt(cluster)
        volume.close()
    text = (tmp_path / "c" / "VERSION").read_text()
    uuid_of_a = (tmp_path / "a" / "VERSION").read_text().split('"node_uuid":"')[1][:36]
    uuid_of_c = text.split('"node_uuid":"')[1][:36]
    (tmp_path / "c" / "VERSION").write_text(text.replace(uuid_of_c, uuid_of_a))
    with pytest.raises(IdentityConflict, match="belongs to cluster two"):
        opening("a", "c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").touch()
    with pytest.raises(IdentityConflict, match=r"thesis\.tex"):
        opening("d")
    (tmp_path / "b" / "VERSION").write_text("garbage")
    with pytest.raises(IdentityConflict, match="not readable"):
        opening("b")
    newer = (tmp_path / "a" / "VERSION").read_text().replace('"format_version":1', '"format_version":9')
    (tmp_path / "a" / "VERSION").write_text(newer)
    with pytest.raises(NewerRelease):
        opening("a")
    shelf = Shelf(tmp_path / "e")
    with pytest.raises(Unavailable, match="in use"):
        open_volumes(shelf.roots, "dn-1", 0, OsRng())


def test_a_finalized_group_costs_one_directory_flush(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    writers = []
    for number in range(1, 6):
        frames = list(plain_frames(number, DATA[:100]))
        writer = shelf.store.start(frames[0])
        writer.accept(frames[0])
        writer.write(frames[0])
        writers.append(writer)
    shelf.volumes[0].make_directory(1)
    flushed: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        flushed.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    receipts = shelf.store.finalize(writers)
    assert len(receipts) == 5
    assert len(flushed) == 1
    assert [logical(shelf, number) for number in range(1, 6)] == [DATA[:100]] * 5
