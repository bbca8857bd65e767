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
from esdfs.namenode.upcasters import LEVEL_NEWEST, LEVEL_OLDEST, VERSIONS, upcasters, version_at

GOLDEN = {level: Path(__file__).parents[2] / "golden" / f"events_v{level}.json" for level in (1, 2, 3)}
LEVELS = range(LEVEL_OLDEST, LEVEL_NEWEST + 1)

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
SAMPLES_2: tuple[Event, ...] = (
    ev.ClusterFormatted("c0ffee", 1 << 27, 2, 2, False, 2),
    ev.LeaderChanged("nn-1", "storage", "0.1.0", 2),
    *SAMPLES[2:],
    ev.FeatureLevelRaised(2),
    ev.CheckpointMarked(),
    ev.CheckpointTaken(70, 1, bytes(range(32)), bytes(range(32, 64)), 9_000),
)
"""What level 2 added is told apart from its defaults."""
SAMPLES_3: tuple[Event, ...] = (
    *SAMPLES_2,
    ev.RetentionSet(7 * 86_400, 1_000_000),
    ev.HorizonMoved(12),
    ev.HistoryPurged(500),
    ev.SnapshotCreated("año ☃", 12, 3, "/t/f", (1, 2)),
    ev.SnapshotDeleted("año ☃"),
    ev.TreeLinked(1, "t", 6, 2, 12, 9),
    ev.WorkContinued(71, 500),
    ev.NamespaceRewound(12),
    ev.CursorMoved("año ☃", 12, "ann"),
    ev.CursorDropped("año ☃"),
    ev.DataNodeStateSet(1, "dn-1", "maintenance", 1_700_000_000_000_000, "a new disk ☃"),
)
SAMPLES_AT = {1: SAMPLES, 2: SAMPLES_2, 3: SAMPLES_3}


@pytest.mark.parametrize("event", SAMPLES_3, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert unpack(*pack(event, 99, level=3)) == ((event,), (0,), 99)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_at_an_older_level_it_is_written_in_the_older_shape_and_lifted_when_read(event: Event) -> None:
    packed = pack(event, 99, level=1)

    assert packed.version == version_at(packed.kind, 1) == 1
    assert unpack(*packed) == ((event,), (0,), 99)


def test_a_transaction_keeps_its_events_in_order_and_whose_they_are() -> None:
    numbers = tuple(range(len(SAMPLES_3)))
    packed = pack_all(SAMPLES_3, numbers, 5, level=3)

    assert packed.kind == Kind.TRANSACTION
    assert unpack(*packed) == (SAMPLES_3, numbers, 5)


def test_every_kind_has_a_sample_and_a_golden_payload() -> None:
    kinds = {pack(event, level=3).kind for event in SAMPLES_3} | {Kind.TRANSACTION}
    golden = {
        (row["kind"], row["version"]) for file in GOLDEN.values() for row in json.loads(file.read_text())
    }

    assert kinds == set(map(int, Kind))
    assert golden == {(kind, version) for kind in kinds for version in range(1, VERSIONS[kind] + 1)}


@pytest.mark.parametrize(("level", "samples"), SAMPLES_AT.items())
def test_golden_payloads_read_as_the_events_they_were(level: int, samples: tuple[Event, ...]) -> None:
    rows = json.loads(GOLDEN[level].read_text())
    read = [unpack(row["kind"], row["version"], bytes.fromhex(row["payload"])) for row in rows]

    assert tuple(unpacked.events[0] for unpacked in read[:-1]) == samples
    assert read[-1].events == samples


@pytest.mark.parametrize(("level", "samples"), SAMPLES_AT.items())
def test_todays_encoding_of_the_golden_events_is_byte_for_byte_the_same(
    level: int, samples: tuple[Event, ...]
) -> None:
    rows = json.loads(GOLDEN[level].read_text())
    packed = [pack(event, 99, level=level) for event in samples]
    packed.append(pack_all(samples, range(len(samples)), 99, level=level))

    assert [(p.kind, p.version, p.payload.hex()) for p in packed] == [
        (row["kind"], row["version"], row["payload"]) for row in rows
    ]


def test_no_version_lacks_the_step_that_lifts_it() -> None:
    assert upcasters.missing() == []


@pytest.mark.parametrize(("kind", "version"), [(250, 1), (Kind.RENAMED, 2), (Kind.RENAMED, 0)])
def test_what_a_newer_release_wrote_stops_this_one(kind: int, version: int) -> None:
    with pytest.raises(NewerRelease):
        unpack(kind, version, b"")


@pytest.mark.parametrize("level", LEVELS)
def test_every_kind_has_a_version_at_every_level_that_is_read_from_its_own_on(level: int) -> None:
    since_3 = {Kind.RETENTION_SET, Kind.HORIZON_MOVED, Kind.HISTORY_PURGED, Kind.SNAPSHOT_CREATED}
    since_3 |= {Kind.SNAPSHOT_DELETED, Kind.TREE_LINKED, Kind.WORK_CONTINUED, Kind.NAMESPACE_REWOUND}
    since_3 |= {Kind.CURSOR_MOVED, Kind.CURSOR_DROPPED, Kind.DATANODE_STATE_SET}
    since_2 = {Kind.CHECKPOINT_MARKED, Kind.CHECKPOINT_TAKEN}
    new_kinds = {1: since_2 | since_3, 2: since_3}.get(level, set[Kind]())
    assert {kind for kind in VERSIONS if not version_at(kind, level)} == new_kinds
    assert all(version_at(kind, level) <= newest for kind, newest in VERSIONS.items())
    assert level < LEVEL_NEWEST or all(version_at(kind, level) == newest for kind, newest in VERSIONS.items())


@given(st.binary(max_size=64), st.sampled_from(sorted(VERSIONS)))
def test_bytes_that_are_no_message_are_corrupt_or_read_but_never_crash(payload: bytes, kind: int) -> None:
    try:
        unpack(kind, 1, payload)
    except (JournalCorrupt, NewerRelease):
        return
