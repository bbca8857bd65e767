"""What NameNodes say to each other: the messages of ``proto/namenode.proto`` as values."""

from enum import StrEnum, unique
from typing import TypeAlias

import msgspec

from esdfs.ids import Epoch, NodeId, Position, Txid
from esdfs.journal.entry import Entry
from esdfs.journal.quorum.voters import VoterSet


class Envelope(msgspec.Struct, frozen=True):
    """Who speaks, to whom, in which epoch. All but ``epoch`` is checked before anything else.

    Attributes:
        to_storage_id: "" when the sender does not know it.
        epoch: The sender's; in a vote request the one it would lead.
    """

    cluster_id: str
    cluster_generation: int
    from_id: NodeId
    from_storage_id: str
    from_incarnation: int
    to_id: NodeId
    to_storage_id: str
    epoch: Epoch


@unique
class Refusal(StrEnum):
    """Why a vote was not given."""

    NONE = ""
    STICKY = "sticky"  # a leader lives, as far as this voter knows
    EPOCH = "epoch"  # the asked-for epoch is not newer
    LOG = "log"  # the candidate's journal ends before what this voter once acknowledged
    STORAGE = "storage"  # the request is meant for a disk this node no longer has
    VOTED = "voted"  # for another one, in this epoch


@unique
class SyncError(StrEnum):
    """Why a fetch brought nothing."""

    NONE = ""
    NOT_LEADER = "not-leader"
    FENCED_EPOCH = "fenced-epoch"


@unique
class SyncKind(StrEnum):
    """In which capacity a node fetches."""

    VOTER = "voter"
    WITNESS = "witness"
    OBSERVER = "observer"
    PROBE = "probe"  # asks who leads; acknowledges nothing


@unique
class Health(StrEnum):
    """What a follower says of its journal."""

    OK = "ok"
    RECOVERING = "recovering"  # it once acknowledged records it no longer has
    STALLED = "stalled"  # a write has been under way for too long


class VoteRequest(msgspec.Struct, frozen=True):
    """Vote for me; or, with ``pre_vote``: would you?

    ``transfer_from_epoch``: its leader asked me to stand; else 0.
    """

    envelope: Envelope
    pre_vote: bool
    last: Position
    transfer_from_epoch: Epoch


class VoteResponse(msgspec.Struct, frozen=True):
    """``proposed_epoch`` echoes the request's; the envelope has the voter's own."""

    envelope: Envelope
    granted: bool
    pre_vote: bool
    proposed_epoch: Epoch
    leader_id: NodeId | None
    leader_endpoint: str
    reason: Refusal


class HeartbeatRequest(msgspec.Struct, frozen=True):
    """The leader lives.

    Attributes:
        transfer_now: The receiver is to stand for election at once.
        resign: The leader leaves: forget that you heard from it.
    """

    envelope: Envelope
    commit_txid: Txid
    last_txid: Txid
    epoch_start_txid: Txid
    heartbeat_seq: int
    transfer_now: bool = False
    resign: bool = False
    leader_endpoint: str = ""


class HeartbeatResponse(msgspec.Struct, frozen=True):
    """``ok`` is False when the heartbeat came from an epoch that is over."""

    envelope: Envelope
    ok: bool
    heartbeat_seq: int
    last: Position
    durable_txid: Txid
    health: Health


class SyncRequest(msgspec.Struct, frozen=True):
    """Fetch what follows ``last``, and promise (unless a probe) that all up to it is durable here.

    ``endpoint``: where an observer could be reached if it were to vote; "" from others.
    """

    envelope: Envelope
    kind: SyncKind
    last: Position
    known_commit_txid: Txid
    max_bytes: int
    max_wait_ms: int
    fetch_seq: int
    echo_heartbeat_seq: int
    endpoint: str = ""


class CheckpointOffer(msgspec.Struct, frozen=True):
    """A checkpoint that stands for every record up to ``last``, inclusive.

    Attributes:
        chain: Of the record at ``last``.
        last_ts_us: Its timestamp, which no later record may precede.
        voters: In force at ``last``; written at ``voters_txid``.
    """

    last: Position
    chain: bytes
    last_ts_us: int
    voters_txid: Txid
    voters: VoterSet
    size_bytes: int = 0
    sha256: bytes = b""


class SyncResponse(msgspec.Struct, frozen=True):
    """Exactly one of: an error, records (perhaps none), where the journals part, a checkpoint."""

    envelope: Envelope
    error: SyncError
    leader_id: NodeId | None
    leader_endpoint: str
    fetch_seq: int
    heartbeat_seq: int = 0
    commit_txid: Txid = Txid(0)
    oldest_txid: Txid = Txid(0)
    records: tuple[Entry, ...] = ()
    diverging: Position | None = None
    checkpoint: CheckpointOffer | None = None


Message: TypeAlias = (
    VoteRequest | VoteResponse | HeartbeatRequest | HeartbeatResponse | SyncRequest | SyncResponse
)
