"""Records and journals that tests are made of."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.engines import sqlite_url
from esdfs.journal.entry import NO_CHAIN, Draft, Entry, Head, Identity
from esdfs.journal.memory import MemoryJournal
from esdfs.journal.migrate import upgrade

EMPTY = Head(Epoch(0), Txid(0), NO_CHAIN)
OURS = Identity("cluster-1", 0, "nn-1", "storage-1")
NOON_US = 1_700_000_000_000_000


def draft(number: int, *, ts_us: int | None = None, payload: bytes | None = None) -> Draft:
    return Draft(
        ts_us=NOON_US + number if ts_us is None else ts_us,
        kind=1 + number % 7,
        version=1,
        payload=f"payload {number}".encode() if payload is None else payload,
        client_id=number.to_bytes(16, "big"),
        seq=number,
        principal="zoë",
        peer="192.0.2.7",
    )


def drafts(count: int, *, first: int = 1) -> list[Draft]:
    return [draft(number) for number in range(first, first + count)]


def entries(count: int, *, after: Head = EMPTY, epoch: int = 1) -> list[Entry]:
    return seal(after, Epoch(epoch), drafts(count, first=after.last_txid + 1))


def end(sealed: Sequence[Entry]) -> Head:
    return Head(sealed[-1].epoch, sealed[-1].txid, sealed[-1].chain) if sealed else EMPTY


def in_sqlite(directory: Path) -> str:
    """The URL of a new database in ``directory``, with a journal's tables."""
    url = sqlite_url(directory / "journal.db")
    upgrade(url)
    return url


class TamperedJournal(MemoryJournal):
    """Rows as a database would hold them after someone changed it, under the head row of before."""

    def __init__(self, rows: Iterable[Entry], head: Head) -> None:
        super().__init__()
        self._rows = sorted({entry.txid: entry for entry in rows}.values(), key=lambda entry: entry.txid)
        self._kept_head = head

    def head(self) -> Head:
        return self._kept_head

    def oldest_txid(self) -> Txid:
        return self._rows[0].txid if self._rows else Txid(0)

    def read(self, after: Txid, *, limit: int) -> list[Entry]:
        return [entry for entry in self._rows if entry.txid > after][:limit]

    def scan(self, after: Txid, *, until: Txid, page: int = 5000) -> Iterator[Sequence[tuple[Any, ...]]]:
        rows = [msgspec.structs.astuple(entry) for entry in self._rows if after < entry.txid <= until]
        for start in range(0, len(rows), page):
            yield rows[start : start + page]
