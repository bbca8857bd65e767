"""Damaged records found at a start: kept aside as evidence, cut off, and fetched again from the others.

Only where others have a copy. The floor stays where it is: until the node has again all that it ever
acknowledged it recovers, and does not lead.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from esdfs.errors import JournalCorrupt, JournalUnavailable
from esdfs.ids import Txid
from esdfs.journal.entry import Entry
from esdfs.journal.log import Journal
from esdfs.journal.verify import verify

_COLUMNS: Final = Entry.__struct_fields__
_END: Final = Txid((1 << 63) - 1)


def find_damage(
    journal: Journal, *, progress: Callable[[int, int], None] | None = None
) -> JournalCorrupt | None:
    """The first record that is not what was sealed there, or is missing; None when all are sound.

    Args:
        journal: Read as a whole, about 200,000 records a second.
        progress: See ``verify``.
    """
    try:
        verify(journal, since=journal.base().head, progress=progress)
    except JournalCorrupt as damage:
        return damage
    return None


def set_aside(journal: Journal, first: Txid, directory: Path) -> Path:
    """Copy the records from ``first`` on, as they are found, to a file; then cut them off.

    The file has one JSON object a line, bytes in base64, whatever a column holds. Durable before
    anything is cut; a crash in between leaves the copy, and the next start makes another.

    Raises:
        JournalUnavailable: The copy cannot be written; nothing was cut.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        path = _unused(directory, first)
        with path.open("xb") as file:
            for page in journal.scan(Txid(first - 1), until=_END):
                for row in page:
                    file.write(msgspec.json.encode(_as_found(row)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        for changed in (directory, directory.parent):
            _sync_directory(changed)
    except OSError as error:
        raise JournalUnavailable(f"damaged records cannot be kept in {directory}: {error}") from error
    journal.truncate(Txid(first - 1))
    return path


def _as_found(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(_COLUMNS, row, strict=True))


def _unused(directory: Path, first: Txid) -> Path:
    number = 1
    while (path := directory / f"journal-from-{first}.{number}.jsonl").exists():
        number += 1
    return path


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
