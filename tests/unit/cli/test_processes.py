import os
import signal
import sys
from pathlib import Path

from esdfs.cli.processes import Process, spawn, stop
from esdfs.env_os import OsClock
from tests.cluster import eventually

FOREVER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER
WITH_CHILD = (
    "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); "
    + FOREVER
)


def start(directory: Path, code: str) -> Process:
    out = directory / "out"
    process = spawn([sys.executable, "-c", code], out=out, log=directory / "log")
    eventually(lambda: out.read_text().startswith("up"))
    return process


def test_a_process_is_alive_until_it_was_stopped(tmp_path: Path) -> None:
    process = start(tmp_path, FOREVER)
    assert process.alive()
    stop([process], OsClock(), grace_s=10)
    assert not process.alive()
    assert not process.send(signal.SIGTERM)


def test_one_that_is_held_is_stopped_too(tmp_path: Path) -> None:
    process = start(tmp_path, FOREVER)
    process.send(signal.SIGSTOP)
    eventually(process.stopped)
    stop([process], OsClock(), grace_s=10)
    assert not process.alive()


def test_a_group_that_may_be_anothers_by_now_is_left_alone(tmp_path: Path) -> None:
    current = start(tmp_path, FOREVER)
    former = Process(current.pid, current.started - 1)
    stop([former], OsClock(), grace_s=0.1)
    assert current.alive()
    stop([current], OsClock(), grace_s=10)


def test_one_that_ignores_term_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path, STUBBORN)
    stop([process], OsClock(), grace_s=0.2)
    assert not process.alive()


def test_it_is_gone_only_when_its_children_are(tmp_path: Path) -> None:
    process = start(tmp_path, WITH_CHILD)
    process.send(signal.SIGKILL)
    assert not process.wait_gone(OsClock(), 0.3), "the child lives on"
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait_gone(OsClock(), 10)


def test_another_process_with_its_pid_is_not_it() -> None:
    stranger = Process(os.getpid(), started=1)
    assert not stranger.alive()
    assert not stranger.send(signal.SIGKILL)


def test_it_has_a_session_of_its_own_and_closed_input(tmp_path: Path) -> None:
    code = "import os, sys; print('up', os.getsid(0) == os.getpid(), sys.stdin.read() == '', flush=True)"
    process = start(tmp_path, code)
    process.wait_gone(OsClock(), 10)
    assert (tmp_path / "out").read_text() == "up True True\n"
