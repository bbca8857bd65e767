"""Quoted patterns that are expanded in the cluster: ``esdfs rm '/logs/*.gz'``."""

import posixpath
import re
from fnmatch import translate
from typing import Final

from esdfs.cli.session import Session
from esdfs.errors import NotADirectory, NotFound

_MAGIC: Final = re.compile(r"[*?[]")


def expand(session: Session, paths: list[str], as_of: str | None = None) -> list[str]:
    """Absolute paths; a pattern stands for all it matches, unless something has that very name.

    Raises:
        NotFound: A pattern that matches nothing.
    """
    found: list[str] = []
    for path in paths:
        absolute = session.resolve(path)
        if not _MAGIC.search(path) or session.client.exists(absolute, as_of=as_of):
            found.append(absolute)
            continue
        matches = _matches(session, absolute, as_of)
        if not matches:
            raise NotFound(f"{absolute}: nothing matches", path=absolute)
        found += matches
    return found


def _matches(session: Session, pattern: str, as_of: str | None) -> list[str]:
    found = ["/"]
    for part in pattern.strip("/").split("/"):
        if not _MAGIC.search(part):
            found = [posixpath.join(directory, part) for directory in found]
            continue
        fits = re.compile(translate(part)).match
        entries: list[str] = []
        for directory in found:
            try:
                below = session.client.list_directory(directory, as_of=as_of)
            except (NotFound, NotADirectory):
                continue
            hidden = part.startswith(".")
            entries += [e.path for e in below if fits(e.name) and (hidden or not e.name.startswith("."))]
        found = entries
    return [path for path in found if session.client.exists(path, as_of=as_of)]
