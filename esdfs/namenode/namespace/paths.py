"""Paths and points in time as people write them, checked once at the edge. Pure."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Final, NamedTuple

from esdfs.errors import InvalidPath, InvalidRequest
from esdfs.ids import Micros, Txid

PATH_BYTES_MAX: Final = 4096
COMPONENT_BYTES_MAX: Final = 255
DEPTH_MAX: Final = 128

# C0 and C1 control characters and DEL: they forge terminal output and break line-based tools.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_DURATION = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s|m|h|d|w)")
_UNIT_US: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}


def normalise(path: str) -> str:
    """The one form of an absolute path: NFC, no trailing slash but for ``/`` itself.

    Raises:
        InvalidPath: Relative, too long or deep, or with a component that is empty, ``.``, ``..``,
            over 255 bytes, not Unicode text, or has control characters.
    """
    if not path.startswith("/"):
        raise InvalidPath(f"path must be absolute (start with '/'): {_shown(path)}")
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        raise InvalidPath("path is not valid Unicode text") from None
    if size_bytes > PATH_BYTES_MAX:
        raise InvalidPath(f"path is longer than {PATH_BYTES_MAX} bytes")
    if path == "/":
        return path
    path = unicodedata.normalize("NFC", path.removesuffix("/"))
    names = path.split("/")[1:]
    if len(names) > DEPTH_MAX:
        raise InvalidPath(f"path is deeper than {DEPTH_MAX} components")
    for name in names:
        check_name(name)
    return path


def check_name(name: str) -> None:
    """Refuse what cannot be one component of a path.

    Raises:
        InvalidPath: The message says which rule it breaks.
    """
    if not name:
        raise InvalidPath("path has an empty component ('//')")
    if name in {".", ".."}:
        raise InvalidPath(f"path component {name!r} is not allowed: give the path without it")
    if "/" in name:
        raise InvalidPath(f"a name must not contain '/': {_shown(name)}")
    if _CONTROL.search(name):
        raise InvalidPath(f"path component has a control character: {_shown(name)}")
    if len(name.encode()) > COMPONENT_BYTES_MAX:
        raise InvalidPath(f"path component is longer than {COMPONENT_BYTES_MAX} bytes: {_shown(name)}")


def split(path: str) -> tuple[list[str], str]:
    """A normalised path's components before the last, and the last ("" for the root)."""
    names = path.split("/")[1:]
    return names[:-1], names[-1]


def join(parent: str, name: str) -> str:
    """``name`` below ``parent``."""
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


class Point(NamedTuple):
    """A moment of the past: a transaction, or a time that stands for the last one before it."""

    txid: Txid | None
    ts_us: Micros | None


def parse_point(text: str, now_us: Micros) -> Point:
    """A point in time as people write it: a txid, an ISO 8601 time (UTC unless it says), or ``2h`` ago.

    Raises:
        InvalidRequest: None of the three.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return Point(Txid(int(text)), None)
    if duration := _DURATION.fullmatch(text):
        ago_us = int(float(duration["count"]) * _UNIT_US[duration["unit"]])
        return Point(None, Micros(now_us - ago_us))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            f"not a point in time: {_shown(text)}; give a txid (1234), an ISO time (2026-01-31T12:00:00Z), "
            "a duration ago (90s, 15m, 2h, 7d) or a snapshot (@name)"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Point(None, Micros(int(moment.timestamp() * 1_000_000)))
