"""Proving a journal, on its database or record by record over REST."""

import base64
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from esdfs.client.control import Control
from esdfs.errors import JournalCorrupt, NotFound, TooLarge
from esdfs.ids import Txid
from esdfs.journal import verify
from esdfs.journal.chain import verify_rows
from esdfs.journal.entry import NO_CHAIN
from esdfs.journal.log import JournalReader
from esdfs.journal.sql import open_reader
from esdfs.namenode.checkpoints.archive import Archive, WholeJournal
from esdfs.namenode.config import load
from esdfs.namenode.rest.records import record

_PAGE: Final = 1000
_WAIT_MS: Final = 2_000

Row: TypeAlias = tuple[Any, ...]


class Proof(msgspec.Struct):
    """What was proven. Equal chains at equal txids mean equal journals."""

    first_txid: int
    last_txid: int
    records: int
    chain: str
    epochs: list[int]


def of_database(url: str, archive: Path | None = None) -> Proof:
    """Every record in the database itself, after those in the archive of the NameNode in ``archive``.

    Raises:
        JournalCorrupt: For the first bad one.
    """
    with closing(open_reader(url)) as reader:
        whole = whole_journal(reader, archive)
        report = verify.verify(whole, since=whole.base().head)
    return Proof(
        report.first_txid,
        report.last_txid,
        report.records,
        report.chain.hex(),
        [start.epoch for start in report.epochs],
    )


def whole_journal(reader: JournalReader, directory: Path | None) -> JournalReader:
    """``reader``, after what the archive of the NameNode in ``directory`` holds of its past."""
    return reader if directory is None else WholeJournal(Archive(directory), reader)


def whole_up_to(reader: JournalReader, directory: Path | None, to: int | None) -> tuple[JournalReader, Txid]:
    """The whole journal, and the txid to read it up to: ``to``, or its end if that comes first.

    Raises:
        TooLarge: The journal's beginning is not there.
    """
    whole = whole_journal(reader, directory)
    if whole.base().last_txid:
        raise TooLarge(
            f"the journal begins after txid {whole.base().last_txid}: replay needs every record"
            " from txid 1 on. Name the NameNode's directory (--dir): its archive is read, too"
        )
    last = whole.head().last_txid
    return whole, last if to is None else min(Txid(to), last)


def records(directory: Path, first: int, count: int) -> list[dict[str, Any]]:
    """Records from ``first`` on, as REST tells them, from a NameNode's directory.

    Raises:
        NotFound: There is no such record there.
    """
    with closing(open_reader(load(directory.absolute()).database_url)) as reader:
        whole = whole_journal(reader, directory.absolute())
        found = whole.read(Txid(first - 1), limit=count)
        if not found or found[0].txid != first:
            raise NotFound(
                f"there is no record {first} in {directory}: it holds those from {whole.oldest_txid()} to"
                f" {whole.head().last_txid}"
            )
    return [record(entry) for entry in found]


def over_rest(control: Control) -> Proof:
    """Every record a NameNode tells, up to the head it names first.

    Raises:
        JournalCorrupt: A record is not the one that was sealed, or the chain ends elsewhere than the head.
    """
    head = control.get("/journal/head", dict[str, Any])
    first = max(int(head["oldest_txid"]), 1)
    last = int(head["last_txid"])
    chain = NO_CHAIN
    epochs: list[int] = []
    records = 0
    for rows in pages(control, first, last):
        at = rows[0][0]
        if first > 1 and at == first:
            # What came before it is gone: it is where the proof starts, not a part of it.
            chain, rows = rows[0][11], rows[1:]  # noqa: PLW2901 - the page without its first record
            at += 1
            records += 1
        chain = verify_rows(chain, Txid(at - 1), rows)
        records += len(rows)
        epochs = [*dict.fromkeys([*epochs, *(row[1] for row in rows)])]
    if chain.hex() != head["chain"]:
        raise JournalCorrupt(f"the records up to txid {last} do not end in the head's chain", txid=last)
    return Proof(first, last, records, chain.hex(), epochs)


def pages(control: Control, first: int, last: int) -> Iterator[list[Row]]:
    """The records from ``first`` to ``last`` as raw journal rows."""
    while first <= last:
        limit = min(_PAGE, last - first + 1)
        page = control.get("/journal", dict[str, Any], **{"from": first, "limit": limit, "wait_ms": _WAIT_MS})
        rows = [_row(record) for record in page["records"]]
        if not rows:
            raise JournalCorrupt(
                f"the NameNode does not tell record {first}, though it has {last}", txid=first
            )
        yield rows
        first += len(rows)


def _row(record: dict[str, Any]) -> Row:
    return (
        record["txid"],
        record["epoch"],
        record["ts_us"],
        record["kind_number"],
        record["version"],
        bytes.fromhex(record["client_id"]),
        record["seq"],
        record["principal"],
        record["peer"],
        base64.b64decode(record["payload"]),
        int(record["crc32c"], 16),
        bytes.fromhex(record["chain"]),
    )
