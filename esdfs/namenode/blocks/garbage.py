"""Deletions that DataNodes are, or will be, ordered to make. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum, unique

from esdfs.namenode.blocks.policy import Policy, ns

ORDERS_MAX = 500_000
"""Beyond so many, garbage waits for the next full report to be noticed again."""

_TRIES = 3


@unique
class Why(Enum):
    """Why a replica may go."""

    GIVEN_UP = "given up"  # its block was abandoned or its file aborted
    PURGED = "purged"  # no version that is kept names its block
    ORPHAN = "orphan"  # reported, and the namespace knows no such block
    EXCESS = "excess"  # more copies than asked for
    STALE = "stale"  # of an older generation, and enough good copies exist
    CORRUPT = "corrupt"  # and enough good copies exist

    @property
    def of_garbage(self) -> bool:
        """Whether it holds only as long as the namespace does not know the block."""
        return self in {Why.GIVEN_UP, Why.PURGED, Why.ORPHAN}


class Order:
    """One deletion.

    Attributes:
        due_ns: Not ordered before.
        sent_ns: When it was; 0 = not yet. From then on it may happen at any time: the copy no longer counts.
        certain: The DataNode said that it has the replica; otherwise it may never have arrived there.
    """

    __slots__ = ("certain", "due_ns", "generation", "sent_ns", "tries", "why")

    def __init__(self, generation: int, why: Why, due_ns: int, *, certain: bool) -> None:
        self.generation = generation
        self.why = why
        self.due_ns = due_ns
        self.sent_ns = 0
        self.certain = certain
        self.tries = 0


class Deletions:
    """Orders by DataNode and block.

    An order that was sent is forgotten only when its outcome is known: the DataNode reported the replica
    removed, a full report begun well after it tells, or the process it was sent to is gone.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._by_node: dict[int, dict[int, Order]] = {}

    def __len__(self) -> int:
        return sum(len(orders) for orders in self._by_node.values())

    def counts(self, alive: Callable[[int], bool]) -> dict[str, int]:
        """How many DataNodes that are ``alive`` have to make, by reason."""
        found = Counter(
            order.why.value
            for number, orders in self._by_node.items()
            if alive(number)
            for order in orders.values()
        )
        return {f"delete_{why.name.lower()}": found[why.value] for why in Why}

    def add(
        self, number: int, block_id: int, generation: int, why: Why, due_ns: int, *, certain: bool = True
    ) -> bool:
        """Have a replica deleted; whether that is news."""
        orders = self._by_node.setdefault(number, {})
        known = orders.get(block_id)
        if known is not None:
            known.generation = max(known.generation, generation)
            known.certain = known.certain or certain
            return False
        if sum(map(len, self._by_node.values())) >= ORDERS_MAX:
            return False
        orders[block_id] = Order(generation, why, due_ns, certain=certain)
        return True

    @property
    def has_room(self) -> bool:
        """Whether more of them will be taken; a bit before `add` refuses."""
        return len(self) < ORDERS_MAX * 0.9

    def owing(self) -> list[int]:
        """DataNodes that have any to make, by number."""
        return sorted(number for number, orders in self._by_node.items() if orders)

    def ordered_from(self, number: int) -> list[int]:
        """Ids of blocks whose replica a DataNode has to delete, in no order."""
        return list(self._by_node.get(number, ()))

    def order(self, number: int, block_id: int) -> Order | None:
        """What a DataNode is, or will be, ordered to do with a block's replica."""
        return self._by_node.get(number, {}).get(block_id)

    def leaving(self, number: int, block_id: int) -> bool:
        """Whether a DataNode's copy is, or is about to be, ordered away."""
        orders = self._by_node.get(number)
        return orders is not None and block_id in orders

    def leaving_from(self, block_id: int) -> set[int]:
        """All DataNodes whose copy is, or is about to be, ordered away."""
        return {number for number, orders in self._by_node.items() if block_id in orders}

    def reconsider(self, block_id: int, numbers: Iterable[int]) -> bool:
        """A block lacks copies: take back what was not ordered yet; whether there was any."""
        found = False
        for number in numbers:
            orders = self._by_node.get(number, {})
            order = orders.get(block_id)
            if order is not None and not order.sent_ns and not order.why.of_garbage:
                del orders[block_id]
                found = True
        return found

    def due(
        self, number: int, now_ns: int, permit: Callable[[int, int, Order], bool]
    ) -> list[tuple[int, int]]:
        """(block id, generation) of what to order from a DataNode now.

        Args:
            number: The DataNode's.
            now_ns: The time.
            permit: Asked once more for (number, block id, order); a refusal drops the order.
        """
        orders = self._by_node.get(number)
        if not orders:
            return []
        found: list[tuple[int, int]] = []
        for block_id, order in list(orders.items()):
            if len(found) >= self._policy.deletes_per_heartbeat:
                break
            if order.sent_ns or order.due_ns > now_ns:
                continue
            if not permit(number, block_id, order):
                del orders[block_id]
                continue
            order.sent_ns = now_ns
            order.tries += 1
            found.append((block_id, order.generation))
        return found

    def removed(self, number: int, block_id: int) -> None:
        """A DataNode says that its replica is gone."""
        orders = self._by_node.get(number)
        if orders is not None:
            orders.pop(block_id, None)

    def overdue(self, now_ns: int) -> set[int]:
        """DataNodes to ask for a full report: they owe an answer for too long.

        Garbage is ordered away a few times more before that, and forgotten if it may never have been there.
        """
        late_ns = now_ns - ns(self._policy.delete_answer_ms)
        found = set()
        for number, orders in self._by_node.items():
            for block_id, order in list(orders.items()):
                if order.sent_ns and order.sent_ns <= late_ns:
                    if order.why.of_garbage and order.tries < _TRIES:
                        order.sent_ns = 0
                    elif order.why.of_garbage and not order.certain:
                        del orders[block_id]
                    else:
                        found.add(number)
        return found

    def settled(self, number: int, began_ns: int, named: Callable[[int], bool]) -> list[int]:
        """A DataNode's full report is in: the ids of blocks whose orders it decides.

        Garbage that it still names is ordered away again. Every other such order is forgotten.
        """
        orders = self._by_node.get(number, {})
        before_ns = began_ns - ns(self._policy.delete_settle_ms)
        decided = []
        for block_id, order in list(orders.items()):
            if not order.sent_ns or order.sent_ns > before_ns:
                continue
            if order.why.of_garbage and named(block_id):
                order.sent_ns = 0
            else:
                del orders[block_id]
                decided.append(block_id)
        return decided

    def dead(self, number: int) -> None:
        """A DataNode is dead. What it may still do stays noted; if it returns, it will name its garbage."""
        orders = self._by_node.get(number, {})
        for block_id, order in list(orders.items()):
            if order.why.of_garbage or not order.sent_ns:
                del orders[block_id]

    def restarted(self, number: int) -> list[int]:
        """Another process of a DataNode: what its predecessor was ordered to do will not happen."""
        return list(self._by_node.pop(number, {}))
