"""Records and journals that tests are made of."""

from collections.abc import Sequence
from pathlib import Path

from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.engines import sqlite_url
from esdfs.journal.entry import NO_CHAIN, Draft, Entry, Head, Identity
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
