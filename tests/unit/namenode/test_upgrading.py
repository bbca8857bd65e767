import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import astuple

from esdfs.errors import InvalidRequest, NewerRelease, UpgradeHeldBack
from esdfs.ids import Epoch, Micros, NodeId, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Entry, Head
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import EventControlRecords
from esdfs.namenode.control_records import draft as drafted
from esdfs.namenode.engine import Internal
from esdfs.namenode.event_codec import pack_all
from esdfs.namenode.events import Kind
from esdfs.namenode.features import SUPPORTED, limited
from esdfs.namenode.formatting import cluster_settings, format_namenode
from esdfs.namenode.upcasters import LEVEL_NEWEST, LEVEL_OLDEST
from esdfs.namenode.upgrading import NodeFeatures, Upgrading, require_readable, require_supported
from tests.unit.namenode.world import CountingRng, FakeClock, World

US, OLD, NEW = NodeFeatures("a", "voter", 1, 2), limited(1), SUPPORTED


@pytest.fixture
def older(tmp_path: Path) -> Iterator[World]:
    """A cluster of feature level 1."""
    config = NameNodeConfig(node_id="nn-1", dir=str(tmp_path))
    settings = cluster_settings(CountingRng(), replication=2, block_size_bytes=1 << 20, feature_level=1)
    format_namenode(config, settings, clock=FakeClock(), rng=CountingRng())
    world = World(tmp_path)
    yield world
    world.close()


class Fleet:
    """What the leader heard."""

    def __init__(self, *nodes: NodeFeatures) -> None:
        self.nodes = nodes

    def features(self) -> tuple[NodeFeatures, ...]:
        return self.nodes


def finalized(world: World, *others: NodeFeatures) -> dict[str, Any]:
    async def propose(internal: Internal) -> None:
        (settled,) = world.settle(internal)
        assert settled.error is None

    return asyncio.run(Upgrading(world.metadata, Fleet(US, *others)).finalize(propose))


def versions(world: World) -> list[tuple[int, int]]:
    return [(entry.kind, entry.version) for entry in world.journal.read(Txid(0), limit=1000)]


def sealed(*drafts: Draft) -> list[Entry]:
    return seal(Head(Epoch(1), Txid(6), bytes(32)), Epoch(1), drafts)


# --- raising the level ---


def test_it_rises_when_everybody_reads_the_next_one_and_only_once(older: World) -> None:
    assert Upgrading(older.metadata, Fleet(US)).status()["level"] == 1
    told = finalized(older, NodeFeatures("b", "voter", 1, 2), NodeFeatures("o", "observer", 2, 2))
    assert (told["level"], told["next"]) == (2, 2)
    assert versions(older)[-1] == (Kind.FEATURE_LEVEL_RAISED, 1)

    before = older.txid
    assert finalized(older)["level"] == 2
    assert older.txid == before


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (NodeFeatures("b", "voter", 1, 1), "b: it reads feature levels up to 1: upgrade it"),
        (NodeFeatures("o", "observer", 1, 1), "o: it reads feature levels up to 1: upgrade it"),
        (NodeFeatures("b", "voter", 0, 0), "b: it has not been heard from"),
        (NodeFeatures("b", "voter", 3, 4), "a: it reads feature levels up to 2: upgrade it"),
    ],
)
def test_a_node_that_does_not_read_it_holds_it_back_and_is_named(
    older: World, node: NodeFeatures, why: str
) -> None:
    before = older.txid
    with pytest.raises(UpgradeHeldBack, match=why):
        finalized(older, node)
    assert older.txid == before


def test_below_a_level_its_shapes_are_not_written_and_from_the_next_record_on_they_are(older: World) -> None:
    def raised(_: object) -> ev.Event:
        return ev.FeatureLevelRaised(2)

    def led(_: object) -> ev.Event:
        return ev.LeaderChanged("nn-1", "s", "9.9", 2)

    older.settle(Internal(led), Internal(raised), Internal(led))  # one batch
    assert versions(older)[-3:] == [
        (Kind.LEADER_CHANGED, 1),
        (Kind.FEATURE_LEVEL_RAISED, 1),
        (Kind.LEADER_CHANGED, 2),
    ]


def test_the_level_survives_a_restart_and_a_rebuild(older: World) -> None:
    finalized(older)
    older.close()
    older.open(anew=True)
    assert older.metadata.feature_level() == 2
    assert versions(older)[-1] == (Kind.LEADER_CHANGED, 2)


@pytest.mark.parametrize("level", range(LEVEL_OLDEST, LEVEL_NEWEST + 1))
def test_the_quorums_own_records_have_the_shape_of_the_level_applied(level: int) -> None:
    control = EventControlRecords(lambda: level, "9.9")
    assert control.leader_changed(NodeId("a"), "s", Micros(1)).version == (1 if level == 1 else 2)


# --- what a node refuses ---


def test_an_older_node_refuses_the_record_that_raises_the_level_and_names_it() -> None:
    raised = drafted(ev.FeatureLevelRaised(2), Micros(1), level=1)
    require_readable(sealed(raised), NEW)
    with pytest.raises(NewerRelease, match=r"journal record 7: the cluster is at feature level 2.*upgrade"):
        require_readable(sealed(raised), OLD)


@pytest.mark.parametrize(("kind", "version"), [(250, 1), (int(Kind.DIRECTORY_MADE), 9)])
def test_a_record_that_could_only_be_skipped_is_refused_by_name(kind: int, version: int) -> None:
    made = drafted(ev.DirectoryMade(1, "d", 2, 0o755, "ann", "users"), Micros(1), level=1)
    named = rf"journal record 8: record of kind {kind} version {version} is unknown .* upgrade this node"
    with pytest.raises(NewerRelease, match=named):
        require_readable(sealed(made, Draft(Micros(1), kind, version, b"?")), NEW)


def test_an_unknown_event_inside_a_transaction_stops_whoever_applies_it(world: World) -> None:
    made = ev.DirectoryMade(1, "d", 20, 0o755, "ann", "users")
    packed = pack_all([made, made], [0, 1], level=LEVEL_NEWEST)
    unknown = packed.payload.replace(b"\x08\x0a", b"\x08\x7a")  # the kind of both
    assert unknown != packed.payload
    (entry,) = seal(world.journal.head(), Epoch(1), [Draft(Micros(1), packed.kind, packed.version, unknown)])
    before = world.txid
    writer = world.store.begin()
    with pytest.raises(NewerRelease, match=f"journal record {entry.txid}: record of kind 122"):
        writer.apply_row(astuple(entry))
    writer.abort()
    assert world.txid == before


def test_a_node_does_not_start_in_a_cluster_beyond_it_whether_it_had_applied_that_or_not(
    older: World,
) -> None:
    require_supported(older.store, older.journal, OLD)
    finalized(older)
    with pytest.raises(NewerRelease, match="feature level 2, and this node reads levels up to 1"):
        require_supported(older.store, older.journal, OLD)
    older.store.clear()
    with pytest.raises(NewerRelease, match="feature level 2, and this node reads levels up to 1"):
        require_supported(older.store, older.journal, OLD)
    require_supported(older.store, older.journal, NEW)


def test_a_held_back_node_cannot_be_formatted_into_a_newer_cluster(tmp_path: Path) -> None:
    config = NameNodeConfig(node_id="nn-1", dir=str(tmp_path / "nn"), feature_level_max=1)
    with pytest.raises(InvalidRequest, match=f"does not read feature level {LEVEL_NEWEST}, only 1 to 1"):
        format_namenode(config, cluster_settings(CountingRng()), clock=FakeClock(), rng=CountingRng())
    assert not (tmp_path / "nn").exists()
    assert NameNodeConfig(node_id="a", dir="d", feature_level_max=LEVEL_NEWEST + 1).validate() == [
        f"feature_level_max must be 0 or between 1 and {LEVEL_NEWEST}"
    ]


def test_a_held_back_node_stays_in_a_cluster_of_its_level(older: World) -> None:
    older.run(cmd.MakeDirectory("/a"))
    require_supported(older.store, older.journal, OLD)
