"""The rules, each broken in one place. A simulation that lets a broken rule live proves nothing."""

from collections.abc import Callable
from typing import Any

import msgspec

from esdfs.ids import ORIGIN, Position, Txid
from esdfs.journal.quorum.effects import RememberVote, Write
from esdfs.journal.quorum.epochs import BehindCheckpoint, Diverges, Matches, Reconciliation
from esdfs.journal.quorum.inputs import Stored
from esdfs.journal.quorum.messages import SyncRequest
from esdfs.journal.quorum.node import QuorumNode
from tests.sim.disk import Disk


class Mutant:
    """No rule broken."""

    dedup = True
    wiped_disk_keeps_its_name = False
    applies_uncommitted = False

    def stored(self, stored: Stored) -> Stored:
        """What the node finds on its disk."""
        return stored

    def break_core(self, node: QuorumNode) -> None:
        """Replace one rule of the node."""

    def write(self, disk: Disk, write: Write, torn: bool) -> None:
        """What a write does to the disk."""
        disk.write(write, torn=torn)


class VoteNotPersisted(Mutant):
    def write(self, disk: Disk, write: Write, torn: bool) -> None:
        if not isinstance(write, RememberVote):
            disk.write(write, torn=torn)


class NoDedup(Mutant):
    dedup = False


class NoAckFloor(Mutant):
    def stored(self, stored: Stored) -> Stored:
        return msgspec.structs.replace(stored, floor=ORIGIN)


class WipedDiskVotes(Mutant):
    wiped_disk_keeps_its_name = True


class ApplyUncommitted(Mutant):
    applies_uncommitted = True


class _Replaced(Mutant):
    """One method of one part of the node, replaced."""

    def __init__(self, part: str, method: str, make: Callable[[QuorumNode], Callable[..., Any]]) -> None:
        self._part, self._method, self._make = part, method, make

    def break_core(self, node: QuorumNode) -> None:
        part = getattr(node, self._part)
        assert callable(getattr(part, self._method)), f"{self._part}.{self._method} is no rule any more"
        setattr(part, self._method, self._make(node))


def _truncate_to_leader_end(node: QuorumNode) -> Callable[..., Any]:
    """The leader says how long its whole journal is, not where the follower's last epoch ended in it."""
    honest = node._replication.reconcile

    def reconcile(request: SyncRequest) -> Reconciliation:
        end = node._state.tail.last
        if isinstance(honest(request), BehindCheckpoint):
            return BehindCheckpoint()
        if request.last.txid <= end.txid:
            return Matches()
        return Diverges(Position(request.last.epoch, end.txid))

    return reconcile


def _commit_old_epoch(node: QuorumNode) -> Callable[..., Any]:
    honest = node._replication.commit_rule
    return lambda held, _epoch_began_after: honest(held, Txid(0))


def _only_last_change_committed(node: QuorumNode) -> Callable[..., Any]:
    state = node._state
    return lambda _role: state.commit_txid >= state.voters.newest_txid


def _stale_answers_too(node: QuorumNode) -> Callable[..., Any]:
    return lambda _role, _response: True


MUTANTS: dict[str, Callable[[], Mutant]] = {
    "leader-counts-unsynced": lambda: _Replaced(
        "_replication", "own_durable_txid", lambda node: lambda: node._state.tail.last.txid
    ),
    "vote-not-persisted": VoteNotPersisted,
    "ack-before-fsync": lambda: _Replaced("_following", "may_acknowledge", lambda _: lambda: True),
    "commit-unmatched": lambda: _Replaced(
        "_following",
        "commit_limit",
        lambda node: lambda _role, commit_txid: min(commit_txid, node._state.tail.last.txid),
    ),
    "truncate-to-leader-end": lambda: _Replaced("_replication", "reconcile", _truncate_to_leader_end),
    "stale-fetch-reply": lambda: _Replaced("_following", "is_outstanding", _stale_answers_too),
    "no-dedup": NoDedup,
    "read-unconfirmed": lambda: _Replaced("_reads", "is_confirmed", lambda _: lambda _role: True),
    "no-ack-floor": NoAckFloor,
    "wiped-disk-votes": WipedDiskVotes,
    "no-stickiness": lambda: _Replaced("_election", "is_sticky", lambda _: lambda _request: False),
    "no-check-quorum": lambda: _Replaced("_replication", "has_live_quorum", lambda _: lambda: True),
    "commit-old-epoch": lambda: _Replaced("_replication", "commit_rule", _commit_old_epoch),
    "no-boot-quiet-period": lambda: _Replaced("_election", "is_quiet", lambda _: lambda: False),
    "early-reconfiguration": lambda: _Replaced("_membership", "is_settled", _only_last_change_committed),
    "truncate-below-commit": lambda: _Replaced("_following", "may_cut", lambda _: lambda _keep: True),
    "apply-uncommitted": ApplyUncommitted,
}


def mutant(name: str) -> Mutant:
    """The named one; "" breaks nothing."""
    return MUTANTS[name]() if name else Mutant()
