"""An exported journal becomes a journal in a database again, of either kind, record for record."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from esdfs.env import Clock, Rng
from esdfs.errors import InvalidRequest, JournalFenced
from esdfs.ids import Position
from esdfs.journal.entry import Entry, Head, Identity
from esdfs.journal.export import Export
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.migrate import upgrade
from esdfs.journal.sql import open_journal
from esdfs.namenode.config import NameNodeConfig, save
from esdfs.namenode.standalone import examine, force_standalone

Progress = Callable[[int], None]

GENERATION: Final = 1_000
"""Of an imported cluster: nodes of the one it was exported from are of an older one, and are not heard."""


def import_journal(
    file: Path, url: str, *, node_id: str, rng: Rng, progress: Progress | None = None
) -> tuple[Identity, Head]:
    """Write the records of ``file`` into the empty database at ``url``: whose it is then, and where it ends.

    The file is proven whole before the first record is written. The identity is a new disk's: nobody takes
    this journal for one that voted. Durable on return; a crash before leaves a journal that is not whole,
    which the next import refuses: drop that database.

    Raises:
        InvalidRequest: Redacted, or not from the first record on.
        JournalCorrupt: The file is damaged; nothing was written.
        JournalFenced: There is a journal already; nothing was written.
    """
    with file.open("rb") as source:
        export = Export(source)
        header = export.header
        if header.redacted:
            raise InvalidRequest(f"{file} is redacted: what is hidden cannot be brought back")
        if header.first_txid != 1:
            raise InvalidRequest(f"{file} begins at txid {header.first_txid}: a journal begins at 1")
        for page in export.pages():
            _told(progress, len(page))
    identity = Identity(header.cluster_id, GENERATION, node_id, rng.uuid())
    upgrade(url)
    with closing(open_journal(url)) as journal:
        if journal.identity() is not None:
            raise JournalFenced("there is a journal in that database already: import into an empty one")
        first = True
        for entries in _pages(file):
            if first:
                journal.format(identity, entries)
                first = False
            else:
                journal.append(entries)
            _told(progress, len(entries))
        return identity, journal.head()


def import_namenode(
    file: Path, config: NameNodeConfig, *, clock: Clock, rng: Rng, progress: Progress | None = None
) -> Identity:
    """Make ``config.dir`` a NameNode that goes on, alone, from where ``file`` ends. Durable on return.

    Raises:
        InvalidRequest: The settings are wrong; or see ``import_journal``.
    """
    if problems := config.validate():
        raise InvalidRequest("; ".join(problems))
    if config.path.exists() and any(config.path.iterdir()):
        raise InvalidRequest(f"{config.path} is not empty: import into a directory of its own")
    config.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        identity, head = import_journal(
            file, config.database_url, node_id=config.node_id, rng=rng, progress=progress
        )
    except BaseException:
        with suppress(OSError):
            config.path.rmdir()  # left as it was found, if nothing was written
        raise
    with closing(AckFloor(config.path / FLOOR_FILE, identity)) as floor:
        floor.write(Position(head.epoch, head.last_txid))
    save(config)
    force_standalone(config, examine(config).others, clock)
    return identity


def _pages(file: Path) -> Iterator[list[Entry]]:
    with file.open("rb") as source:
        for page in Export(source).pages():
            yield [Entry(*row) for row in page]


def _told(progress: Progress | None, records: int) -> None:
    if progress is not None:
        progress(records)
