"""Processes that outlive whoever started them, recognized again by their pid and start time."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from esdfs.env import Clock

_POLL_S: Final = 0.02
_STATE_FIELD, _GROUP_FIELD, _STARTED_FIELD = 0, 2, 19  # of /proc/PID/stat, counted after the name


class Process(msgspec.Struct, frozen=True):
    """One process of this boot; a pid alone may have been given to another since.

    Attributes:
        started: In clock ticks since boot.
    """

    pid: int
    started: int

    def alive(self) -> bool:
        """Running or stopped; a zombie is gone."""
        stat = _stat(self.pid)
        return stat is not None and stat[_STATE_FIELD] != "Z" and int(stat[_STARTED_FIELD]) == self.started

    def send(self, number: signal.Signals) -> bool:
        """Whether there was a process to send it to."""
        if not self.alive():
            return False
        os.kill(self.pid, number)
        return True

    def stopped(self) -> bool:
        """Held by SIGSTOP."""
        stat = _stat(self.pid)
        return self.alive() and stat is not None and stat[_STATE_FIELD] == "T"

    def wait_gone(self, clock: Clock, timeout_s: float) -> bool:
        """Whether it and all processes of its group ended in time: then its ports are free.

        Ask only after a signal reached it: of a group whose first process ended long ago, the number may
        have been given to another.
        """
        until_ns = clock.monotonic_ns() + int(timeout_s * 1e9)
        while self.alive() or _group_alive(self.pid):
            if clock.monotonic_ns() > until_ns:
                return False
            clock.sleep(_POLL_S)
        return True


def stop(processes: Iterable[Process], clock: Clock, *, grace_s: float) -> None:
    """TERM to all that run; KILL to the groups of those that are left after ``grace_s``. Gone on return."""
    running = [process for process in processes if process.send(signal.SIGTERM)]
    for process in running:
        process.send(signal.SIGCONT)  # one that is held sees TERM only once it goes on
    for process in running:
        if not process.wait_gone(clock, grace_s):
            with contextlib.suppress(ProcessLookupError):  # it ended by itself after all
                os.killpg(process.pid, signal.SIGKILL)
            process.wait_gone(clock, grace_s)


def spawn(command: list[str], *, out: Path, log: Path) -> Process:
    """Start ``command`` in a session of its own: a Ctrl-C here does not reach it.

    Args:
        command: Program and arguments.
        out: Gets its standard output; emptied first.
        log: Its standard error is appended here.
    """
    with out.open("wb") as stdout, log.open("ab") as stderr:
        child = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
    # It is not waited for here: as a zombie it is still found below, and init inherits it.
    stat = _stat(child.pid)
    child.returncode = 0  # keeps Popen from warning about a child that is meant to go on
    assert stat is not None, "a child that was not waited for has a /proc entry"
    return Process(child.pid, int(stat[_STARTED_FIELD]))


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _group_alive(group: int) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat is not None and int(stat[_GROUP_FIELD]) == group and stat[_STATE_FIELD] != "Z":
                return True
    return False
