"""Rebuilding the namespace from its journal in a scratch directory, and holding it against the living one."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from esdfs.cli.journal_file import Progress, from_the_first, opened
from esdfs.cli.journal_proof import pages, whole_up_to
from esdfs.client.control import Control
from esdfs.errors import JournalCorrupt, TooLarge
from esdfs.ids import ROOT, Txid
from esdfs.journal.chain import verify_rows
from esdfs.journal.entry import NO_CHAIN
from esdfs.journal.segments import Row
from esdfs.journal.sql import open_reader
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.projection.digest import digest
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import catch_up
from esdfs.namenode.projection.views import PresentView

_BYTES_MAX: Final = 64 << 30  # address space, not disk
_LIST: Final = 1000


class Top(msgspec.Struct):
    """A directory of ``/``, or ``/`` for the files in it."""

    path: str
    files: int = 0
    directories: int = 0
    size_bytes: int = 0


class Replayed(msgspec.Struct):
    """What came out.

    Attributes:
        digest: Of the whole projection, history included.
        top: What is below ``/``, each with all that is below it, largest first.
        compared: ``equal``, or why it was not compared.
    """

    txid: int
    records: int
    files: int
    directories: int
    size_bytes: int
    digest: str
    compared: str
    top: list[Top]


class Living(msgspec.Struct):
    """What a NameNode says its own projection is."""

    txid: int
    digest: str


def of_database(
    url: str, to: int | None, archive: Path | None = None, *, progress: Progress = None
) -> Replayed:
    """From the database itself, and the archive of the NameNode in ``archive``; compared with nothing.

    Raises:
        TooLarge: The journal's beginning is not there.
    """
    with TemporaryDirectory(prefix="esdfs-replay-") as scratch:
        store = ProjectionStore(Path(scratch), bytes_max=_BYTES_MAX)
        try:
            with closing(open_reader(url)) as reader:
                whole, until = whole_up_to(reader, archive, to)
                records = catch_up(store, whole, until=until, progress=_added(progress))
            return _summary(store, records, "not compared: read from the database")
        finally:
            store.close()


def of_file(file: Path, to: int | None, *, progress: Progress = None) -> Replayed:
    """From an exported journal, proven on the way; compared with nothing (`verify --offline` is).

    Raises:
        JournalCorrupt: A record is not as it was written.
        TooLarge: It does not begin at txid 1.
    """
    with opened(file, progress) as export:
        return _replayed(from_the_first(file, export, to), "not compared: read from a file")


def over_rest(control: Control, to: int | None, *, progress: Progress = None) -> Replayed:
    """From what a NameNode tells, verified on the way; then compared with its namespace.

    Raises:
        JournalCorrupt: A record is bad, or the living namespace is not what its journal says.
    """
    head = control.get("/journal/head", dict[str, Any])
    if int(head["oldest_txid"]) > 1:
        raise TooLarge(
            "the journal's beginning was compacted away: replay needs every record from txid 1 on. On the"
            " NameNode's machine, --dir reads its archive, too"
        )
    reply = control.call("GET", "/journal/digest", attempt_timeout_s=control.timeout_s)
    living = msgspec.json.decode(reply.body, type=Living)
    last = living.txid if to is None else min(to, int(head["last_txid"]))
    found = _replayed(_proven(pages(control, 1, last), progress), "")
    found.compared = compare(found, living)
    return found


def compare(found: Replayed, living: Living) -> str:
    """What the comparison says. Raises `JournalCorrupt` when the two differ at the same transaction."""
    if living.txid != found.txid:
        return f"not compared: it is at txid {living.txid}"
    if living.digest != found.digest:
        raise JournalCorrupt(
            f"the living namespace at txid {found.txid} has digest {living.digest}, the replayed one "
            f"{found.digest}: restart that NameNode with an empty namespace.mdb",
            txid=found.txid,
        )
    return "equal"


def _proven(all_rows: Iterable[list[Row]], progress: Progress) -> Iterator[list[Row]]:
    chain = NO_CHAIN
    for rows in all_rows:
        chain = verify_rows(chain, Txid(rows[0][0] - 1), rows)
        yield rows
        if progress is not None:
            progress(len(rows))


def _replayed(all_rows: Iterable[list[Row]], compared: str) -> Replayed:
    records = 0
    with TemporaryDirectory(prefix="esdfs-replay-") as scratch:
        store = ProjectionStore(Path(scratch), bytes_max=_BYTES_MAX)
        try:
            for rows in all_rows:
                writer = store.begin()
                try:
                    for row in rows:
                        writer.apply_row(row)
                except BaseException:
                    writer.abort()
                    raise
                writer.commit()
                records += len(rows)
            return _summary(store, records, compared)
        finally:
            store.close()


def _added(progress: Progress) -> Callable[[int, int], None] | None:
    """``progress``, told how far it is in place of how much was added."""
    if progress is None:
        return None
    told = 0

    def tell(applied: int, _: int) -> None:
        nonlocal told
        progress(applied - told)
        told = applied

    return tell


def _summary(store: ProjectionStore, records: int, compared: str) -> Replayed:
    txid, total = digest(store)
    root = Top("/")
    top = [root]
    with store.present() as view:
        pending: list[tuple[int, Top]] = []
        for name, inode in _below(view, ROOT):
            if inode.is_directory:
                top.append(Top(f"/{name}"))
                pending.append((inode.inode, top[-1]))
            else:
                _count(root, inode)
        directories = len(pending)
        while pending:
            directory, within = pending.pop()
            for _, inode in _below(view, directory):
                _count(within, inode)
                if inode.is_directory:
                    pending.append((inode.inode, within))
    return Replayed(
        txid,
        records,
        sum(each.files for each in top),
        directories + sum(each.directories for each in top),
        sum(each.size_bytes for each in top),
        total,
        compared,
        sorted(top, key=lambda each: (-each.size_bytes, -each.files, each.path)),
    )


def _count(within: Top, inode: Inode) -> None:
    if inode.is_directory:
        within.directories += 1
    else:
        within.files += 1
        within.size_bytes += inode.size_bytes


def _below(view: PresentView, directory: int) -> Iterator[tuple[str, Inode]]:
    after = ""
    while page := view.children(directory, after=after, limit=_LIST):
        yield from page
        after = page[-1][0]
