"""Which feature levels other NameNodes say they read: said in every request for votes or records.

It travels in the envelope, beside the quorum's own words: the quorum orders records and knows no payloads.
"""

from typing import NamedTuple

from esdfs._proto import namenode_pb2 as pb
from esdfs.env import Clock
from esdfs.ids import NodeId

_BEFORE_LEVELS = 1  # a release that says nothing reads this level only


class Sighting(NamedTuple):
    """What a node, with one disk, said last.

    Attributes:
        kind: In which capacity it fetched last (``SyncKind``); "" when it never did.
        heard_ns: When, on our monotonic clock.
    """

    node_id: NodeId
    storage_id: str
    kind: str
    oldest: int
    newest: int
    heard_ns: int


class PeerFeatures:
    """Says what we read, and remembers what others said. One event loop.

    Args:
        cluster_id: Nodes of other clusters are not remembered.
        oldest, newest: What this node reads, inclusive.
    """

    def __init__(self, cluster_id: str, oldest: int, newest: int, clock: Clock) -> None:
        self._cluster_id, self._oldest, self._newest = cluster_id, oldest, newest
        self._clock = clock
        self._sightings: dict[tuple[str, str], Sighting] = {}

    def stamp(self, envelope: pb.Envelope) -> None:
        """Say it in a request of ours."""
        envelope.feature_oldest, envelope.feature_newest = self._oldest, self._newest

    def heard(self, envelope: pb.Envelope, kind: str = "") -> None:
        """A request came. The newest word counts: a node may come back as another release."""
        if envelope.cluster_id != self._cluster_id:
            return
        key = (envelope.from_id, envelope.from_storage_id)
        known = self._sightings.get(key)
        self._sightings[key] = Sighting(
            NodeId(envelope.from_id),
            envelope.from_storage_id,
            kind or (known.kind if known else ""),
            envelope.feature_oldest or _BEFORE_LEVELS,
            envelope.feature_newest or _BEFORE_LEVELS,
            self._clock.monotonic_ns(),
        )

    def since(self, age_ns: int) -> dict[tuple[str, str], Sighting]:
        """Nodes heard of at most ``age_ns`` ago, by (node id, storage id)."""
        from_ns = self._clock.monotonic_ns() - age_ns
        return {key: seen for key, seen in self._sightings.items() if seen.heard_ns >= from_ns}
