"""Rolling upgrades: what a node refuses to run with, and when the cluster's feature level may rise.

A release reads a range of levels; a cluster writes at one (``upcasters``). Nodes are replaced one by one
while the level stays; when every voter and every observer that lives reads the next one, an operator raises
it, with one record. From there on a node that does not read it stops: it would have to skip records.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from esdfs.errors import NewerRelease, UpgradeHeldBack
from esdfs.ids import Txid
from esdfs.journal.entry import Entry
from esdfs.journal.log import JournalReader
from esdfs.namenode.engine import Internal
from esdfs.namenode.event_codec import unpack
from esdfs.namenode.events import ClusterFormatted, Event, FeatureLevelRaised, Kind
from esdfs.namenode.features import FeatureRange, at_record, beyond
from esdfs.namenode.metadata_manager import MetadataManager
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.writer import Writer
from esdfs.namenode.upcasters import VERSIONS

_LEVELS: Final = frozenset({int(Kind.CLUSTER_FORMATTED), int(Kind.FEATURE_LEVEL_RAISED)})


# --- one node ----------------------------------------------------------------------------------------


def require_readable(entries: Iterable[Entry], supported: FeatureRange) -> None:
    """Whether this node may go on with a journal that holds ``entries``, committed or not.

    What a transaction holds is looked at when it is applied: no leader writes it below its level.

    Raises:
        NewerRelease: Of the first record that it could only skip: of an unknown kind, version or level.
    """
    for entry in entries:
        known = VERSIONS.get(entry.kind)
        if known is not None and 1 <= entry.version <= known and entry.kind not in _LEVELS:
            continue
        try:
            for event in unpack(entry.kind, entry.version, entry.payload).events:
                level = level_of(event)
                if level > supported.newest:
                    raise beyond(level, supported.newest)
        except NewerRelease as error:
            raise at_record(error, entry.txid) from error


def require_supported(store: ProjectionStore, journal: JournalReader, supported: FeatureRange) -> None:
    """Whether this node may start: with what it has applied, and with all that is in its journal since.

    Raises:
        NewerRelease: It must be upgraded first. Nothing was changed.
    """
    with store.present() as view:
        level, applied = view.feature_level(), view.meta.applied_txid
    if not supported.has(level):
        raise beyond(level, supported.newest)
    for page in journal.scan(Txid(applied), until=journal.head().last_txid):
        require_readable((Entry(*row) for row in page), supported)


def level_of(event: Event) -> int:
    """The level an event puts the cluster at; 0 for any other event."""
    match event:
        case FeatureLevelRaised(level=level) | ClusterFormatted(feature_level=level):
            return level
        case _:
            return 0


# --- the cluster -------------------------------------------------------------------------------------


class NodeFeatures(msgspec.Struct, frozen=True):
    """What one node reads.

    Attributes:
        kind: ``voter``, ``witness`` or ``observer``.
        oldest, newest: 0 when it was not heard from.
    """

    node_id: str
    kind: str
    oldest: int
    newest: int

    def holds_back(self, level: int) -> str:
        """Why it does not let the cluster reach ``level``; "" when it does."""
        if not self.newest:
            return "it has not been heard from: start it, or remove it from the voters"
        if self.newest < level:
            return f"it reads feature levels up to {self.newest}: upgrade it"
        if self.oldest > level:
            return f"it no longer reads feature level {level}: raise the level before it joins"
        return ""


class Fleet(Protocol):
    """What the leader knows of the others."""

    def features(self) -> Sequence[NodeFeatures]:
        """Every voter, and every observer that lives."""
        ...


class Upgrading:
    """The leader's side: what holds the level back, and raising it."""

    def __init__(self, metadata: MetadataManager, fleet: Fleet) -> None:
        self._metadata, self._fleet = metadata, fleet

    def status(self) -> dict[str, Any]:
        """``{"level", "next", "nodes"}``: where the cluster is, and what it could be raised to."""
        level = self._metadata.feature_level()
        nodes = self._fleet.features()
        goal = max(level, *(node.newest for node in nodes))
        told = [
            msgspec.to_builtins(node) | {"holds_back": node.holds_back(goal) if goal > level else ""}
            for node in nodes
        ]
        return {"level": level, "next": goal, "nodes": told}

    async def finalize(self, propose: Callable[[Internal], Awaitable[Any]]) -> dict[str, Any]:
        """Raise the level to the newest one that any node reads; returns when that is committed.

        Repeatable: nothing happens when the cluster is there already.

        Raises:
            UpgradeHeldBack: A node does not read it, or does not answer. Nothing was changed.
        """
        status = self.status()
        goal = status["next"]
        held = [node for node in status["nodes"] if node["holds_back"]]
        if held:
            raise UpgradeHeldBack(
                f"the cluster stays at feature level {status['level']}: "
                + "; ".join(f"{node['node_id']}: {node['holds_back']}" for node in held),
                nodes=[node["node_id"] for node in held],
                level=goal,
            )

        def raised(writer: Writer) -> Event | None:
            return FeatureLevelRaised(goal) if writer.feature_level() < goal else None

        await propose(Internal(raised))
        return self.status()
