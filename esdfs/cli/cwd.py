"""The directory of this terminal: `cd` is remembered for it, and for nobody else.

It is one small file under ``$XDG_STATE_HOME/esdfs``, named after ``$ESDFS_SESSION`` or after the terminal's
session and the kernel's boot. ``$ESDFS_CWD`` goes before it. Without a terminal there is none: scripts start
at ``/``.
"""

import os
import posixpath
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

from esdfs.env_os import boot_id
from esdfs.errors import InvalidRequest

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Place(NamedTuple):
    """Where this terminal is, and where it was before."""

    here: str = "/"
    before: str = "/"


def current() -> Place:
    """The remembered place; ``/`` without one."""
    if overriding := os.environ.get("ESDFS_CWD"):
        return Place(resolve(overriding, "/"), "/")
    file = _state_file()
    if file is None:
        return Place()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return Place()
    return Place(lines[0], lines[1]) if len(lines) == 2 and lines[0].startswith("/") else Place()


def remember(path: str) -> None:
    """Be at ``path`` from the next command on.

    Raises:
        InvalidRequest: There is nothing to remember it for.
    """
    file = _state_file()
    if file is None:
        raise InvalidRequest("no terminal to remember it for: set ESDFS_SESSION, or give absolute paths")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = current().here
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(f"{path}\n{before}\n", encoding="utf-8")
    part.replace(file)
    _sweep(file.parent)


def resolve(path: str, here: str) -> str:
    """``path`` as an absolute one: relative to ``here``, with ``.`` and ``..`` taken out."""
    joined = posixpath.normpath(posixpath.join(here, path))
    return "/" + joined.lstrip("/")


def _state_file() -> Path | None:
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 - may stay "~" where there is no home
    if session := os.environ.get("ESDFS_SESSION"):
        if not _NAME.fullmatch(session):
            raise InvalidRequest("ESDFS_SESSION must be 1 to 100 of letters, digits, '.', '_', '-'")
        return Path(base) / "esdfs" / f"session-{session}"
    if not any(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr) if stream is not None):
        return None
    return Path(base) / "esdfs" / f"terminal-{boot_id()}-{os.getsid(0)}"


def _sweep(directory: Path) -> None:
    """Forget terminals that are gone."""
    this_boot = boot_id()
    for file in directory.glob("terminal-*"):
        boot, _, session = file.name.removeprefix("terminal-").rpartition("-")
        if boot != this_boot or not Path(f"/proc/{session}").exists():
            file.unlink(missing_ok=True)
