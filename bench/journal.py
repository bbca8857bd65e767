"""The journal beside what it cannot avoid: one synced write of the same bytes, one hash of them."""

import os
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from esdfs.cli.journal_offline import prove
from esdfs.ids import Epoch, Txid
from esdfs.journal import export
from esdfs.journal.chain import canonical, seal
from esdfs.journal.engines import sqlite_url
from esdfs.journal.entry import NO_CHAIN, Draft, Entry, Head
from esdfs.journal.export import ExportHeader
from esdfs.journal.migrate import upgrade
from esdfs.journal.sql import open_journal, open_reader
from esdfs.journal.verify import verify

ROUNDS = 200
BATCHES = (1, 16, 64)
VERIFIED = 1_000_000


def run() -> list[dict[str, Any]]:
    """Rates in records/s; ``ratio`` is value / limit. Files live under ``$TMPDIR``."""
    with tempfile.TemporaryDirectory() as directory:
        return [*_appends(Path(directory)), *_verification(Path(directory))]


def _appends(directory: Path) -> list[dict[str, Any]]:
    url = sqlite_url(directory / "append.db")
    upgrade(url)
    journal = open_journal(url)
    head = Head(Epoch(0), Txid(0), NO_CHAIN)
    plain = os.open(directory / "append.plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    rows = []
    for batch in BATCHES:
        journal_s, plain_s = [], []
        # Turn about, so that whatever else the disk does meets both alike.
        for _ in range(ROUNDS):
            entries = seal(head, Epoch(1), [_draft(head.last_txid + n) for n in range(1, batch + 1)])
            head = _end(entries)
            data = b"".join(map(_bytes, entries))
            journal_s.append(_seconds(lambda e=entries: journal.append(e)))  # type: ignore[misc]  # binds now
            plain_s.append(_seconds(lambda d=data: _synced_write(plain, d)))  # type: ignore[misc]  # binds now
        rows.append(
            _row(
                f"journal append, batches of {batch}",
                batch / median(journal_s),
                batch / median(plain_s),
                "append + fdatasync of the same bytes",
            )
        )
    os.close(plain)
    journal.close()
    return rows


def _verification(directory: Path) -> list[dict[str, Any]]:
    url = sqlite_url(directory / "verify.db")
    upgrade(url)
    journal = open_journal(url)
    head, hash_s = Head(Epoch(0), Txid(0), NO_CHAIN), 0.0
    seal_s = 0.0
    while head.last_txid < VERIFIED:
        drafts = [_draft(head.last_txid + n) for n in range(1, 5001)]
        started = time.perf_counter()
        entries = seal(head, Epoch(1), drafts)
        seal_s += time.perf_counter() - started
        journal.append(entries)
        head = _end(entries)
        bodies = list(map(_bytes, entries))
        hash_s += _seconds(lambda b=bodies: [sha256(body).digest() for body in b])  # type: ignore[misc]  # binds now
    journal.close()
    reader = open_reader(url)
    alone_s = _seconds(lambda: verify(reader, workers=1))
    helped_s = _seconds(lambda: verify(reader, workers=2))
    file = directory / "journal.esdfsj"
    header = ExportHeader(export.FORMAT, "bench", 1, VERIFIED, 0, NO_CHAIN, 0, redacted=False, release="")
    with file.open("wb") as out:
        export_s = _seconds(
            lambda: out.writelines(export.encode(header, reader.scan(Txid(0), until=Txid(VERIFIED)), ()))
        )
    reader.close()
    offline_s = _seconds(lambda: prove(file, (), replay=False))
    limit, name = VERIFIED / hash_s, "SHA-256 of each record, one core"
    return [
        _row("journal seal", VERIFIED / seal_s, limit, name),
        _row("journal verify, one process", VERIFIED / alone_s, limit, name),
        _row("journal verify, two helpers and their start", VERIFIED / helped_s, 2 * limit, name + ", twice"),
        _row("journal export, proven on the way", VERIFIED / export_s, limit, name),
        _row("journal verify --offline --no-replay", VERIFIED / offline_s, limit, name),
    ]


def _draft(number: int) -> Draft:
    return Draft(
        ts_us=1_750_000_000_000_000 + number,
        kind=number % 20,
        version=1,
        payload=number.to_bytes(100, "big"),
        client_id=bytes(16),
        seq=number,
        principal="alice",
        peer="192.0.2.1",
    )


def _end(entries: list[Entry]) -> Head:
    return Head(entries[-1].epoch, entries[-1].txid, entries[-1].chain)


def _bytes(entry: Entry) -> bytes:
    return canonical(*msgspec.structs.astuple(entry)[:10]) + entry.chain


def _synced_write(file: int, data: bytes) -> None:
    os.write(file, data)
    os.fdatasync(file)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _row(name: str, value: float, limit: float, limit_name: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value),
        "unit": "records/s",
        "limit": round(limit),
        "limit_name": limit_name,
        "ratio": round(value / limit, 3),
    }
