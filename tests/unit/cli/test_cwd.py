"""Where a terminal is, and that it is nobody else's place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esdfs.cli import cwd
from esdfs.cli.cwd import Place
from esdfs.errors import InvalidRequest


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("ESDFS_CWD", raising=False)
    monkeypatch.delenv("ESDFS_SESSION", raising=False)


@pytest.mark.parametrize(
    ("path", "here", "expected"),
    [
        ("a", "/", "/a"),
        ("../b", "/a/c", "/a/b"),
        ("/x//y/", "/a", "/x/y"),
        ("//x", "/a", "/x"),
        (".", "/a", "/a"),
        ("../../..", "/a", "/"),
    ],
)
def test_relative_paths_are_taken_from_where_one_is(path: str, here: str, expected: str) -> None:
    assert cwd.resolve(path, here) == expected


@given(st.text("ab./", max_size=20), st.text("ab./", max_size=20))
def test_a_resolved_path_is_absolute_and_has_nothing_left_to_resolve(path: str, here: str) -> None:
    found = cwd.resolve(path, f"/{here}")
    assert found.startswith("/")
    assert found == "/" or not {"", ".", ".."} & set(found[1:].split("/"))
    assert cwd.resolve(found, "/anywhere") == found


def test_sessions_have_places_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESDFS_SESSION", "one")
    cwd.remember("/a")
    cwd.remember("/b")
    assert cwd.current() == Place("/b", "/a")
    monkeypatch.setenv("ESDFS_SESSION", "two")
    assert cwd.current() == Place("/", "/")


def test_the_environment_goes_before_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESDFS_SESSION", "one")
    cwd.remember("/a")
    monkeypatch.setenv("ESDFS_CWD", "/set/by/hand/..")
    assert cwd.current().here == "/set/by"


def test_a_session_name_cannot_leave_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESDFS_SESSION", "../../x")
    with pytest.raises(InvalidRequest, match="ESDFS_SESSION"):
        cwd.current()


def test_terminals_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stale = tmp_path / "esdfs" / "terminal-some-other-boot-1"
    stale.parent.mkdir()
    stale.write_text("/x\n/\n")
    monkeypatch.setenv("ESDFS_SESSION", "one")
    cwd.remember("/a")
    assert not stale.exists()
    assert cwd.current().here == "/a"
