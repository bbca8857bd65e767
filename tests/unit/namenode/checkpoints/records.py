"""Journals of real events, and projections made of them."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from esdfs.blocks import Block
from esdfs.ids import Epoch
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Entry
from esdfs.namenode import events as ev
from esdfs.namenode.event_codec import pack
from esdfs.namenode.projection.lmdb import ProjectionStore
from tests.journals import EMPTY, NOON_US, end

CLUSTER = "cluster-1"
BYTES_MAX = 1 << 30


def _draft(number: int, event: ev.Event) -> Draft:
    kind, version, payload = pack(event, level=2)
    client = number.to_bytes(16, "big") if number > 1 else b""
    return Draft(NOON_US + number * 1000, kind, version, payload, client, number, "ann", "192.0.2.7")


def records(files: int) -> list[Entry]:
    """A cluster with that many files, some of them renamed, removed or still being written."""
    events: list[ev.Event] = [
        ev.ClusterFormatted(CLUSTER, 1 << 27, 2, 2, False, 2),
        ev.VotersChanged((ev.VoterEntry("nn-1", "s1", "voter", "h1:1", "http://h1:2"),)),
        ev.DataNodeAdded("dn-1", "uuid", 1),
    ]
    for number in range(files):
        inode, block_id, name = 2 + number, 1 + number, f"file {number:05}"
        targets = (ev.AllocatedBlock(block_id, 1, (1,)),)
        events.append(ev.FileOpened(1, name, inode, 0o644, "ann", "users", 2, 1 << 27, "l", False, targets))
        if number % 5 == 4:
            continue
        block = Block(block_id, 1, 100, 90, number, True)
        events.append(ev.FileCompleted(inode, 1, name, 100, 9, (ev.CompletedBlock(block, (1,)),), number, 0))
        if number % 5 == 1:
            events.append(ev.Renamed(inode, 1, name, 1, f"renamed {number}", 0))
        if number % 5 == 2:
            events.append(ev.Deleted(inode, 1, name, False, False))
    return seal(EMPTY, Epoch(1), [_draft(number, event) for number, event in enumerate(events, 1)])


def more(line: Sequence[Entry], count: int) -> list[Entry]:
    """Records that may follow on."""
    first = len(line) + 1
    made = [
        ev.DirectoryMade(1, f"d{n}", 500_000 + n, 0o755, "ann", "users") for n in range(first, first + count)
    ]
    return seal(end(line), Epoch(2), [_draft(n, event) for n, event in enumerate(made, first)])


def apply(store: ProjectionStore, line: Sequence[Entry], *, batch: int = 100) -> None:
    """Fold records in, so many in one transaction."""
    for start in range(0, len(line), batch):
        writer = store.begin()
        for entry in line[start : start + batch]:
            writer.apply_row(msgspec.structs.astuple(entry))
        writer.commit()


def projection(directory: Path, line: Sequence[Entry] = (), *, batch: int = 100) -> ProjectionStore:
    """A projection in a directory of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    store = ProjectionStore(directory, bytes_max=BYTES_MAX)
    apply(store, line, batch=batch)
    return store
