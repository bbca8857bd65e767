"""`./dev` itself: the first thing anybody runs."""

import subprocess
import sys
from pathlib import Path

DEV = Path(__file__).parents[2] / "dev"


def run(*args: str, cwd: Path | None = None, close_stdin: bool = False) -> subprocess.CompletedProcess[bytes]:
    # By a shell: code of ours between fork and exec would wake what gRPC left in this process.
    shell = ["sh", "-c", 'exec "$@" <&-', "sh"] if close_stdin else []
    return subprocess.run(
        [*shell, sys.executable, str(DEV), *args], capture_output=True, check=False, timeout=60, cwd=cwd
    )


def test_help_lists_every_command() -> None:
    text = run("--help").stdout.decode()
    assert [
        name for name in ("demo", "test", "check", "bench", "run", "env", "proto", "lock") if name not in text
    ] == []


def test_an_unknown_command_is_a_usage_error() -> None:
    refused = run("nonsense")
    assert refused.returncode == 2
    assert b"no command 'nonsense'" in refused.stderr


def test_run_hands_over_arguments_status_and_directory(tmp_path: Path) -> None:
    done = run("run", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert b"namenode" in done.stdout


def test_run_works_with_closed_standard_input() -> None:
    done = run("run", "--help", close_stdin=True)
    assert done.returncode == 0, done.stderr.decode()


def test_dev_imports_only_the_standard_library_when_it_starts() -> None:
    code = (
        "import runpy, sys; before = set(sys.modules); "
        f"runpy.run_path({str(DEV)!r}); print(*set(sys.modules) - before)"
    )
    started = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, check=True, timeout=60)
    assert {name.partition(".")[0] for name in started.stdout.decode().split()} <= set(
        sys.stdlib_module_names
    ) | {"sys"}
