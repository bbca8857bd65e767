"""Blocks that move from one DataNode to another: a copy, and then one copy too many. Pure.

Nothing here deletes. When the copy has arrived the block has one copy more than asked for, and the ordinary
trimming takes that of the source, as soon as it may take any. What is forgotten in between is an extra copy.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from esdfs.namenode.blocks import bodies
from esdfs.namenode.blocks.copies import Copies, Copy
from esdfs.namenode.blocks.datanodes import DataNodeTable
from esdfs.namenode.blocks.policy import Policy, ns

LEAVING_MS: Final = 600_000
"""The source's copy is expected to be trimmed by then."""


class Move:
    """One block.

    Attributes:
        arrived_ns: When the target was last heard of before it reported the copy; None = not yet there.
        left_ns: The same for the source, when its copy was seen to be gone; 0 = it is to stay.
        until_ns: Then it is forgotten.
    """

    __slots__ = ("arrived_ns", "left_ns", "size_bytes", "source", "target", "until_ns")

    def __init__(self, source: int, target: int, size_bytes: int, until_ns: int) -> None:
        self.source = source
        self.target = target
        self.size_bytes = size_bytes
        self.until_ns = until_ns
        self.arrived_ns: int | None = None
        self.left_ns: int | None = None


class Moves:
    """Moves under way, one per block, and what they mean for how full DataNodes are."""

    def __init__(self, policy: Policy, nodes: DataNodeTable) -> None:
        self._nodes = nodes
        self._copies = Copies(policy)
        self._by_block: dict[int, Move] = {}
        self._late: dict[int, Move] = {}
        self._bytes_per_s = 0
        self.moved_blocks = 0
        self.moved_bytes = 0

    def __len__(self) -> int:
        return len(self._by_block)

    def __contains__(self, block_id: int) -> bool:
        return block_id in self._by_block

    @property
    def idle(self) -> bool:
        """Whether nothing moves, or may still arrive."""
        return not (self._by_block or self._late)

    def begin(self) -> None:
        """Count what is moved from here on."""
        self.moved_blocks = self.moved_bytes = 0

    def limit(self, bytes_per_s: int) -> None:
        """Every source sends at most so much; 0 = no limit."""
        self._bytes_per_s = bytes_per_s

    # --- starting -------------------------------------------------------------------------------

    def busy(self) -> tuple[AbstractSet[int], AbstractSet[int]]:
        """DataNodes that should get no more moves now, as sources and as targets."""
        return self._copies.busy()

    def avoid(self, block_id: int, numbers: Iterable[int]) -> set[int]:
        """Those of ``numbers`` that failed to get it recently."""
        return self._copies.avoid(block_id, numbers)

    def start(self, block_id: int, copy: Copy, until_ns: int) -> None:
        """Have a block moved by this copy to its one target."""
        (target,) = copy.targets
        self._late.pop(block_id, None)
        self._by_block[block_id] = Move(copy.source, target, copy.size_bytes, until_ns)
        self._copies.start(block_id, copy)

    def orders(self, source: int, known: Callable[[int], bool]) -> list[dict[str, Any]]:
        """Transfers a DataNode is to make, in its heartbeat's answer."""
        found = []
        for block_id, copy in self._copies.unsent(source):
            node = self._nodes.get(copy.targets[0])
            if node is None or not known(block_id):
                self._forget(block_id)
                continue
            self._copies.sent(block_id)
            target = (node.row.node_id, node.row.address)
            found.append(bodies.transfer(block_id, copy.generation, target, self._bytes_per_s))
        return found

    # --- what happened --------------------------------------------------------------------------

    def arrived(self, block_id: int, number: int) -> bool:
        """A DataNode reported a good copy; whether that is one we wait for."""
        move = self._by_block.get(block_id) or self._late.get(block_id)
        if move is None or move.target != number or move.arrived_ns is not None:
            return False
        self._late.pop(block_id, None)
        self._by_block[block_id] = move
        self._copies.arrived(block_id, number)
        move.arrived_ns = self._heard_ns(number)
        return True

    def failed(self, block_id: int, number: int, now_ns: int) -> None:
        """A source reported that a target did not get its copy."""
        move = self._by_block.get(block_id)
        if move is not None and move.target == number and move.arrived_ns is None:
            self._copies.failed(block_id, number, now_ns)
            self._forget(block_id)

    def lost(self, number: int) -> None:
        """A DataNode is late, dead, or another process: nothing is waited for from it."""
        self._copies.lost(number)
        for block_id, move in list(self._by_block.items()):
            if number in {move.source, move.target}:
                self._wait_no_longer(block_id)

    def is_enough(self, block_id: int, good: Sequence[int]) -> None:
        """A block has these good copies, none too many: if the source's is among them, it is needed now."""
        move = self._by_block.get(block_id)
        if move is not None and move.arrived_ns is not None and move.source in good:
            move.left_ns = 0

    def cancel(self) -> None:
        """No more: what was ordered may still arrive, and is trimmed then."""
        for block_id, move in list(self._by_block.items()):
            if move.arrived_ns is None:
                self._copies.drop(block_id)
                self._wait_no_longer(block_id)

    def _wait_no_longer(self, block_id: int) -> None:
        """It may still happen; then the source's copy is still the one too many."""
        self._late[block_id] = self._by_block.pop(block_id)

    def _forget(self, block_id: int) -> None:
        self._copies.drop(block_id)
        self._by_block.pop(block_id, None)

    def leaver(self, block_id: int) -> int | None:
        """Whose copy is the one too many; None = this block does not move."""
        move = self._by_block.get(block_id) or self._late.get(block_id)
        return None if move is None else move.source

    def tick(self, now_ns: int, has: Callable[[int, int], bool]) -> list[int]:
        """Follow what is under way; answers the blocks whose copy took too long.

        Args:
            now_ns: The time.
            has: Whether a block has a copy on a DataNode, as reported.
        """
        late = [block_id for block_id, _ in self._copies.expire(now_ns)]
        for block_id in late:
            self._wait_no_longer(block_id)
        if self._late:
            self._late = {key: move for key, move in self._late.items() if move.until_ns > now_ns}
        for block_id, move in list(self._by_block.items()):
            if move.arrived_ns is not None and move.left_ns is None and not has(block_id, move.source):
                move.left_ns = self._heard_ns(move.source)
                self.moved_blocks += 1
                self.moved_bytes += move.size_bytes
            if move.until_ns <= now_ns or (move.left_ns is not None and not self._pending(move)):
                self._forget(block_id)
        return late

    def _pending(self, move: Move) -> bool:
        return self._unsaid(move.target, move.arrived_ns) or self._unsaid(move.source, move.left_ns)

    # --- how full everybody will be -------------------------------------------------------------

    def coming_bytes(self) -> dict[int, int]:
        """By DataNode: what moves bring (positive) or take (negative) beyond what it said last."""
        found: dict[int, int] = {}
        for move in self._by_block.values():
            if self._unsaid(move.target, move.arrived_ns):
                found[move.target] = found.get(move.target, 0) + move.size_bytes
            if self._unsaid(move.source, move.left_ns):
                found[move.source] = found.get(move.source, 0) - move.size_bytes
        return found

    def waiting_bytes(self, source: int) -> int:
        """What a DataNode still has to send."""
        return sum(
            move.size_bytes
            for move in self._by_block.values()
            if move.source == source and move.arrived_ns is None
        )

    def copying(self) -> int:
        """Blocks whose copy has not arrived."""
        return sum(move.arrived_ns is None for move in self._by_block.values())

    def _unsaid(self, number: int, since_ns: int | None) -> bool:
        """Whether a DataNode has not spoken since."""
        return since_ns is None or self._heard_ns(number) <= since_ns

    def _heard_ns(self, number: int) -> int:
        node = self._nodes.get(number)
        return 0 if node is None else node.heard_ns


def deadline_ns(now_ns: int, policy: Policy, waiting_bytes: int, bytes_per_s: int) -> int:
    """By when a copy should have arrived that waits for ``waiting_bytes``, its own among them."""
    pace_ns = 2 * waiting_bytes * 1_000_000_000 // bytes_per_s if bytes_per_s else 0
    return now_ns + ns(policy.copy_timeout_ms) + pace_ns
