"""Remote files as Python's file objects."""

import io
import random
from typing import IO, Any

import pytest

from esdfs.blocks import MIB
from esdfs.client.files import for_reading, for_writing
from esdfs.client.transfers import put_bytes
from esdfs.client.writer import Upload, WriteOptions
from tests.unit.client.conftest import World

NOISE = random.Random(4).randbytes(2 * MIB + 999)


def writer(world: World, *, text: bool = False) -> IO[Any]:
    upload = Upload(world.writing, "/f", WriteOptions(), blocks=0)
    return for_writing(upload, "/f", text=text, encoding="utf-8", newline=None)


def reader(world: World, *, text: bool = False) -> IO[Any]:
    return for_reading(world.remote("/f"), text=text, encoding="utf-8", newline=None)


def test_reads_and_seeks_agree_with_a_file_in_memory(world: World) -> None:
    put_bytes(world.writing, NOISE, "/f", WriteOptions())
    model = io.BytesIO(NOISE)
    chance = random.Random(5)
    with reader(world) as file:
        assert file.seekable()
        for _ in range(60):
            match chance.randrange(4):
                case 0:
                    assert file.seek(-17, io.SEEK_END) == model.seek(-17, io.SEEK_END)
                case 1:
                    at = chance.randrange(len(NOISE) + 100)
                    assert file.seek(at) == model.seek(at)
                case _:
                    size = chance.choice([0, 1, 4096, 300_000])
                    assert file.read(size) == model.read(size)
            assert file.tell() == model.tell()
        file.seek(0)
        assert file.read() == NOISE


def test_text_comes_back_line_by_line(world: World) -> None:
    with writer(world, text=True) as file:
        file.write("first\nsécond\n")
        print("third", file=file)
    with reader(world, text=True) as file:
        assert list(file) == ["first\n", "sécond\n", "third\n"]


def test_what_is_written_is_visible_only_after_close(world: World) -> None:
    file = writer(world)
    for start in range(0, len(NOISE), 333_333):
        file.write(NOISE[start : start + 333_333])
    assert file.tell() == len(NOISE)
    assert world.namespace.files == {}
    file.close()
    assert world.content("/f") == NOISE
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_an_exception_in_the_with_block_aborts(world: World, text: bool) -> None:
    def interrupted() -> None:
        with writer(world, text=text) as file:
            file.write("half" if text else b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    assert world.namespace.files == {}
    assert len(world.namespace.aborted) == 1


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_a_file_that_is_dropped_unclosed_is_aborted_with_a_warning(world: World, text: bool) -> None:
    file = writer(world, text=text)
    file.write("half" if text else b"half")
    held = [file]
    del file
    with pytest.warns(ResourceWarning, match="neither closed nor aborted"):
        held.clear()
    assert world.namespace.files == {}
    assert len(world.namespace.aborted) == 1


def test_a_closed_reader_says_so(world: World) -> None:
    put_bytes(world.writing, b"x", "/f", WriteOptions())
    file = reader(world)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
