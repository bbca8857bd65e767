"""Where the cluster is: options, environment, profile."""

from pathlib import Path

import pytest

from esdfs.cli.session import Session
from esdfs.errors import InvalidRequest


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "esdfs").mkdir()
    file = tmp_path / "esdfs" / "config.toml"
    file.write_text(
        '[profiles.default]\nurl = "http://d:1"\n[profiles.far]\nurl = "http://f:1"\ntoken = "t"\n'
    )
    return file


@pytest.mark.usefixtures("profiles")
def test_options_go_before_the_profile_and_the_profile_before_the_default_one() -> None:
    assert Session().settings() == {"url": "http://d:1"}
    assert Session(profile="far").settings() == {"url": "http://f:1", "token": "t"}
    assert Session(profile="far", url="http://o:1").settings() == {"url": "http://o:1", "token": "t"}


@pytest.mark.usefixtures("profiles")
def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match="default, far"):
        Session(profile="near").settings()


@pytest.mark.parametrize("text", ["nonsense", "[profiles.default]\nulr = 'x'", "[profiles]\ndefault = 1"])
def test_a_wrong_profile_file_is_refused_and_named(profiles: Path, text: str) -> None:
    profiles.write_text(text)
    with pytest.raises(InvalidRequest, match=r"config\.toml"):
        Session().settings()


def test_without_any_cluster_it_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(InvalidRequest, match="ESDFS_URL"):
        _ = Session().client
