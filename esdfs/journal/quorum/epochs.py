"""Which epoch wrote which part of the journal, where two journals part, and what is committed.

A follower fetches with the position of its last record. The leader answers from this history whether
that position is on its own journal and, if not, the last place where both can still agree (KIP-595, "Log
Reconciliation"). Pure: knows no storage and no network.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from esdfs.ids import ORIGIN, Epoch, Position, Txid


class Matches(msgspec.Struct, frozen=True):
    """The follower's journal is a prefix of ours: send what comes after."""


class Diverges(msgspec.Struct, frozen=True):
    """The follower's journal parts from ours: ours ends that epoch, or the one before it, at ``end``."""

    end: Position


class BehindCheckpoint(msgspec.Struct, frozen=True):
    """We no longer hold the records the follower needs: it takes a checkpoint."""


Reconciliation: TypeAlias = Matches | Diverges | BehindCheckpoint


class EpochHistory:
    """The last txid each epoch wrote, in epoch order.

    Args:
        base: Where the retained journal begins; ``ORIGIN`` if nothing was compacted away yet.
        ends: Last position of every epoch that wrote after ``base``, oldest first.
    """

    def __init__(self, base: Position, ends: Iterable[Position] = ()) -> None:
        self._ends = [base, *ends]
        assert self._ends == sorted(self._ends), "epochs out of order"

    @property
    def base(self) -> Position:
        """Where the retained journal begins, exclusive."""
        return self._ends[0]

    @property
    def last(self) -> Position:
        """Where the journal ends."""
        return self._ends[-1]

    def append(self, last: Position) -> None:
        """The journal now ends at ``last``; every record since the former end is of its epoch."""
        former = self._ends[-1]
        assert last.epoch >= former.epoch, f"{last} does not follow {former}"
        assert last.txid > former.txid, f"{last} does not follow {former}"
        if last.epoch == former.epoch and len(self._ends) > 1:
            self._ends[-1] = last
        else:
            self._ends.append(last)

    def end_of(self, epoch: Epoch) -> Position:
        """The last position written in ``epoch`` or, failing that, before it; ``ORIGIN`` if none is left."""
        index = bisect_right(self._ends, epoch, key=lambda end: end.epoch)
        return self._ends[index - 1] if index else ORIGIN

    def epoch_at(self, txid: Txid) -> Epoch | None:
        """Who wrote the record at ``txid``; None before ``base`` and after the end."""
        if not self.base.txid <= txid <= self.last.txid:
            return None
        return self._ends[bisect_left(self._ends, txid, key=lambda end: end.txid)].epoch

    def truncate(self, keep: Txid) -> None:
        """Records above ``keep`` were dropped. ``keep`` is not below ``base``."""
        epoch = self.epoch_at(keep)
        assert epoch is not None, f"{keep} is outside this journal"
        while self._ends[-1].txid > keep and len(self._ends) > 1:
            self._ends.pop()
        if self._ends[-1].txid < keep:
            self._ends.append(Position(epoch, keep))

    def compact(self, base: Position) -> None:
        """Records up to ``base``, inclusive, were dropped."""
        assert self.epoch_at(base.txid) == base.epoch, f"{base} is not in this journal"
        self._ends = [base, *(end for end in self._ends if end.txid > base.txid)]

    def reconcile(self, last: Position) -> Reconciliation:
        """Compare a follower's last position with this journal.

        Args:
            last: Position of the follower's last record; ``ORIGIN`` when empty.

        Returns:
            What the follower has to do before it can append.
        """
        base = self.base
        if last.txid < base.txid or last.epoch < base.epoch or (last.txid == base.txid and last != base):
            return BehindCheckpoint()
        end = self.end_of(last.epoch)
        if end.epoch == last.epoch and last.txid <= end.txid:
            return Matches()
        return Diverges(end)

    def cut_for(self, end: Position) -> Txid:
        """What a follower with this history keeps when its leader answered ``Diverges(end)``.

        In the leader's epoch both wrote the same up to the shorter one's end. In an earlier epoch of
        ours, which the leader never had, nothing after our own end of it can match.
        """
        ours = self.end_of(end.epoch)
        return Txid(min(ours.txid, end.txid)) if ours.epoch == end.epoch else ours.txid


def commit_txid(held: Iterable[Txid], *, epoch_began_after: Txid, committed: Txid) -> Txid:
    """The last txid that a majority of voters holds durably.

    Args:
        held: For every voter, the leader included, its last durable txid.
        epoch_began_after: Last txid written before this leader's epoch.
        committed: The commit txid so far.

    Returns:
        The new commit txid, never below ``committed``. Records of earlier epochs commit only together
        with one of this epoch (Raft §5.4.2).
    """
    by_size = sorted(held, reverse=True)
    assert by_size, "a quorum has at least one voter"
    majority = by_size[len(by_size) // 2]
    return max(majority, committed) if majority > epoch_began_after else committed
