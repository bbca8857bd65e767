"""What a journal record is. Pure."""

from typing import Final

import msgspec

from esdfs.ids import Epoch, Position, Txid

NO_CHAIN: Final = bytes(32)
"""The chain value before the first record."""


class Draft(msgspec.Struct, frozen=True):
    """A record before the journal has given it a place: everything but txid, epoch, sums.

    Attributes:
        ts_us: The leader's wall clock, never lower than the previous record's.
        client_id: 16 bytes naming who asked, for exactly-once; empty when nobody may retry it.
        seq: The client's own number of the request; 0 without a client.
        principal: Who; a claim unless the edge authenticated it.
        peer: From which address.
        payload: Canonical bytes; immutable for ever once journaled.
    """

    ts_us: int
    kind: int
    version: int
    payload: bytes
    client_id: bytes = b""
    seq: int = 0
    principal: str = ""
    peer: str = ""


class Entry(msgspec.Struct, frozen=True):
    """One record of the journal, in column order.

    Attributes:
        crc32c: Of the canonical form of all columns before it.
        chain: SHA-256(previous chain ‖ canonical form of every column before ``chain``).
    """

    txid: Txid
    epoch: Epoch
    ts_us: int
    kind: int
    version: int
    client_id: bytes
    seq: int
    principal: str
    peer: str
    payload: bytes
    crc32c: int
    chain: bytes

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.epoch, self.txid)


class Head(msgspec.Struct, frozen=True):
    """The end of a journal: what the next append must continue."""

    epoch: Epoch
    last_txid: Txid
    chain: bytes


class Base(msgspec.Struct, frozen=True):
    """The last record that was compacted away: what the first one still here continues.

    Attributes:
        ts_us: Its timestamp, which no later record precedes.
    """

    epoch: Epoch = Epoch(0)
    last_txid: Txid = Txid(0)
    chain: bytes = NO_CHAIN
    ts_us: int = 0

    @property
    def head(self) -> Head:
        """The end of a journal that holds nothing after it."""
        return Head(self.epoch, self.last_txid, self.chain)


class Identity(msgspec.Struct, frozen=True):
    """Whose journal this is. Written once, by formatting; a mismatch is refused before anything else.

    Attributes:
        storage_id: A UUID made with the journal: a node that lost its disk is another voter.
        cluster_generation: Raised only by an operator's forced restart of a lost quorum.
    """

    cluster_id: str
    cluster_generation: int
    node_id: str
    storage_id: str


class Vote(msgspec.Struct, frozen=True):
    """The newest epoch this node knows, and whom it voted for in it ("" = nobody)."""

    epoch: Epoch
    voted_for_id: str
    voted_for_storage_id: str
