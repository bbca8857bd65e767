"""What a node is given: its disk's contents at the start, the time with every input, and a codec."""

from typing import NamedTuple, Protocol

import msgspec

from esdfs.ids import Micros, Nanos, NodeId, Position, Txid
from esdfs.journal.entry import Draft, Entry, Head, Identity, Vote
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.journal.quorum.voters import VoterSet


class Instant(NamedTuple):
    """Now, on both clocks."""

    monotonic_ns: Nanos
    wall_us: Micros


class ControlRecords(Protocol):
    """How the journal's own records are written; the quorum knows no payloads."""

    def leader_changed(self, leader_id: NodeId, storage_id: str, ts_us: Micros) -> Draft:
        """The record that opens a leader's epoch."""
        ...

    def voters_changed(self, voters: VoterSet, ts_us: Micros) -> Draft:
        """The record that puts ``voters`` in force."""
        ...

    def voters_of(self, entry: Entry) -> VoterSet | None:
        """The set that ``entry`` puts in force; None when it is any other record."""
        ...


class Stored(msgspec.Struct, frozen=True):
    """What a node finds on its disk at its start.

    Attributes:
        incarnation: Raised durably before this start.
        floor: The sidecar's; None when it cannot be read although there is a journal.
        base: The last record compacted away (txid 0: none), with ``base_ts_us``, its timestamp.
        committed_txid: What is known committed: the base, the checkpoint or what was applied.
        epoch_ends: Last position of every epoch that wrote after the base.
        voters: As for ``VoterHistory``; at least those of the base.
        recent: As for ``Tail``.
        checkpoint: The newest one this node can offer.
    """

    identity: Identity
    incarnation: int
    vote: Vote
    floor: Position | None
    base: Head
    base_ts_us: int
    committed_txid: Txid
    epoch_ends: tuple[Position, ...]
    voters: tuple[tuple[Txid, VoterSet], ...]
    recent: tuple[Entry, ...]
    checkpoint: CheckpointOffer | None = None
