"""The command line from outside: what it loads, prints and returns."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from esdfs.cli.app import COMMANDS, app
from tests.unit.client.conftest import World
from tests.unit.client.conftest import nodes as nodes  # noqa: PLC0414 - a fixture
from tests.unit.client.conftest import world as world  # noqa: PLC0414 - a fixture
from tests.unit.client.namenode import Namespace, answers, free_url, problem, serving


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ESDFS_URL", "ESDFS_TOKEN", "ESDFS_PROFILE", "ESDFS_CWD", "ESDFS_SESSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def url() -> Iterator[str]:
    """A NameNode with one directory and no DataNodes."""
    namespace = Namespace([])
    namespace.directories.add("/d")
    with serving(namespace) as server:
        yield server.url


def esdfs(*args: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, list(args), input=stdin, prog_name="esdfs")


def process(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "esdfs.cli.app", *args],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_loads_and_has_help(command: str) -> None:
    done = esdfs(command, "--help")
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output


@pytest.mark.parametrize(
    "args", [["frob"], ["ls", "--no-such-option"], ["mkdir"], ["chmod", "u+x", "/a"], ["setrep", "0", "/a"]]
)
def test_wrong_usage_is_exit_status_2(args: list[str]) -> None:
    assert esdfs("--url", "http://x:1", *args).exit_code == 2


def test_a_refusal_is_one_line_and_exit_status_1(url: str) -> None:
    done = process("ls", "/nowhere", ESDFS_URL=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "esdfs: ls: no such file or directory: /nowhere\n"


def test_an_error_of_a_subcommand_names_both_words(url: str) -> None:
    done = esdfs("--url", url, "journal", "status")
    assert done.exit_code == 1
    assert done.stderr.startswith("esdfs: journal status: ")


def test_nobody_there_is_exit_status_3_within_seconds() -> None:
    done = process("ls", "/", ESDFS_URL=free_url())
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_outcome_is_exit_status_4() -> None:
    with serving(answers(problem(504, "outcome-unknown", "perhaps"))) as server:
        done = esdfs("--url", server.url, "--timeout", "0.2", "mkdir", "/x")
    assert done.exit_code == 4
    assert done.stderr == "esdfs: mkdir: perhaps\n"


def test_json_is_accepted_before_and_after_the_command(url: str) -> None:
    before, after = esdfs("--url", url, "--json", "ls", "/"), esdfs("--url", url, "ls", "/", "--json")
    assert before.output == after.output
    assert [json.loads(line)["path"] for line in before.output.splitlines()] == ["/d"]


def test_a_local_file_that_is_missing_is_an_ordinary_refusal(url: str) -> None:
    done = esdfs("--url", url, "put", "/no/such/file", "/d")
    assert (done.exit_code, done.stderr) == (1, "esdfs: put: /no/such/file: No such file or directory\n")


@pytest.mark.parametrize(
    ("args", "absent"),
    [
        (["--help"], {"grpc", "sqlalchemy", "lmdb", "falcon"}),
        (["ls", "/"], {"grpc", "sqlalchemy", "lmdb", "rich"}),
    ],
    ids=["help", "ls"],
)
def test_a_command_loads_only_what_it_needs(url: str, args: list[str], absent: set[str]) -> None:
    code = (
        "import sys, atexit; sys.argv = ['esdfs', *sys.argv[1:]]; "
        f"atexit.register(lambda: print('LOADED', *({absent!r} & set(sys.modules)))); "
        "from esdfs.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--url", url, *args],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_files_go_in_and_come_out(world: World, tmp_path: Path) -> None:
    source = tmp_path / "a b"
    source.write_bytes(b"content")
    url = world.server.url
    world.namespace.directories.add("/d")
    assert esdfs("--url", url, "put", str(source), "/d").exit_code == 0
    assert esdfs("--url", url, "cat", "/d/a b").stdout_bytes == b"content"
    assert esdfs("--url", url, "get", "/d/*", str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out").read_bytes() == b"content"
    assert esdfs("--url", url, "put", "-", "/d/stdin", stdin=b"piped").exit_code == 0
    assert esdfs("--url", url, "get", "/d/stdin", "-").stdout_bytes == b"piped"
    refused = esdfs("--url", url, "get", "/d/stdin", str(tmp_path / "out"))
    assert refused.exit_code == 1
    assert "overwrite it with -f" in refused.stderr


def test_a_tree_goes_below_an_existing_directory_and_becomes_a_new_one(world: World, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "f").write_bytes(b"1")
    url = world.server.url
    refused = esdfs("--url", url, "put", str(tmp_path / "tree"), "/t")
    assert "put it with -r" in refused.stderr
    for _ in range(2):
        assert esdfs("--url", url, "put", "-r", str(tmp_path / "tree"), "/t").exit_code == 0
    assert set(world.namespace.files) == {"/t/f", "/t/tree/f"}


def test_cd_is_remembered_by_its_session_only(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESDFS_URL", url)
    assert "set ESDFS_SESSION" in esdfs("cd", "/d").stderr
    monkeypatch.setenv("ESDFS_SESSION", "one")
    assert esdfs("cd", "/d").exit_code == 0
    assert esdfs("pwd").output == "/d\n"
    assert esdfs("cd", "/nowhere").exit_code == 1
    assert esdfs("cd", "-").exit_code == 0
    assert esdfs("pwd").output == "/\n"


def test_the_shell_goes_on_after_errors_and_has_a_place_of_its_own(url: str) -> None:
    lines = b"cd /d\npwd\nls /nowhere\nfrob\n'unfinished\npwd\nexit\npwd\n"
    done = esdfs("--url", url, "shell", stdin=lines)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == ["/d", "/d"]
    assert "esdfs: ls: no such file or directory: /nowhere" in done.stderr


def test_completion_lists_remote_paths_and_is_silent_without_a_cluster(url: str) -> None:
    request = {"_ESDFS_COMPLETE": "complete_bash", "COMP_WORDS": "esdfs ls /", "COMP_CWORD": "2"}
    code = "from esdfs.cli.app import app; app(prog_name='esdfs')"
    for where, expected in ((url, "/d/"), (free_url(), "")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | request | {"ESDFS_URL": where},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.stdout.strip(), done.stderr) == (expected, "")
