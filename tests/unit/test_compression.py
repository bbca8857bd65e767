import brotli
import pytest

from esdfs.compression import (
    GROUP_BYTES,
    STORED_GROUP_BYTES_MAX,
    compress_group,
    decompress_group,
    worth_compressing,
)
from esdfs.errors import ChecksumMismatch
from tests.blocks import content

TEXT = b"all work and no play " * 50_000


@pytest.mark.parametrize("data", [b"", b"x", TEXT[:GROUP_BYTES], content(GROUP_BYTES), content(100)])
def test_a_group_comes_back(data: bytes) -> None:
    stored = compress_group(data)
    assert len(stored) <= STORED_GROUP_BYTES_MAX
    assert decompress_group(memoryview(stored), len(data)) == data


def test_a_bomb_makes_no_more_than_a_group() -> None:
    bomb = brotli.compress(bytes(64 << 20), quality=1)
    assert len(bomb) < 20_000
    with pytest.raises(ChecksumMismatch):
        decompress_group(bomb, GROUP_BYTES)


@pytest.mark.parametrize(
    "stored", [b"", compress_group(TEXT[:1000])[:-3], compress_group(TEXT[:999]), b"\xff" * 50]
)
def test_what_is_not_exactly_the_group_is_refused(stored: bytes) -> None:
    with pytest.raises(ChecksumMismatch):
        decompress_group(stored, 1000)


def test_bytes_behind_the_group_are_refused() -> None:
    with pytest.raises(ChecksumMismatch):
        decompress_group(compress_group(TEXT[:1000]) + b"more", 1000)


def test_only_what_shrinks_is_worth_it() -> None:
    assert worth_compressing(TEXT)
    assert not worth_compressing(content(100_000))
    assert not worth_compressing(b"")
