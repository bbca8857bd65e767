"""Bytes that can be asked for again."""

from pathlib import Path

import pytest

from esdfs.blocks import FRAME_BYTES, MIB
from esdfs.client.sources import BlockSource, Bytes, FileRange, Spool
from esdfs.errors import InvalidRequest


def content(source: BlockSource) -> bytes:
    return b"".join(bytes(piece) for piece in source.pieces())


def test_a_range_of_a_file_comes_whole_and_again(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "f").write_bytes(data)
    with (tmp_path / "f").open("rb") as file:
        part = FileRange(file.fileno(), 1000, FRAME_BYTES + 5)
        assert [len(piece) for piece in part.pieces()] == [FRAME_BYTES, 5]
        assert content(part) == content(part) == data[1000 : 1000 + FRAME_BYTES + 5]
        assert file.tell() == 0


def test_a_file_that_got_shorter_is_refused_and_not_padded(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 10)
    with (tmp_path / "f").open("rb") as file, pytest.raises(InvalidRequest, match="shorter"):
        content(FileRange(file.fileno(), 0, 11))


@pytest.mark.parametrize("size", [0, 1, MIB, 9 * MIB], ids=["empty", "byte", "piece", "on disk"])
def test_a_spool_gives_back_what_it_was_given_however_often(size: int) -> None:
    data = (b"0123456789abcde" * (size // 15 + 1))[:size]
    spool = Spool()
    try:
        for start in range(0, size, 700_001):
            spool.write(data[start : start + 700_001])
        assert spool.length_bytes == size
        assert content(spool) == content(spool) == data
    finally:
        spool.close()


def test_bytes_are_not_copied() -> None:
    data = bytearray(2 * FRAME_BYTES)
    pieces = list(Bytes(data).pieces())
    data[0] = 7
    assert (len(pieces), pieces[0][0]) == (2, 7)
