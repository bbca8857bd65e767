"""Every event's versions: the feature level each may be written at, and the steps that lift old ones.

A shipped event is never edited. To change one, or to add one: raise or add its number in ``VERSIONS``, say
in ``_SINCE`` at which feature level it may be written (a new level when the newest one has shipped),
register the step that lifts the previous version's payload (defaults are constants: no clock, no setting),
keep the encoder of the previous shape, and add a golden payload of the new version; the old one stays and
must read for ever.
"""

from typing import Final

from esdfs.journal.upcast import Upcasters
from esdfs.namenode.events import Kind

VERSIONS: Final[dict[int, int]] = dict.fromkeys(map(int, Kind), 1) | {
    int(Kind.CLUSTER_FORMATTED): 2,
    int(Kind.LEADER_CHANGED): 2,
}
"""The newest version of every kind this release reads, and writes at ``LEVEL_NEWEST``."""

LEVEL_OLDEST: Final = 1
LEVEL_NEWEST: Final = 5
"""Feature levels this release reads and writes, inclusive. A cluster's level says what may be written in it:
nothing that a node of the cluster could not read."""

_SINCE: Final[dict[tuple[int, int], int]] = {
    (int(Kind.CLUSTER_FORMATTED), 2): 2,
    (int(Kind.LEADER_CHANGED), 2): 2,
    (int(Kind.CHECKPOINT_MARKED), 1): 2,
    (int(Kind.CHECKPOINT_TAKEN), 1): 2,
    (int(Kind.RETENTION_SET), 1): 3,
    (int(Kind.HORIZON_MOVED), 1): 3,
    (int(Kind.HISTORY_PURGED), 1): 3,
    (int(Kind.SNAPSHOT_CREATED), 1): 3,
    (int(Kind.SNAPSHOT_DELETED), 1): 3,
    (int(Kind.TREE_LINKED), 1): 3,
    (int(Kind.WORK_CONTINUED), 1): 3,
    (int(Kind.NAMESPACE_REWOUND), 1): 3,
    (int(Kind.DATANODE_STATE_SET), 1): 3,
    (int(Kind.CURSOR_MOVED), 1): 3,
    (int(Kind.CURSOR_DROPPED), 1): 3,
}
"""(kind, version) -> the feature level it is written from; 1 when not here.

``FeatureLevelRaised`` may be written at the level before the one it names: it is what raises it, and is
journaled only when every node reads that level."""

_WRITTEN: Final = {
    level: {
        kind: max(
            (version for version in range(1, newest + 1) if _SINCE.get((kind, version), 1) <= level),
            default=0,
        )
        for kind, newest in VERSIONS.items()
    }
    for level in range(LEVEL_OLDEST, LEVEL_NEWEST + 1)
}

upcasters: Final = Upcasters(VERSIONS)


def version_at(kind: int, level: int) -> int:
    """The version of ``kind`` that is written at a feature level this release knows; 0 = not yet any."""
    return _WRITTEN[level][kind]


# Protobuf appends: a field that is not in the old payload may follow it. Tag byte, then varint 1.


@upcasters.step(Kind.CLUSTER_FORMATTED, 1)
def _formatted_before_levels(payload: bytes) -> bytes:
    return payload + b"\x30\x01"  # feature_level = 1


@upcasters.step(Kind.LEADER_CHANGED, 1)
def _led_before_levels(payload: bytes) -> bytes:
    return payload + b"\x20\x01"  # feature_level = 1; its release stays unknown
