import os
from pathlib import Path
from typing import Any, cast

import pytest

from esdfs.blocks import MIB
from esdfs.checksum import crc32c
from esdfs.datanode.fence import EpochFence
from esdfs.datanode.load import Load
from esdfs.datanode.pacing import Pace
from esdfs.datanode.pipeline import Peers
from esdfs.datanode.replica import BlockKey
from esdfs.datanode.service import DataNodeService
from esdfs.env_os import OsClock
from esdfs.errors import InvalidRequest, ReplicaCorrupt, ReplicaNotFound
from esdfs.rpc.messages import BlockContent, BlockRequest
from tests.blocks import Shelf, compressed_frames, content, plain_frames

DATA = content(MIB + 777)
WRITTEN = BlockContent(len(DATA), crc32c(DATA))
KEY = BlockKey(1, 1)
_preadv = os.preadv


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def service(shelf: Shelf) -> DataNodeService:
    clock = OsClock()
    pace = Pace(0, clock, lambda _seconds: False)
    return DataNodeService(
        shelf.store,
        cast("Peers", None),
        EpochFence(shelf.volumes),
        Load(clock),
        node_id="dn-1",
        cluster_id=lambda: "",
        copying=pace,
        moving=pace,
        clock=clock,
    )


def deep(expected: BlockContent | None, generation: int = 1) -> BlockRequest:
    return BlockRequest(block_id=1, generation=generation, deep=True, expected=expected)


@pytest.mark.parametrize("make", [plain_frames, compressed_frames])
@pytest.mark.parametrize(
    "expected",
    [
        BlockContent(len(DATA), WRITTEN.crc32c ^ 1),
        BlockContent(len(DATA) - 1, WRITTEN.crc32c),
        BlockContent(0, 0),
    ],
)
def test_a_replica_that_verifies_and_is_not_what_was_committed_is_set_aside(
    shelf: Shelf, service: DataNodeService, make: type, expected: BlockContent
) -> None:
    shelf.put(make(1, DATA))
    assert service.check(deep(WRITTEN)).error() is None
    assert service.check(deep(None)).error() is None
    assert shelf.store.corrupt() == []
    with pytest.raises(ReplicaCorrupt, match="not what was written"):
        service.check(deep(expected))
    assert shelf.store.corrupt() == [KEY]
    assert ("corrupt", KEY) in shelf.heard.events
    assert len(shelf.files("corrupt")) == 2
    with pytest.raises(ReplicaCorrupt, match="set aside"):
        service.check(deep(WRITTEN))


def is_cached(path: Path) -> bool:
    """Whether the page cache, not the disk, would answer a read of its first page."""
    with path.open("rb") as file:
        try:
            return _preadv(file.fileno(), [bytearray(4096)], 0, os.RWF_NOWAIT) > 0
        except OSError:
            return False  # the disk would, or this file system does not say


@pytest.mark.parametrize("expected", [None, WRITTEN])
def test_a_deep_check_asks_the_disk_and_not_the_page_cache(
    shelf: Shelf, service: DataNodeService, expected: BlockContent | None
) -> None:
    shelf.put(plain_frames(1, DATA))
    path = shelf.data_path(1)
    path.read_bytes()
    seen: list[bool] = []

    def watched(fd: int, *args: Any) -> int:
        if not seen and Path(f"/proc/self/fd/{fd}").readlink() == path:
            seen.append(is_cached(path))
        return _preadv(fd, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "preadv", watched)
        assert service.check(deep(expected)).error() is None
    assert seen == [False]


def test_only_the_generation_that_was_committed_is_held_against_it(
    shelf: Shelf, service: DataNodeService
) -> None:
    shelf.put(plain_frames(1, DATA, generation=2))
    other = BlockContent(1, 2)
    with pytest.raises(ReplicaNotFound):
        service.check(deep(other))
    with pytest.raises(InvalidRequest, match="of which generation"):
        service.check(deep(other, generation=0))
    assert service.check(BlockRequest(block_id=1, generation=2, expected=other)).error() is None
    assert shelf.store.corrupt() == []


def test_an_empty_block_is_what_it_should_be(shelf: Shelf, service: DataNodeService) -> None:
    shelf.put(plain_frames(1, b""))
    assert service.check(deep(BlockContent(0, 0))).error() is None
