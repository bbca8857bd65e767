"""Files on their way to real DataNodes: whole and durable, or not at all."""

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from esdfs.blocks import MIB
from esdfs.checksum import Buffer, crc32c
from esdfs.client.pipeline import Compress
from esdfs.client.sources import Bytes
from esdfs.client.transfers import put_bytes, put_local, put_stream
from esdfs.client.writer import Upload, WriteOptions, ranges
from esdfs.errors import EsdfsError, InvalidRequest, NotEnoughDataNodes
from esdfs.rpc.messages import Target
from tests.datanodes import Process
from tests.unit.client.conftest import World
from tests.unit.client.namenode import free_url

PLAIN = WriteOptions()
NOISE = random.Random(1).randbytes(3 * MIB + 12_345)
TEXT = b"all work and no play makes jack a dull boy\n" * 80_000


@pytest.mark.parametrize("size", [0, 1, 65_536, MIB, MIB + 1, len(NOISE)])
def test_a_local_file_arrives_with_its_checksum(world: World, tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(NOISE[:size])
    status = put_local(world.writing, tmp_path / "f", "/f", PLAIN)
    assert (status.size_bytes, status.crc32c) == (size, f"{crc32c(NOISE[:size]):08x}")
    assert world.content("/f") == NOISE[:size]
    assert world.namespace.aborted == []


@pytest.mark.parametrize("size", [0, 1, MIB, len(NOISE)])
def test_a_stream_arrives_as_it_was_read(world: World, size: int) -> None:
    status = put_stream(world.writing, io.BytesIO(NOISE[:size]), "/f", PLAIN)
    assert status.crc32c == f"{crc32c(NOISE[:size]):08x}"
    assert world.content("/f") == NOISE[:size]


@pytest.mark.parametrize(
    ("compress", "data", "compressed"),
    [
        (Compress.ALWAYS, TEXT, True),
        (Compress.AUTO, TEXT, True),
        (Compress.AUTO, NOISE, False),
        (Compress.NEVER, TEXT, False),
    ],
    ids=["always", "auto-text", "auto-noise", "never"],
)
def test_blocks_are_compressed_when_it_is_wanted_and_helps(
    world: World, compress: Compress, data: bytes, compressed: bool
) -> None:
    put_bytes(world.writing, data, "/f", WriteOptions(compress=compress))
    blocks = world.namespace.files["/f"]["located"]
    assert {block["compressed"] for block in blocks} == {compressed}
    assert (sum(block["stored_bytes"] for block in blocks) < len(data)) is compressed
    assert world.content("/f") == data
    assert (
        b"".join(bytes(piece) for piece in world.remote("/f").pieces(MIB - 7, 20)) == data[MIB - 7 : MIB + 13]
    )


def test_progress_adds_up_to_the_size(world: World, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(NOISE)
    steps: list[int] = []
    put_local(world.writing, tmp_path / "f", "/f", PLAIN, steps.append)
    assert sum(steps) == len(NOISE)
    assert len(steps) == 4


def test_a_block_goes_elsewhere_when_the_first_node_is_gone(world: World, fresh_nodes: list[Process]) -> None:
    fresh_nodes[0].kill()
    put_bytes(world.writing, NOISE, "/f", PLAIN)
    replicas = [set(block["replicas"]) for block in world.namespace.files["/f"]["located"]]
    assert replicas == [{"dn-2", "dn-3"}] * 4
    assert world.namespace.abandoned
    assert world.content("/f") == NOISE


def test_progress_adds_up_to_the_size_also_when_a_block_goes_again(
    world: World, fresh_nodes: list[Process]
) -> None:
    fresh_nodes[1].kill()
    steps: list[int] = []
    upload = Upload(world.writing, "/f", PLAIN, progress=steps.append)
    upload.write(Bytes(NOISE[:MIB]))
    upload.complete()
    assert sum(steps) == MIB
    assert min(steps) < 0


def test_a_block_goes_elsewhere_when_a_later_node_is_gone(world: World, fresh_nodes: list[Process]) -> None:
    fresh_nodes[1].kill()
    put_bytes(world.writing, NOISE[:MIB], "/f", PLAIN)
    (block,) = world.namespace.files["/f"]["located"]
    assert set(block["replicas"]) == {"dn-1", "dn-3"}


def test_a_stream_is_sent_again_from_what_was_kept(world: World, fresh_nodes: list[Process]) -> None:
    fresh_nodes[0].kill()
    put_stream(world.writing, io.BytesIO(NOISE), "/f", PLAIN)
    assert world.content("/f") == NOISE


def test_too_few_nodes_refuse_clearly_and_leave_nothing(world: World, fresh_nodes: list[Process]) -> None:
    fresh_nodes[1].kill()
    fresh_nodes[2].kill()
    with pytest.raises(NotEnoughDataNodes, match="without dn-"):
        put_bytes(world.writing, NOISE[:10], "/f", PLAIN)
    assert world.namespace.files == {}
    assert world.namespace.open == {}
    assert len(world.namespace.aborted) == 1


def test_a_node_that_is_never_there_is_given_up_after_some_tries(world: World) -> None:
    address = free_url().removeprefix("http://")
    world.namespace.nodes = [Target("ghost", address), Target("ghoul", address)]
    world.namespace.replication = 1
    with pytest.raises(EsdfsError):
        put_bytes(world.writing, b"x", "/f", PLAIN)
    assert world.namespace.open == {}


class Short:
    """A source that ends too early."""

    length_bytes = 100

    def pieces(self) -> Iterator[Buffer]:
        yield b"x" * 99


def test_a_source_that_breaks_is_reported_as_itself_and_aborts(world: World) -> None:
    upload = Upload(world.writing, "/f", PLAIN)
    with pytest.raises(InvalidRequest, match="99 bytes instead of 100"):
        upload.write(Short())
    upload.abort()
    assert world.namespace.files == {}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_put_leaves_nothing_visible(
    world: World, tmp_path: Path, kind: type[BaseException]
) -> None:
    (tmp_path / "f").write_bytes(NOISE)

    def interrupt(_size: int) -> None:
        raise kind

    with pytest.raises(kind):
        put_local(world.writing, tmp_path / "f", "/f", PLAIN, interrupt)
    assert world.namespace.files == {}
    assert len(world.namespace.aborted) == 1


def test_a_file_that_exists_is_not_touched_without_overwrite(world: World) -> None:
    put_bytes(world.writing, b"old", "/f", PLAIN)
    with pytest.raises(FileExistsError):
        put_bytes(world.writing, b"new", "/f", PLAIN)
    assert world.content("/f") == b"old"
    put_bytes(world.writing, b"new", "/f", WriteOptions(overwrite=True))
    assert world.content("/f") == b"new"


def test_a_block_size_of_the_callers_is_kept_to(world: World) -> None:
    put_bytes(world.writing, NOISE[: MIB + 1], "/f", WriteOptions(block_size_bytes=256 * 1024))
    lengths = [block["length_bytes"] for block in world.namespace.files["/f"]["located"]]
    assert lengths == [256 * 1024] * 4 + [1]


def test_the_ranges_of_a_file_cover_it_without_gaps() -> None:
    assert list(ranges(0, 10)) == []
    assert list(ranges(20, 10)) == [(0, 10), (10, 10)]
    assert list(ranges(21, 10)) == [(0, 10), (10, 10), (20, 1)]


def test_several_blocks_in_flight_keep_their_order(world: World) -> None:
    upload = Upload(world.writing, "/f", WriteOptions(block_size_bytes=64 * 1024), blocks=0)
    parts = [NOISE[at : at + 65_536] for at in range(0, 20 * 65_536, 65_536)]
    for part in parts:
        upload.start(Bytes(part))
    upload.complete()
    assert world.content("/f") == b"".join(parts)
