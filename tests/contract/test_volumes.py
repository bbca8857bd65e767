"""Room, use and slowness of real volumes."""

import errno
import os
import threading
from pathlib import Path

import pytest

from esdfs.blocks import MIB
from esdfs.datanode.disk_watch import DiskWatch
from esdfs.datanode.figures import Figures
from esdfs.datanode.load import Load
from esdfs.datanode.mover import VolumeMover
from esdfs.datanode.opening import open_volumes
from esdfs.datanode.pacing import Pace
from esdfs.datanode.peers import PeerTable
from esdfs.datanode.scrub import Scrubber
from esdfs.datanode.volumes import Volume
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import Overloaded, VolumeFull
from esdfs.ids import Micros
from tests.blocks import Shelf, compressed_frames, content, flip, plain_frames
from tests.cluster import eventually
from tests.unit.datanode.clocks import HandClock

DATA = content(3 * MIB + 777)
TEXT = b"all work and no play " * 100_000


def figures(shelf: Shelf) -> dict[str, object]:
    return Figures(shelf.store, Load(OsClock()), PeerTable(OsClock()), OsClock()).heartbeat()


def test_volumes_that_share_a_disk_are_filled_alike(tmp_path: Path) -> None:
    """They have the same room: the one that holds less comes first."""
    shelf = Shelf(tmp_path, volumes=2)
    for block_id in range(1, 21):
        shelf.put(plain_frames(block_id, DATA[:1000]))
    one, two = (volume.used_bytes for volume in shelf.volumes)
    assert min(one, two) >= 4 * 1000, "other processes change a disk's room meanwhile, so not exactly half"


def test_used_bytes_are_what_replicas_take_on_disk_through_everything_that_happens_to_them(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path, volumes=2)

    def check() -> None:
        for volume in shelf.volumes:
            on_disk = sum(path.stat().st_size for path in (volume.root / "current").rglob("*.data"))
            assert volume.used_bytes == on_disk
        told = figures(shelf)
        assert told["used_bytes"] == sum(volume.used_bytes for volume in shelf.volumes)

    check()
    shelf.put(plain_frames(1, DATA))
    receipt = shelf.put(compressed_frames(2, TEXT))
    assert receipt.stored_bytes < len(TEXT) // 2
    shelf.put(plain_frames(3, DATA[:MIB]))
    check()
    assert sum(volume.used_bytes for volume in shelf.volumes) == len(DATA) + receipt.stored_bytes + MIB
    shelf.put(plain_frames(1, DATA[:5], generation=2))
    check()
    shelf.store.delete(3, 1)
    check()
    shelf.store.verified(shelf.store.find(1))
    check()
    flip(shelf.data_path(2), 10)
    shelf.store.doubt(shelf.store.find(2), "a test")
    check()
    shelf.reopen()
    check()
    for volume in shelf.volumes:
        volume.fail("a test")
    assert [volume.used_bytes for volume in shelf.volumes] == [0, 0]
    shelf.store.close()


def test_a_volume_uses_no_more_than_it_may(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, capacity_bytes=4 * MIB)
    (volume,) = shelf.volumes
    assert (volume.capacity_bytes(), volume.available_bytes()) == (4 * MIB, 4 * MIB)
    shelf.put(plain_frames(1, DATA))
    assert volume.available_bytes() == 4 * MIB - len(DATA)
    with pytest.raises(VolumeFull):
        shelf.put(plain_frames(2, DATA))
    shelf.store.delete(1, 1)
    shelf.put(plain_frames(2, DATA))
    shelf.store.close()


def make_slow(volume: Volume, clock: HandClock) -> None:
    """Its fsyncs take two seconds each, for more than a minute."""
    for _ in range(70):
        clock.sleep(1)
        volume.fsyncs.add(clock.now_ns, 2_000_000_000)
        volume.fsyncs.judge(clock.now_ns)
    assert volume.fsyncs.slow


def test_a_slow_volume_gets_no_new_blocks_says_so_and_gets_some_when_it_is_fast_again(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path, volumes=2)
    slow, fast = shelf.volumes
    clock = HandClock()
    make_slow(slow, clock)
    for number in range(1, 5):
        shelf.put(plain_frames(number, DATA))
    assert (slow.used_bytes, fast.used_bytes) == (0, 4 * len(DATA))
    told = figures(shelf)
    assert [volume["slow"] for volume in told["volumes"]] == [True, False]  # type: ignore[attr-defined]  # of heartbeats
    assert told["available_space"] == pytest.approx(fast.available_bytes(), abs=64 * MIB)
    # Probes find it fast, and once the slow fsyncs are half a minute old it takes part again.
    watch, _ = DiskWatch(shelf.volumes, clock).watches
    for _ in range(7):
        clock.sleep(5)
        watch.look()
    assert not slow.fsyncs.slow
    assert shelf.files("tmp") == []
    make_slow(fast, clock)
    shelf.put(plain_frames(9, DATA))
    assert slow.used_bytes == len(DATA)
    make_slow(slow, clock)
    with pytest.raises(VolumeFull, match="slow"):
        shelf.put(plain_frames(10, DATA))
    shelf.store.close()


def test_a_block_that_was_begun_before_a_volume_became_slow_is_finished(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    frames = list(plain_frames(1, DATA))
    writer = shelf.store.start(frames[0])
    make_slow(shelf.volumes[0], HandClock())
    for frame in frames:
        writer.accept(frame)
        writer.write(frame)
    assert shelf.store.finalize([writer])[0].stored_bytes == len(DATA)
    shelf.store.close()


def test_every_fsync_of_a_block_counts_for_its_volume(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put(plain_frames(1, DATA))
    assert shelf.volumes[0].fsyncs.p99_ns(OsClock().monotonic_ns()) > 0
    shelf.store.close()


def test_a_limit_on_slowness_is_the_volumes_own(tmp_path: Path) -> None:
    (volume,) = open_volumes([tmp_path / "v"], "dn-1", 0, OsRng(), slow_fsync_ms=5000)
    clock = HandClock()
    for _ in range(70):
        clock.sleep(1)
        volume.fsyncs.add(clock.now_ns, 2_000_000_000)
        volume.fsyncs.judge(clock.now_ns)
    assert not volume.fsyncs.slow
    volume.close()


def test_a_volume_whose_trash_cannot_be_read_fails_and_the_others_are_emptied(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, volumes=2, capacity_bytes=64 * MIB)
    for block_id in (1, 2):
        shelf.put(plain_frames(block_id, DATA))
    for block_id in (1, 2):
        shelf.store.delete(block_id, 1)
    bad, good = shelf.volumes
    (bad.root / "trash").rename(bad.root / "gone")
    assert shelf.store.empty_trash(delay_s=0) == 2
    assert "emptying trash" in bad.failed
    assert not good.failed
    assert list((good.root / "trash").iterdir()) == []
    shelf.store.close()


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOTCONN, errno.EIO])
def test_a_volume_whose_room_cannot_be_told_fails_and_heartbeats_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    shelf = Shelf(tmp_path, volumes=2, capacity_bytes=64 * MIB)
    for block_id in (1, 2):
        shelf.put(plain_frames(block_id, DATA))
    bad, good = shelf.volumes
    real = os.statvfs

    def statvfs(path: Path) -> os.statvfs_result:
        if path == bad.root:
            raise OSError(number, os.strerror(number))
        return real(path)

    monkeypatch.setattr(os, "statvfs", statvfs)
    pace = Pace(0, OsClock(), threading.Event().wait)
    assert VolumeMover(shelf.store, OsClock(), pace, threshold=0.1, look_s=3600).even_out() == 0
    told = figures(shelf)
    assert told["storage_capacity"] == 64 * MIB
    assert [volume["failed"] for volume in told["volumes"]] == [True, False]  # type: ignore[attr-defined]  # of heartbeats
    assert os.strerror(number) in bad.failed
    assert shelf.store.count() == 1
    shelf.put(plain_frames(3, DATA))
    assert good.used_bytes == 2 * len(DATA)
    shelf.store.close()


def test_room_that_cannot_be_told_for_want_of_descriptors_or_memory_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path)

    def statvfs(path: Path) -> os.statvfs_result:
        raise OSError(errno.ENOMEM, f"for {path}")

    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", statvfs)
        assert figures(shelf)["available_space"] == 0
        with pytest.raises(Overloaded):
            shelf.put(plain_frames(1, DATA))
    shelf.put(plain_frames(1, DATA))
    shelf.store.close()


class Busy:
    """Clients that are served until somebody says that they are gone."""

    def __init__(self) -> None:
        self.served = True
        self.asked = threading.Event()

    def idle_ns(self) -> int:
        self.asked.set()
        return 900_000_000 if self.served else 10_000_000_000


@pytest.mark.parametrize("late", [False, True])
def test_the_scrubber_waits_for_clients_until_its_period_is_over(tmp_path: Path, late: bool) -> None:
    shelf = Shelf(tmp_path)
    shelf.put(plain_frames(1, DATA))
    busy = Busy()
    period_s = 1e-6 if late else 1000
    scrubber = Scrubber(shelf.store, OsClock(), period_s=period_s, bytes_per_s=1e12, idle_ns=busy.idle_ns)
    done = threading.Event()

    def scrub() -> None:
        scrubber.scrub(shelf.store.find(1))
        done.set()

    thread = threading.Thread(target=scrub)
    thread.start()
    if not late:
        assert busy.asked.wait(10)
        assert not done.wait(0.3)
        busy.served = False
    assert done.wait(10)
    thread.join()
    assert busy.asked.is_set() is not late
    assert shelf.store.find(1).verified_us > 0
    shelf.store.close()


class Ahead(OsClock):
    """Real time, and some more."""

    more_s = 0

    def wall_us(self) -> Micros:
        return Micros(super().wall_us() + self.more_s * 1_000_000)


def test_the_scrubber_waits_for_clients_with_a_new_replica_no_longer_than_until_an_old_one_is_overdue(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path)
    for block_id, age_s in ((1, 900), (2, 300)):
        shelf.put(plain_frames(block_id, DATA))
        then_s = OsClock().wall_us() // 1_000_000 - age_s
        os.utime(shelf.data_path(block_id), (then_s, then_s))
    shelf.reopen()
    busy, clock = Busy(), Ahead()
    scrubber = Scrubber(shelf.store, clock, period_s=1000, bytes_per_s=1e12, idle_ns=busy.idle_ns)
    scrubber.start()
    assert busy.asked.wait(10)
    assert [shelf.store.find(number).verified_us for number in (1, 2)] == [0, 0]
    clock.more_s = 200
    eventually(lambda: shelf.store.find(1).verified_us > 0, what="the overdue one is read")
    scrubber.stop()
    shelf.store.close()


def test_the_scrubber_reads_all_used_bytes_within_its_period_whatever_its_rate(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put(plain_frames(1, DATA))
    scrubber = Scrubber(shelf.store, OsClock(), period_s=1e-3, bytes_per_s=1)
    scrubber.start()
    eventually(lambda: shelf.store.find(1).verified_us > 0, what="it is read")
    scrubber.stop()
    shelf.store.close()


def test_a_disk_that_is_read_only_ends_its_volume_and_not_the_scrubber(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path, volumes=2, capacity_bytes=64 * MIB)
    shelf.put(plain_frames(1, DATA))
    shelf.put(plain_frames(2, DATA))  # to the other volume, which holds less
    bad = shelf.data_path(1).parents[3]
    assert bad not in shelf.data_path(2).parents
    real = os.utime

    def utime(path: Path, ns: tuple[int, int]) -> None:
        if bad in path.parents:
            raise OSError(errno.EROFS, "Read-only file system")
        real(path, ns=ns)

    monkeypatch.setattr(os, "utime", utime)
    scrubber = Scrubber(shelf.store, OsClock(), period_s=1e-3, bytes_per_s=1e12)
    scrubber.start()
    eventually(lambda: shelf.store.find(2).verified_us > 0, what="the other volume's is read")
    scrubber.stop()
    assert [bool(volume.failed) for volume in shelf.volumes] == [root == bad for root in shelf.roots]
    shelf.store.close()


def test_what_writers_replace_and_delete_under_a_scrub_is_no_alarm(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    scrubber = Scrubber(shelf.store, OsClock(), period_s=1000, bytes_per_s=1e12)
    stop = threading.Event()

    def write() -> None:
        generation = 1
        while not stop.is_set():
            generation += 1
            shelf.put(plain_frames(1, DATA[: generation % 5 * 100_000], generation=generation))
            shelf.put(plain_frames(2, DATA[:MIB], generation=generation))
            shelf.store.delete(2, generation)

    shelf.put(plain_frames(1, DATA))
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(200):
            for replica in shelf.store.replicas():
                scrubber.scrub(replica)
    finally:
        stop.set()
        thread.join()
    assert [event for event in shelf.heard.events if event[0] == "corrupt"] == []
    assert shelf.files("corrupt") == []
    shelf.store.close()
