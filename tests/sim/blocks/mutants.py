"""The block manager's rules, each broken in one place. See ``tests/sim/mutants.py``."""

from collections.abc import Callable
from typing import Any

import msgspec

from esdfs.namenode.blocks.bodies import Report
from esdfs.namenode.blocks.datanodes import DataNode
from esdfs.namenode.blocks.expected import Expected
from esdfs.namenode.blocks.health import Health, Level, examine
from esdfs.namenode.blocks.manager import BlockManager
from esdfs.namenode.blocks.replicas import Replica
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord
from tests.sim.blocks.namespace import Namespace


class Mutant:
    """No rule broken.

    Attributes:
        obeys_deposed: DataNodes carry out orders of epochs that have ended.
        obeys_late: DataNodes carry out deletions however old they are.
    """

    obeys_deposed = False
    obeys_late = False

    def index(self, namespace: Namespace) -> Namespace:
        return namespace

    def break_manager(self, manager: BlockManager) -> None:
        """Replace one rule."""


class _ObeysDeposed(Mutant):
    obeys_deposed = True


class _ObeysLate(Mutant):
    obeys_late = True


class _Broken(Mutant):
    def __init__(self, break_it: Callable[[BlockManager], None]) -> None:
        self._break = break_it

    def break_manager(self, manager: BlockManager) -> None:
        self._break(manager)


def _replace(owner: Any, method: str, by: Callable[..., Any]) -> None:
    assert callable(getattr(owner, method)), f"{method} is no rule any more"
    setattr(owner, method, by)


def _deletes_on_unsure_copies(manager: BlockManager) -> None:
    honest = manager.replicator._examine

    def examine_all(block_id: int, record: BlockRecord, *at_hand: Any) -> Health:
        health = honest(block_id, record, *at_hand)
        return health._replace(sure=health.good)

    _replace(manager.replicator, "_examine", examine_all)


def _counts_leaving_copies(manager: BlockManager) -> None:
    replicator = manager.replicator

    def with_leaving(block_id: int, record: BlockRecord, *_at_hand: Any) -> Health:
        return examine(
            record,
            replicator._store.replicas(block_id),
            replicator._nodes,
            default_target=replicator.replication_factor,
            leaving=lambda _number: False,
            expected=lambda number: (number, block_id) in replicator._expected,
        )

    _replace(replicator, "_examine", with_leaving)


def _counts_corrupt(manager: BlockManager) -> None:
    replicator = manager.replicator

    def with_corrupt(block_id: int, record: BlockRecord, *_at_hand: Any) -> Health:
        found = [Replica(n, generation) for n, generation, _ in replicator._store.replicas(block_id)]
        return examine(
            record,
            found,
            replicator._nodes,
            default_target=replicator.replication_factor,
            leaving=lambda number: replicator._deletions.leaving(number, block_id),
            expected=lambda number: (number, block_id) in replicator._expected,
        )

    _replace(replicator, "_examine", with_corrupt)


def _trusts_old_news(manager: BlockManager) -> None:
    """What completed files name counts as if its DataNodes had said so."""
    manager.replicator._expected = Expected(manager.replicator._policy)


def _trusts_dead_nodes(manager: BlockManager) -> None:
    _replace(manager._nodes, "tick", lambda _now_ns, _now_us: [])


def _ignores_brake(manager: BlockManager) -> None:
    _replace(manager._brake, "tick", lambda _nodes, _now_ns: False)


def _forgets_priority(manager: BlockManager) -> None:
    """What is least urgent comes first."""
    queues = manager.replicator._queues
    sources, of = queues.sources, queues.of

    def flip(level: Level) -> Level:
        return {Level.ONE_LEFT: Level.BELOW, Level.BELOW: Level.ONE_LEFT}.get(level, level)

    _replace(queues, "sources", lambda level: sources(flip(level)))
    _replace(queues, "of", lambda level, number: of(flip(level), number))


def _sweeps_early(manager: BlockManager) -> None:
    honest = manager._intake.accept

    def accept(node: DataNode, report: Report) -> None:
        first = report.full and report.first
        honest(node, msgspec.structs.replace(report, last=True) if first else report)

    _replace(manager._intake, "accept", accept)


def _believes_late_reports(manager: BlockManager) -> None:
    honest = manager._intake.accept
    _replace(
        manager._intake,
        "accept",
        lambda node, report: honest(node, msgspec.structs.replace(report, seq=0)),
    )


def _trusts_reports_of_earlier_epochs(manager: BlockManager) -> None:
    honest = manager._intake.accept
    _replace(
        manager._intake,
        "accept",
        lambda node, report: honest(node, msgspec.structs.replace(report, epoch=1 << 60)),
    )


def _trusts_what_it_heard_as_a_follower(manager: BlockManager) -> None:
    _replace(manager._nodes, "doubt", lambda _now_ns, _rng: None)


def _moves_unsure_copies(manager: BlockManager) -> None:
    replicator = manager.replicator

    def movable(block_id: int, record: BlockRecord) -> tuple[int, ...]:
        health = replicator._examine(block_id, record)
        return health.good if health.level is None and len(health.good) == health.target else ()

    _replace(replicator, "movable", movable)


def _moves_what_lacks_copies(manager: BlockManager) -> None:
    replicator = manager.replicator
    _replace(replicator, "movable", lambda block_id, record: replicator._examine(block_id, record).sure)


def _forgets_what_is_on_its_way(manager: BlockManager) -> None:
    """How full DataNodes are is what they said, whatever moves since."""
    _replace(manager.replicator.moves, "coming_bytes", dict[int, int])


def _takes_the_copy_that_was_moved(manager: BlockManager) -> None:
    moves = manager.replicator.moves

    def leaver(block_id: int) -> int | None:
        move = moves._by_block.get(block_id) or moves._late.get(block_id)
        return None if move is None else move.target

    _replace(moves, "leaver", leaver)


class _DeletesFutureIds(Mutant):
    def index(self, namespace: Namespace) -> Namespace:
        return _Endless(namespace)


class _Endless(Namespace):
    """Every id has been allocated."""

    def __init__(self, honest: Namespace) -> None:
        self.__dict__ = honest.__dict__

    def allocated(self) -> Allocated:
        return Allocated(1 << 62)


MUTANTS: dict[str, Callable[[], Mutant]] = {
    "deletes-on-unsure-copies": lambda: _Broken(_deletes_on_unsure_copies),
    "counts-leaving-copies": lambda: _Broken(_counts_leaving_copies),
    "counts-corrupt": lambda: _Broken(_counts_corrupt),
    "trusts-old-news": lambda: _Broken(_trusts_old_news),
    "trusts-dead-nodes": lambda: _Broken(_trusts_dead_nodes),
    "ignores-brake": lambda: _Broken(_ignores_brake),
    "deletes-future-ids": _DeletesFutureIds,
    "forgets-priority": lambda: _Broken(_forgets_priority),
    "sweeps-early": lambda: _Broken(_sweeps_early),
    "believes-late-reports": lambda: _Broken(_believes_late_reports),
    "trusts-reports-of-earlier-epochs": lambda: _Broken(_trusts_reports_of_earlier_epochs),
    "trusts-what-it-heard-as-a-follower": lambda: _Broken(_trusts_what_it_heard_as_a_follower),
    "obeys-deposed-leaders": _ObeysDeposed,
    "obeys-late-orders": _ObeysLate,
    "moves-unsure-copies": lambda: _Broken(_moves_unsure_copies),
    "moves-what-lacks-copies": lambda: _Broken(_moves_what_lacks_copies),
    "forgets-what-is-on-its-way": lambda: _Broken(_forgets_what_is_on_its_way),
    "takes-the-copy-that-was-moved": lambda: _Broken(_takes_the_copy_that_was_moved),
}


def mutant(name: str) -> Mutant:
    """The named one; "" breaks nothing."""
    return MUTANTS[name]() if name else Mutant()
