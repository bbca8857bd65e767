"""Who votes. A set takes effect when its record is appended and changes by one voter at a time.

(Raft thesis §4.2, with the correction of 2015: a leader changes voters only in an epoch in which it has
committed something.)
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum, unique

import msgspec

from esdfs.ids import NodeId, Txid


@unique
class VoterKind(StrEnum):
    """What a voter can do besides voting."""

    FULL = "voter"
    WITNESS = "witness"  # stores the journal, serves nobody, leads only to hand over


class Voter(msgspec.Struct, frozen=True):
    """A journal that counts: a node *and* its disk. A node that lost its disk is another voter."""

    node_id: NodeId
    storage_id: str
    kind: VoterKind = VoterKind.FULL
    endpoint: str = ""


class VoterSet:
    """An immutable set of voters, ordered by node id."""

    def __init__(self, voters: Iterable[Voter]) -> None:
        self._by_id = {voter.node_id: voter for voter in sorted(voters, key=lambda voter: voter.node_id)}
        self.ids: tuple[NodeId, ...] = tuple(self._by_id)
        self.majority = len(self._by_id) // 2 + 1

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Voter]:
        return iter(self._by_id.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VoterSet) and self._by_id == other._by_id

    def __hash__(self) -> int:
        return hash(self.ids)

    def __repr__(self) -> str:
        return f"VoterSet({', '.join(f'{voter.node_id}/{voter.storage_id}' for voter in self)})"

    def get(self, node_id: NodeId) -> Voter | None:
        """The voter with this node id, whatever its disk."""
        return self._by_id.get(node_id)

    def has(self, node_id: NodeId, storage_id: str) -> bool:
        """Whether this node with this disk votes."""
        voter = self._by_id.get(node_id)
        return voter is not None and voter.storage_id == storage_id

    def with_voter(self, voter: Voter) -> "VoterSet":
        """This set and one more."""
        assert voter.node_id not in self._by_id, f"{voter.node_id} votes already: remove it first"
        return VoterSet((*self, voter))

    def without(self, node_id: NodeId) -> "VoterSet":
        """This set but for one."""
        assert node_id in self._by_id, f"{node_id} does not vote"
        return VoterSet(voter for voter in self if voter.node_id != node_id)

    def removed_by(self, after: "VoterSet") -> list[Voter]:
        """Those that ``after`` no longer has (with the same disk and kind)."""
        return [voter for voter in self if after.get(voter.node_id) != voter]

    def is_one_step_to(self, after: "VoterSet") -> bool:
        """Whether exactly one voter was added or one removed, so that any two majorities meet."""
        return len(after) > 0 and len(self.removed_by(after)) + len(after.removed_by(self)) == 1


class VoterHistory:
    """The voter sets that may still matter: the last one known committed, and all after it.

    Args:
        sets: (txid of the record that holds the set, the set), oldest first, at least one.
    """

    def __init__(self, sets: Iterable[tuple[Txid, VoterSet]]) -> None:
        self._sets = list(sets)
        assert self._sets, "a cluster is formatted with its first voters"
        self.newest = self._sets[-1][1]
        self.newest_txid = self._sets[-1][0]

    def append(self, txid: Txid, voters: VoterSet) -> None:
        """A record with a new set was appended; it is in force from now."""
        assert txid > self.newest_txid, f"voters of {txid} after those of {self.newest_txid}"
        self._sets.append((txid, voters))
        self._refresh()

    def truncate(self, keep: Txid) -> None:
        """Records above ``keep`` were dropped: the set before them is in force again."""
        while len(self._sets) > 1 and self._sets[-1][0] > keep:
            self._sets.pop()
        self._refresh()

    def committed(self, commit_txid: Txid) -> tuple[Txid, VoterSet]:
        """The newest set at or before ``commit_txid``, with its txid; the oldest known when none is."""
        return next((known for known in reversed(self._sets) if known[0] <= commit_txid), self._sets[0])

    def at(self, txid: Txid) -> VoterSet:
        """The set in force for the record at ``txid``."""
        return self.committed(txid)[1]

    def since_committed(self, commit_txid: Txid) -> list[VoterSet]:
        """The newest committed set and every later one."""
        first = self.committed(commit_txid)[0]
        return [voters for txid, voters in self._sets if txid >= first]

    def compact(self, txid: Txid) -> None:
        """Forget sets that records after ``txid`` cannot bring back. ``txid`` is committed."""
        first = self.committed(txid)[0]
        self._sets = [known for known in self._sets if known[0] >= first]

    def reset(self, txid: Txid, voters: VoterSet, *, keep_after: bool) -> None:
        """A checkpoint was installed whose newest set is ``voters``, written at ``txid``."""
        later = [known for known in self._sets if known[0] > txid] if keep_after else []
        self._sets = [(txid, voters), *later]
        self._refresh()

    def _refresh(self) -> None:
        self.newest_txid, self.newest = self._sets[-1]
