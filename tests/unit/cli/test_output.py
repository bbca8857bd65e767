"""What people and programs read."""

import json

import pytest

from esdfs.cli.output import Output, human_size
from esdfs.client.values import FileStatus


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0K"),
        (10_240, "10K"),
        (1_048_575, "1.0M"),
        (5 << 40, "5.0T"),
        (1 << 70, "1024E"),
    ],
)
def test_sizes_read_as_ls_writes_them(size: int, text: str) -> None:
    assert human_size(size) == text


def test_an_object_is_one_line_without_what_was_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    status = FileStatus(path="/a\nb", type="file", file_id="1", size_bytes=2, mtime="")
    Output(as_json=True).json(status)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["path"] == "/a\nb"
    assert "located" not in json.loads(line)


def test_columns_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table([("a", "1", "x"), ("bbb", "22", "y")], right=(1,))
    assert capsys.readouterr().out == "a     1  x\nbbb  22  y\n"
