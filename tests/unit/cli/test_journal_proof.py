"""A journal told over REST is proven, or the first bad record is named."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from esdfs.cli.journal_proof import over_rest
from esdfs.client.control import Control
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import JournalCorrupt
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import NO_CHAIN, Draft, Head
from tests.unit.client.namenode import Request, Response, serving

Change = Callable[[list[dict[str, Any]]], object]


def told(count: int) -> list[dict[str, Any]]:
    drafts = [
        Draft(ts_us=n, kind=10, version=1, payload=bytes([n % 256]), principal="é") for n in range(count)
    ]
    head = Head(Epoch(1), Txid(0), NO_CHAIN)
    return [
        {
            "txid": entry.txid,
            "epoch": entry.epoch,
            "ts_us": entry.ts_us,
            "kind_number": entry.kind,
            "version": entry.version,
            "client_id": entry.client_id.hex(),
            "seq": entry.seq,
            "principal": entry.principal,
            "peer": entry.peer,
            "payload": base64.b64encode(entry.payload).decode(),
            "crc32c": f"{entry.crc32c:08x}",
            "chain": entry.chain.hex(),
        }
        for entry in seal(head, Epoch(1), drafts)
    ]


def prove(records: list[dict[str, Any]], *, oldest: int = 1, change: Change | None = None) -> Any:
    last = records[-1]
    head = {"last_txid": last["txid"], "oldest_txid": oldest, "chain": last["chain"]}
    if change is not None:
        change(records)
    kept = [record for record in records if record["txid"] >= oldest]

    def answer(request: Request) -> Response:
        if request.path == "/journal/head":
            return Response(200, head)
        first, limit = int(request.query["from"]), int(request.query["limit"])
        page = [record for record in kept if record["txid"] >= first][: min(limit, 100)]
        return Response(200, {"records": page, "next": 0, "head": 0})

    with serving(answer) as server:
        control = Control([server.url], token=None, user="me", clock=OsClock(), rng=OsRng())
        return over_rest(control)


@pytest.mark.parametrize("count", [1, 100, 250])
def test_a_whole_journal_is_proven_page_by_page(count: int) -> None:
    records = told(count)
    proof = prove(records)
    assert (proof.first_txid, proof.last_txid, proof.records) == (1, count, count)
    assert (proof.chain, proof.epochs) == (records[-1]["chain"], [1])


def test_a_compacted_journal_is_proven_from_its_oldest_record_on() -> None:
    proof = prove(told(250), oldest=120)
    assert (proof.first_txid, proof.last_txid, proof.records) == (120, 250, 131)


@pytest.mark.parametrize(
    ("change", "txid"),
    [
        (lambda records: records[149].update(principal="somebody else"), 150),
        (lambda records: records[149].update(payload=""), 150),
        (lambda records: records.pop(149), 150),
        (lambda records: records.insert(149, dict(records[150])), 150),
    ],
    ids=["changed", "emptied", "removed", "added"],
)
def test_the_first_bad_record_is_named(change: Change, txid: int) -> None:
    with pytest.raises(JournalCorrupt) as caught:
        prove(told(250), change=change)
    assert caught.value.details["txid"] == txid


def test_records_that_end_elsewhere_than_the_head_are_refused() -> None:
    records, other = told(10), told(10)
    other[-1] |= {"chain": "00" * 32}
    with pytest.raises(JournalCorrupt):
        prove(records, change=lambda kept: kept.__setitem__(9, other[-1]))
