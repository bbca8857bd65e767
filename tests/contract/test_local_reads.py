"""Reads over the Unix socket promise what reads over gRPC do."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.blocks import CHUNK_BYTES, MIB
from esdfs.datanode.layout import Extent
from esdfs.datanode.load import Load
from esdfs.datanode.local import LocalServer, socket_path
from esdfs.datanode.reading import ReplicaReader
from esdfs.datanode.replica import BlockKey
from esdfs.env_os import OsClock
from esdfs.errors import (
    ChecksumMismatch,
    DiskFailed,
    EsdfsError,
    IdentityConflict,
    OutOfRange,
    Overloaded,
    ReplicaCorrupt,
    ReplicaNotFound,
    Unreachable,
)
from esdfs.rpc.local import LocalReader, LocalReaders, Opened, opened_message, receive, request_message
from esdfs.rpc.messages import BlockRequest, Frame
from tests.blocks import Shelf, compressed_frames, content, flip, plain_frames

DATA = content(3 * MIB + 777)
TEXT = b"the same line again and again\n" * 100_000


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def load() -> Load:
    return Load(OsClock())


@pytest.fixture
def path(shelf: Shelf, load: Load, tmp_path: Path) -> Iterator[str]:
    server = LocalServer(str(tmp_path / "s"), shelf.store, load, lambda: "ours")
    server.start()
    yield server.path
    server.stop()
    assert not Path(server.path).exists()


@pytest.fixture
def readers() -> Iterator[LocalReaders]:
    readers = LocalReaders()
    yield readers
    readers.close()


def read(readers: LocalReaders, path: str, block_id: int, offset: int = 0, length: int = 0) -> bytes:
    request = BlockRequest(block_id=block_id, offset=offset, length=length)
    return b"".join(bytes(piece) for piece in readers.read_range(path, request, timeout_s=10))


RANGES = [(0, 0), (0, 1), (CHUNK_BYTES - 1, 2), (MIB - 1, 2), (MIB, MIB), (5, 2 * MIB), (2 * MIB + 900, 0)]


@pytest.mark.parametrize(("offset", "length"), RANGES)
def test_any_range_of_any_block_is_read(
    shelf: Shelf, path: str, readers: LocalReaders, offset: int, length: int
) -> None:
    shelf.put(plain_frames(1, DATA))
    shelf.put(compressed_frames(2, TEXT))
    for block_id, data in ((1, DATA), (2, TEXT)):
        expected = data[offset : offset + length if length else None]
        assert read(readers, path, block_id, offset, length) == expected


@pytest.mark.parametrize("size", [0, 1, MIB])
def test_small_blocks_are_read(shelf: Shelf, path: str, readers: LocalReaders, size: int) -> None:
    shelf.put(plain_frames(1, DATA[:size]))
    assert read(readers, path, 1) == DATA[:size]


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_reading_leaves_no_descriptor_open(shelf: Shelf, path: str, readers: LocalReaders) -> None:
    shelf.put(plain_frames(1, DATA))
    before = open_descriptors()
    for _ in range(3):
        assert read(readers, path, 1) == DATA
    assert open_descriptors() <= before + 2  # one connection, both of its ends


def test_an_answer_longer_than_one_receive_arrives_whole() -> None:
    crcs = list(range(32_768))  # of a block of 2 GiB
    message = opened_message(Opened(Frame(block_id=1, chunk_crcs=crcs), 5, 2 << 30))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        sender = threading.Thread(target=ours.sendall, args=(message,))
        sender.start()
        body, fds = receive(theirs)
        sender.join()
    assert (body, fds) == (message[4:], [])


def test_errors_arrive_as_what_they_are_and_the_connection_goes_on(
    shelf: Shelf, path: str, readers: LocalReaders
) -> None:
    shelf.put(plain_frames(1, DATA))
    with pytest.raises(ReplicaNotFound):
        read(readers, path, 9)
    with pytest.raises(OutOfRange):
        read(readers, path, 1, offset=len(DATA) + 1)
    foreign = BlockRequest(block_id=1, cluster_id="theirs")
    with pytest.raises(IdentityConflict):
        next(readers.read_range(path, foreign, timeout_s=10))
    assert read(readers, path, 1) == DATA


def test_damage_is_never_used_and_the_datanode_is_told(
    shelf: Shelf, path: str, readers: LocalReaders
) -> None:
    shelf.put(plain_frames(1, DATA))
    flip(shelf.data_path(1), 2 * MIB + 5)
    got = bytearray()

    def use() -> None:
        for piece in readers.read_range(path, BlockRequest(block_id=1), timeout_s=10):
            got.extend(piece)

    with pytest.raises(ReplicaCorrupt):
        use()
    assert bytes(got) == DATA[: 2 * MIB]
    assert shelf.store.corrupt() == [BlockKey(1, 1)]
    with pytest.raises(ReplicaCorrupt, match="set aside"):
        read(readers, path, 1)


def test_the_datanode_finds_damage_itself_whatever_its_client_does(shelf: Shelf, path: str) -> None:
    """It verifies before it allows: a client that never looks changes nothing."""
    shelf.put(plain_frames(1, DATA))
    flip(shelf.data_path(1), 2 * MIB + 5)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)
        client.sendall(request_message(b"R", BlockRequest(block_id=1)))
        _, fds = receive(client)
        allowed: list[int] = []
        while not allowed or allowed[-1]:
            allowed.append(int.from_bytes(client.recv(4, socket.MSG_WAITALL), "little"))
        for fd in fds:
            os.close(fd)
    assert allowed == [MIB, MIB, 0]
    assert shelf.store.corrupt() == [BlockKey(1, 1)]


def test_a_data_file_cut_short_is_damage(shelf: Shelf, path: str, readers: LocalReaders) -> None:
    shelf.put(plain_frames(1, DATA))
    os.truncate(shelf.data_path(1), MIB)
    with pytest.raises(ReplicaCorrupt):
        read(readers, path, 1)
    assert shelf.store.corrupt() == [BlockKey(1, 1)]


def test_readers_of_this_host_are_load_like_those_of_others(
    shelf: Shelf, load: Load, path: str, readers: LocalReaders
) -> None:
    shelf.put(plain_frames(1, DATA))
    assert read(readers, path, 1) == DATA
    now = load.take()
    assert now.read_p99_ms > 0
    assert now.read_bytes_s > 0


def test_a_client_cannot_make_a_good_replica_look_bad(shelf: Shelf, path: str) -> None:
    shelf.put(plain_frames(1, DATA))
    with LocalReader(path, 10) as reader, pytest.raises(ChecksumMismatch):
        reader._doubt(BlockRequest(block_id=1), 10)
    assert shelf.store.corrupt() == []
    with LocalReader(path, 10) as reader:
        _, fds = reader._ask(b"R", BlockRequest(block_id=1), 10)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(fds[0], b"x", 0)
        os.close(fds[0])


def test_a_read_left_early_leaves_the_connection_usable(
    shelf: Shelf, path: str, readers: LocalReaders
) -> None:
    shelf.put(plain_frames(1, DATA))
    read_range = readers.read_range(path, BlockRequest(block_id=1), timeout_s=10)
    assert len(next(read_range)) == MIB
    read_range.close()  # type: ignore[attr-defined]  # it is a generator
    assert read(readers, path, 1) == DATA


def test_threads_read_side_by_side(shelf: Shelf, path: str, readers: LocalReaders) -> None:
    for number in range(1, 9):
        shelf.put(plain_frames(number, DATA[number:]))
    results: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda n=number: results.update({n: read(readers, path, n)}))
        for number in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: DATA[number:] for number in range(1, 9)}


def test_garbage_ends_the_connection_and_nothing_else(shelf: Shelf, path: str, readers: LocalReaders) -> None:
    shelf.put(plain_frames(1, DATA))
    for garbage in (b"\xff" * 8, b"\0\0\0\0", b"\x01\0\0\0X", b"\x03\0\0\0R\xff\xff"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                continue
    assert read(readers, path, 1) == DATA


def test_nobody_there_is_unreachable(tmp_path: Path, readers: LocalReaders) -> None:
    with pytest.raises(Unreachable):
        read(readers, str(tmp_path / "nobody"), 1)


def test_a_datanode_that_restarts_is_reached_again(
    shelf: Shelf, tmp_path: Path, readers: LocalReaders
) -> None:
    shelf.put(plain_frames(1, DATA))
    for _ in range(2):
        server = LocalServer(str(tmp_path / "r"), shelf.store, Load(OsClock()), lambda: "")
        server.start()
        assert read(readers, server.path, 1) == DATA
        server.stop()
    with pytest.raises(EsdfsError):
        read(readers, str(tmp_path / "r"), 1)


def test_a_path_too_long_for_a_socket_means_no_socket(tmp_path: Path) -> None:
    uuid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert socket_path("", Path("/v"), uuid) == "/v/0f8fad5b-d9cb.sock"
    assert socket_path("", Path("/" + "x" * 120), uuid) == ""
    assert socket_path("-", tmp_path, uuid) == ""
    assert socket_path("/run/esdfs", tmp_path, uuid) == "/run/esdfs/0f8fad5b-d9cb.sock"


def test_a_moment_without_descriptors_does_not_end_the_service(
    shelf: Shelf, load: Load, readers: LocalReaders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(plain_frames(1, DATA))
    monkeypatch.setattr("esdfs.datanode.local._PAUSE_S", 0.01, raising=False)
    troubles = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED]
    accept = socket.socket.accept

    def in_trouble(listener: socket.socket) -> object:
        if troubles:
            number = troubles.pop()
            raise OSError(number, os.strerror(number))
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", in_trouble)
    server = LocalServer(str(tmp_path / "s"), shelf.store, load, lambda: "ours")
    server.start()
    try:
        request = BlockRequest(block_id=1)
        assert b"".join(map(bytes, readers.read_range(server.path, request, timeout_s=5))) == DATA
    finally:
        server.stop()


def test_a_connection_for_which_there_is_no_thread_is_closed_and_forgotten(
    shelf: Shelf, path: str, readers: LocalReaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(plain_frames(1, DATA))
    monkeypatch.setattr("esdfs.datanode.local._PAUSE_S", 0.01, raising=False)
    with monkeypatch.context() as patch:

        def none_left(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(Unreachable):
            read(readers, path, 1)
    assert read(readers, path, 1) == DATA


@pytest.mark.parametrize("trouble", ["disk", "process", "setting aside"])
def test_a_failure_after_the_first_piece_arrives_as_what_it_is(
    shelf: Shelf, path: str, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    shelf.put(plain_frames(1, DATA))
    expected: type[EsdfsError] = {"disk": DiskFailed, "process": Overloaded}.get(trouble, ReplicaCorrupt)
    if trouble == "setting aside":
        flip(shelf.data_path(1), 2 * MIB + 5)

        def read_only(_path: Path, _target: Path) -> None:
            raise OSError(errno.EROFS, "read-only")

        monkeypatch.setattr(Path, "rename", read_only)
    else:
        load = ReplicaReader.load

        def fails(reader: ReplicaReader, extent: Extent, into: memoryview) -> list[int]:
            if extent.stored_at:
                raise expected("no")
            return load(reader, extent, into)

        monkeypatch.setattr(ReplicaReader, "load", fails)
    with LocalReader(path, 10) as reader, pytest.raises(expected):
        list(reader.read_range(BlockRequest(block_id=1), timeout_s=10))
