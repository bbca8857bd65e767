"""Rebuilding the namespace from its journal in a scratch directory, and holding it against the living one."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from esdfs.cli.journal_proof import pages, whole_journal
from esdfs.client.control import Control
from esdfs.errors import JournalCorrupt, TooLarge
from esdfs.ids import ROOT, Txid
from esdfs.journal.chain import verify_rows
from esdfs.journal.entry import NO_CHAIN
from esdfs.journal.sql import open_reader
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.projection.digest import digest
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import catch_up
from esdfs.namenode.projection.views import PresentView

_BYTES_MAX: Final = 64 << 30  # address space, not disk
_LIST: Final = 1000


class Replayed(msgspec.Struct):
    """What came out.

    Attributes:
        digest: Of the whole projection, history included.
        compared: ``equal``, or why it was not compared.
    """

    txid: int
    records: int
    files: int
    directories: int
    size_bytes: int
    digest: str
    compared: str


class Living(msgspec.Struct):
    """What a NameNode says its own projection is."""

    txid: int
    digest: str


def of_database(url: str, to: int | None, archive: Path | None = None) -> Replayed:
    """From the database itself, and the archive of the NameNode in ``archive``; compared with nothing.

    Raises:
        TooLarge: The journal's beginning is not there.
    """
    with TemporaryDirectory(prefix="esdfs-replay-") as scratch:
        store = ProjectionStore(Path(scratch), bytes_max=_BYTES_MAX)
        try:
            with closing(open_reader(url)) as reader:
                whole = whole_journal(reader, archive)
                if whole.base().last_txid:
                    raise TooLarge(
                        f"the journal begins after txid {whole.base().last_txid}: replay needs every record"
                        " from txid 1 on. Name the NameNode's directory (--dir): its archive is read, too"
                    )
                records = catch_up(store, whole, until=to)
            return _summary(store, records, "not compared: read from the database")
        finally:
            store.close()


def over_rest(control: Control, to: int | None) -> Replayed:
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
    with TemporaryDirectory(prefix="esdfs-replay-") as scratch:
        store = ProjectionStore(Path(scratch), bytes_max=_BYTES_MAX)
        try:
            _apply(store, control, last)
            found = _summary(store, last, "")
        finally:
            store.close()
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


def _apply(store: ProjectionStore, control: Control, last: int) -> None:
    chain = NO_CHAIN
    for rows in pages(control, 1, last):
        chain = verify_rows(chain, Txid(rows[0][0] - 1), rows)
        writer = store.begin()
        try:
            for row in rows:
                writer.apply_row(row)
        except BaseException:
            writer.abort()
            raise
        writer.commit()


def _summary(store: ProjectionStore, records: int, compared: str) -> Replayed:
    txid, total = digest(store)
    files = directories = size_bytes = 0
    with store.present() as view:
        pending: list[int] = [ROOT]
        while pending:
            for inode in _below(view, pending.pop()):
                if inode.is_directory:
                    directories += 1
                    pending.append(inode.inode)
                else:
                    files += 1
                    size_bytes += inode.size_bytes
    return Replayed(txid, records, files, directories, size_bytes, total, compared)


def _below(view: PresentView, directory: int) -> Iterator[Inode]:
    after = ""
    while page := view.children(directory, after=after, limit=_LIST):
        yield from (inode for _, inode in page)
        after = page[-1][0]
