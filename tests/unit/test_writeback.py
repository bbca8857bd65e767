"""Write-back begins each time so many writes were made."""

import errno
from pathlib import Path

import pytest

from esdfs import writeback


def test_it_is_started_each_so_many_writes_whatever_the_device_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[int, int]] = []

    def start(fd: int, offset: int, size_bytes: int) -> None:
        assert fd >= 0
        started.append((offset, size_bytes))
        raise OSError(errno.EIO, "the device failed")

    path = tmp_path / "data"
    path.write_bytes(b"x")
    monkeypatch.setattr(writeback, "start", start)
    steps = writeback.InSteps(path, 3)
    for _ in range(7):
        steps.wrote()
    steps.close()
    assert started == [(0, 0), (0, 0)]


def test_a_real_file_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * 100_000)
    steps = writeback.InSteps(path, 1)
    steps.wrote()
    steps.close()
    with path.open("rb") as file:
        writeback.start(file.fileno(), 0, 0)
