"""A journal that an earlier esdfs wrote. It must read the same for ever; never regenerate it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from esdfs.ids import Txid
from esdfs.journal.chain import seal, verify_rows
from esdfs.journal.entry import NO_CHAIN, Draft, Entry
from esdfs.journal.sql import open_journal
from esdfs.journal.verify import verify
from tests.journals import EMPTY, end, in_sqlite


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads((Path(__file__).parent / "journal_v1.json").read_text())


@pytest.fixture(scope="module")
def line(golden: Any) -> list[Entry]:
    names_of_bytes = {"client_id", "payload", "chain"}
    rows = [
        {name: bytes.fromhex(value) if name in names_of_bytes else value for name, value in row.items()}
        for row in golden["rows"]
    ]
    return msgspec.convert(rows, list[Entry])


def test_its_chain_still_verifies(golden: Any, line: list[Entry]) -> None:
    rows = [msgspec.structs.astuple(entry) for entry in line]
    assert verify_rows(NO_CHAIN, Txid(0), rows).hex() == golden["chain"]


def test_the_same_drafts_still_seal_to_the_same_records(line: list[Entry]) -> None:
    head, sealed = EMPTY, list[Entry]()
    for entry in line:
        draft = Draft(**{name: getattr(entry, name) for name in Draft.__struct_fields__})
        sealed += seal(head, entry.epoch, [draft])
        head = end(sealed)
    assert sealed == line


def test_a_journal_of_today_holds_it(golden: Any, line: list[Entry], tmp_path: Path) -> None:
    journal = open_journal(in_sqlite(tmp_path))
    journal.append(line)
    assert verify(journal).chain.hex() == golden["chain"]
    assert journal.read(Txid(0), limit=100) == line
    journal.close()
