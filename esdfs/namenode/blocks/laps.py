"""How far the blocks of DataNodes were considered for moving. Pure."""

from typing import Final

from esdfs.namenode.blocks.policy import ns


class Lap:
    """How far the blocks of one DataNode were considered.

    Attributes:
        after: The last one.
        found: Some could be moved since the first.
        undisturbed: All the while it was calm, and nothing moved.
    """

    __slots__ = ("_fruitless_until_ns", "_rests_until_ns", "after", "found", "undisturbed")

    AGAIN_MS: Final = 30_000

    def __init__(self) -> None:
        self.after = 0
        self.found = False
        self.undisturbed = True
        self._rests_until_ns = 0
        self._fruitless_until_ns = 0

    def end(self, now_ns: int, news_ns: int) -> None:
        """All were considered. If none will do, none will before there is news; undisturbed, for a while."""
        if not self.found:
            self._rests_until_ns = now_ns + news_ns
            if self.undisturbed:
                self._fruitless_until_ns = now_ns + ns(self.AGAIN_MS)
        self.after = 0
        self.found = False
        self.undisturbed = True

    def rests(self, now_ns: int) -> bool:
        """Whether none could be moved just now."""
        return now_ns < self._rests_until_ns or self.fruitless(now_ns)

    def fruitless(self, now_ns: int) -> bool:
        """Whether none could be moved a moment ago, though nothing was in the way."""
        return now_ns < self._fruitless_until_ns
