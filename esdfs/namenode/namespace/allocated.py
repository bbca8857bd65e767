"""Which block ids a journal has given out. Pure."""

from typing import Final, NamedTuple

LEVEL_SKIPPING: Final = 3
"""The feature level from which ids that are in use elsewhere are passed over."""


class Allocated(NamedTuple):
    """All ids below ``next_block_id`` but those ``skipped``: half-open ranges, ascending.

    Ids are given out one after the other, so a leap is all there is to remember: a DataNode had blocks that
    this journal did not know, because it went back in time. Their ids are never given out here, and the
    blocks never deleted.
    """

    next_block_id: int
    skipped: tuple[tuple[int, int], ...] = ()

    def has(self, block_id: int) -> bool:
        """Whether this journal ever gave the id out."""
        return block_id < self.next_block_id and not any(
            first <= block_id < below for first, below in self.skipped
        )
