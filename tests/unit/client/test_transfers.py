"""What happens on the local side."""

from pathlib import Path

import pytest

from esdfs.client.transfers import get_local, put_bytes, put_local
from esdfs.client.writer import WriteOptions
from esdfs.env_os import OsRng
from tests.unit.client.conftest import World


@pytest.fixture
def stored(world: World) -> str:
    put_bytes(world.writing, b"remote", "/f", WriteOptions())
    return "/f"


def test_an_existing_local_file_is_replaced_only_when_asked(
    world: World, stored: str, tmp_path: Path
) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"local")
    with pytest.raises(FileExistsError):
        get_local(world.remote(stored), target, overwrite=False, rng=OsRng())
    assert target.read_bytes() == b"local"
    get_local(world.remote(stored), target, overwrite=True, rng=OsRng())
    assert target.read_bytes() == b"remote"


def test_a_local_file_that_appears_meanwhile_is_not_replaced(
    world: World, stored: str, tmp_path: Path
) -> None:
    target = tmp_path / "f"

    def appear(_size: int) -> None:
        target.write_bytes(b"appeared")

    with pytest.raises(FileExistsError):
        get_local(world.remote(stored), target, overwrite=False, rng=OsRng(), progress=appear)
    assert target.read_bytes() == b"appeared"
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_a_missing_local_directory_is_named(world: World, stored: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no local directory"):
        get_local(world.remote(stored), tmp_path / "missing" / "f", overwrite=False, rng=OsRng())


def test_permission_bits_travel_both_ways(world: World, tmp_path: Path) -> None:
    source = tmp_path / "tool"
    source.write_bytes(b"#!/bin/sh\n")
    source.chmod(0o750)
    put_local(world.writing, source, "/tool", WriteOptions())
    assert world.namespace.files["/tool"]["mode"] == "0750"
    get_local(world.remote("/tool"), tmp_path / "back", overwrite=False, rng=OsRng())
    assert (tmp_path / "back").stat().st_mode & 0o700 == 0o700


def test_a_device_is_read_as_a_stream(world: World) -> None:
    assert put_local(world.writing, Path("/dev/null"), "/empty", WriteOptions()).size_bytes == 0
