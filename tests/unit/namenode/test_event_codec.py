"""Payloads are for ever: what was once written must read, and be written the same way again."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esdfs.blocks import Block
from esdfs.errors import JournalCorrupt, NewerRelease
from esdfs.namenode import events as ev
from esdfs.namenode.event_codec import pack, pack_all, unpack
from esdfs.namenode.events import Event, Kind
from esdfs.namenode.upcasters import VERSIONS, upcasters

GOLDEN = Path(__file__).parents[2] / "golden" / "events_v1.json"

BLOCK = Block(7, 1, 100, 90, 0xDEADBEEF, True)
SAMPLES: tuple[Event, ...] = (
    ev.ClusterFormatted("c0ffee", 1 << 27, 2, 2, False),
    ev.LeaderChanged("nn-1", "storage"),
    ev.DataNodeAdded("dn-1", "uuid", 1),
    ev.VotersChanged(
        (
            ev.VoterEntry("nn-1", "s1", "voter", "h1:1", "http://h1:2"),
            ev.VoterEntry("w-1", "s2", "witness", "h2:1", ""),
        )
    ),
    ev.DirectoryMade(1, "año ☃", 2, 0o755, "ann", "users"),
    ev.FileOpened(
        2, "f", 3, 0o644, "ann", "users", 2, 1 << 27, "lease", True, (ev.AllocatedBlock(7, 1, (1, 2)),)
    ),
    ev.BlocksAllocated(3, (ev.AllocatedBlock(8, 1, (2, 3)),), (7,)),
    ev.FileCompleted(3, 2, "f", 100, 1_700_000_000_000_000, (ev.CompletedBlock(BLOCK, (1, 2)),), 5, 9),
    ev.FileAborted(3, "gone", (7, 8)),
    ev.Renamed(3, 2, "f", 1, "g", 4),
    ev.Deleted(3, 1, "g", False, False),
    ev.AttributesSet(3, 1, "g", 0, None, "", 3, None),
    ev.FileLinked(5, 1, "h", 0o600, "ann", "users", 2, 1 << 27, 100, 1, 5, (BLOCK,), 3, 12, 0),
    ev.SubtreeLinked(1, "t", 2, 12, 6, 40),
)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert unpack(*pack(event, 99)) == ((event,), (0,), 99)


def test_a_transaction_keeps_its_events_in_order_and_whose_they_are() -> None:
    numbers = tuple(range(len(SAMPLES)))
    packed = pack_all(SAMPLES, numbers, 5)

    assert packed.kind == Kind.TRANSACTION
    assert unpack(*packed) == (SAMPLES, numbers, 5)


def test_every_kind_has_a_sample_and_a_golden_payload() -> None:
    kinds = {pack(event).kind for event in SAMPLES} | {Kind.TRANSACTION}
    golden = {row["kind"] for row in json.loads(GOLDEN.read_text())}

    assert kinds == golden == set(map(int, Kind))


def test_golden_payloads_read_as_the_events_they_were() -> None:
    rows = json.loads(GOLDEN.read_text())
    read = [unpack(row["kind"], row["version"], bytes.fromhex(row["payload"])) for row in rows]

    assert tuple(unpacked.events[0] for unpacked in read[:-1]) == SAMPLES
    assert read[-1].events == SAMPLES


def test_todays_encoding_of_the_golden_events_is_byte_for_byte_the_same() -> None:
    rows = json.loads(GOLDEN.read_text())
    packed = [pack(event, 99) for event in SAMPLES] + [pack_all(SAMPLES, range(len(SAMPLES)), 99)]

    assert [(p.kind, p.version, p.payload.hex()) for p in packed] == [
        (row["kind"], row["version"], row["payload"]) for row in rows
    ]


def test_no_version_lacks_the_step_that_lifts_it() -> None:
    assert upcasters.missing() == []


@pytest.mark.parametrize(("kind", "version"), [(250, 1), (Kind.RENAMED, 2), (Kind.RENAMED, 0)])
def test_what_a_newer_release_wrote_stops_this_one(kind: int, version: int) -> None:
    with pytest.raises(NewerRelease):
        unpack(kind, version, b"")


@given(st.binary(max_size=64), st.sampled_from(sorted(VERSIONS)))
def test_bytes_that_are_no_message_are_corrupt_or_read_but_never_crash(payload: bytes, kind: int) -> None:
    try:
        unpack(kind, 1, payload)
    except (JournalCorrupt, NewerRelease):
        return
