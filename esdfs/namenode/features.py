"""Which feature levels a node can read, and what it says when it meets one it cannot. Pure."""

from typing import Final, NamedTuple

from esdfs.errors import NewerRelease
from esdfs.namenode.upcasters import LEVEL_NEWEST, LEVEL_OLDEST


class FeatureRange(NamedTuple):
    """Feature levels that a node reads and writes, both inclusive."""

    oldest: int
    newest: int

    def has(self, level: int) -> bool:
        """Whether a cluster at ``level`` may have this node."""
        return self.oldest <= level <= self.newest


SUPPORTED: Final = FeatureRange(LEVEL_OLDEST, LEVEL_NEWEST)
"""Of this release."""


def limited(level_max: int) -> FeatureRange:
    """This release's range, held back at ``level_max``; 0 = not held back."""
    return SUPPORTED._replace(newest=min(level_max or LEVEL_NEWEST, LEVEL_NEWEST))


def at_record(error: NewerRelease, txid: int) -> NewerRelease:
    """``error``, naming the record that led to it."""
    return NewerRelease(f"journal record {txid}: {error.message}", **(error.details | {"txid": txid}))


def beyond(level: int, newest: int) -> NewerRelease:
    """The cluster is at ``level``, and a node reads up to ``newest``."""
    return NewerRelease(
        f"the cluster is at feature level {level}, and this node reads levels up to {newest}: upgrade this "
        "node (or let feature_level_max in its namenode.toml be 0)",
        level=level,
        newest=newest,
    )
