"""A long journal is decoded by a process of its own, whose loss costs nothing but time."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esdfs.errors import NewerRelease
from esdfs.ids import ROOT, Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Head
from esdfs.journal.memory import MemoryJournal
from esdfs.namenode import events as ev
from esdfs.namenode.event_codec import pack
from esdfs.namenode.events import Event
from esdfs.namenode.projection import ahead
from esdfs.namenode.projection.ahead import decoded_ahead, decoded_here
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import catch_up
from esdfs.namenode.upcasters import LEVEL_NEWEST
from tests.journals import EMPTY, NOON_US

RECORDS = 6_000


def draft(number: int, event: Event) -> Draft:
    made = pack(event, level=LEVEL_NEWEST)
    client_id = number.to_bytes(16, "big")
    return Draft(NOON_US + number, *made, client_id=client_id, seq=number, principal="ann", peer="")


def journal_of(count: int) -> MemoryJournal:
    events: list[Event] = [ev.ClusterFormatted("c", 1 << 27, 2, 2, True, LEVEL_NEWEST)]
    for number in range(1, count):
        made = ev.DirectoryMade(int(ROOT), f"d-{number}", int(ROOT) + number, 0o755, "ann", "users")
        events.append(made)
    journal = MemoryJournal()
    journal.append(seal(EMPTY, Epoch(1), [draft(number, event) for number, event in enumerate(events)]))
    return journal


def pages_of(journal: MemoryJournal) -> Iterator[list[tuple[Any, ...]]]:
    return iter([list(page) for page in journal.scan(Txid(0), until=journal.head().last_txid, page=200)])


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_what_is_decoded_ahead_is_what_is_decoded_here() -> None:
    journal, before = journal_of(RECORDS), children()
    found = list(decoded_ahead(pages_of(journal)))
    assert found == list(decoded_here(pages_of(journal)))
    assert children() == before


def test_a_replay_uses_it_and_it_ends_with_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, before = journal_of(RECORDS), children()

    def never(row: Any) -> Any:
        raise AssertionError(f"decoded here: {row}")

    monkeypatch.setattr(ahead, "decode", never)
    store = ProjectionStore(tmp_path, bytes_max=1 << 30)
    assert catch_up(store, journal) == RECORDS
    assert children() == before
    assert store.meta().chain == journal.head().chain
    store.close()


def test_when_it_is_killed_in_the_middle_the_rest_is_decoded_here() -> None:
    journal, before = journal_of(RECORDS), children()
    found = []
    for number, page in enumerate(decoded_ahead(pages_of(journal))):
        found.append(page)
        if number == 3:
            (process,) = children() - before
            os.kill(process, signal.SIGKILL)
    assert found == list(decoded_here(pages_of(journal)))


def test_an_answer_that_was_cut_off_is_decoded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = tmp_path / "dying"
    dying.write_text("#!/bin/sh\nprintf '\\000\\020\\000\\000abc'\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    journal = journal_of(RECORDS)
    assert list(decoded_ahead(pages_of(journal))) == list(decoded_here(pages_of(journal)))


def test_a_record_of_a_newer_program_stops_the_replay_where_it_is(tmp_path: Path) -> None:
    journal = journal_of(RECORDS)
    head = journal.head()
    newer = Draft(NOON_US * 2, 999, 1, b"", client_id=b"", seq=0, principal="", peer="")
    journal.append(seal(Head(head.epoch, head.last_txid, head.chain), Epoch(1), [newer]))
    before = children()
    store = ProjectionStore(tmp_path, bytes_max=1 << 30)
    with pytest.raises(NewerRelease, match=str(RECORDS + 1)):
        catch_up(store, journal)
    assert children() == before
    store.close()
