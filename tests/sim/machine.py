"""The replicated state machine of the simulation: an append-only list, and each client's results.

It stands for the namespace. A position in the list is a total order of all writes, so that histories
are checked for linearizability in linear time.
"""

from zlib import crc32

import msgspec

from esdfs.ids import Micros, NodeId, Txid
from esdfs.journal.entry import NO_CHAIN, Draft, Entry
from esdfs.journal.quorum.voters import Voter, VoterKind, VoterSet

COMMAND, LEADER_CHANGED, VOTERS_CHANGED = 100, 2, 3
_RESULTS_KEPT = 4  # per client


class Control:
    """``ControlRecords`` with JSON payloads."""

    def leader_changed(self, leader_id: NodeId, storage_id: str, ts_us: Micros) -> Draft:
        return Draft(ts_us, LEADER_CHANGED, 1, f"{leader_id} {storage_id}".encode())

    def voters_changed(self, voters: VoterSet, ts_us: Micros) -> Draft:
        rows = [(voter.node_id, voter.storage_id, voter.kind, voter.endpoint) for voter in voters]
        return Draft(ts_us, VOTERS_CHANGED, 1, msgspec.json.encode(rows))

    def voters_of(self, entry: Entry) -> VoterSet | None:
        if entry.kind != VOTERS_CHANGED:
            return None
        rows = msgspec.json.decode(entry.payload, type=list[tuple[str, str, str, str]])
        return VoterSet(Voter(NodeId(a), b, VoterKind(c), d) for a, b, c, d in rows)


CONTROL = Control()


class Machine:
    """What replaying the committed records gives."""

    def __init__(self, *, dedup: bool = True) -> None:
        self.dedup = dedup
        self.txid = Txid(0)
        self.digest = 0
        self.chain = NO_CHAIN  # of the last record applied
        self.items: list[tuple[bytes, int]] = []
        self.results: dict[bytes, dict[int, int]] = {}

    def copy(self) -> "Machine":
        twin = Machine(dedup=self.dedup)
        twin.txid, twin.digest, twin.chain = self.txid, self.digest, self.chain
        twin.items = list(self.items)
        twin.results = {client: dict(known) for client, known in self.results.items()}
        return twin

    def apply(self, entry: Entry) -> None:
        assert entry.txid == self.txid + 1, f"applied {entry.txid} after {self.txid}"
        self.txid, self.chain = entry.txid, entry.chain
        self.digest = crc32(entry.chain, self.digest)
        if entry.kind != COMMAND:
            return
        known = self.results.setdefault(entry.client_id, {})
        if self.dedup and (entry.seq in known or (known and entry.seq < min(known))):
            return
        self.items.append((entry.client_id, entry.seq))
        known[entry.seq] = len(self.items)
        self.digest = crc32(b"%d" % len(self.items), self.digest)
        if len(known) > _RESULTS_KEPT:
            del known[min(known)]

    def result_of(self, client_id: bytes, seq: int) -> int | None:
        """The position a request's item got; None when it was not applied, or long ago."""
        return self.results.get(client_id, {}).get(seq)

    def knows(self, client_id: bytes, seq: int) -> bool:
        """Whether the request must not be proposed again."""
        known = self.results.get(client_id, {})
        return self.dedup and bool(known) and (seq in known or seq < min(known))
