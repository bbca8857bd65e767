"""What a node can be, one type each, with only what it needs while it is that."""

from dataclasses import dataclass, field
from enum import Enum, unique
from typing import ClassVar, Final, TypeAlias

from esdfs.ids import Nanos, NodeId, Txid
from esdfs.journal.quorum.messages import Health, SyncRequest

NOTHING: Final = Txid(0)
"""Before the first record."""

NEVER: Final = Nanos(-(1 << 62))
"""Long before any clock began."""


@dataclass(slots=True)
class Unattached:
    """Knows no leader of its epoch."""

    name: ClassVar[str] = "unattached"
    timer_ns: Nanos


@dataclass(slots=True)
class Prospective:
    """Asks whether an election would be worth it; nothing has changed on disk (pre-vote, KIP-996)."""

    name: ClassVar[str] = "prospective"
    timer_ns: Nanos
    granted: set[NodeId] = field(default_factory=set)
    refused: set[NodeId] = field(default_factory=set)


@dataclass(slots=True)
class Candidate:
    """Asks for votes in an epoch of its own."""

    name: ClassVar[str] = "candidate"
    timer_ns: Nanos
    own_vote_token: int = 0  # the write after which the vote for oneself counts
    granted: set[NodeId] = field(default_factory=set)
    refused: set[NodeId] = field(default_factory=set)


@unique
class Fetching(Enum):
    """What a follower's one fetch waits for."""

    NOTHING = "nothing"
    ANSWER = "answer"
    DISK = "disk"
    CHECKPOINT = "checkpoint"


@dataclass(slots=True)
class Follower:
    """Fetches from the leader of its epoch.

    Attributes:
        matched_txid: How far our journal is known to equal the leader's; 0 before its first answer,
            because until then our tail may be another leader's.
        epoch_start_txid: Where the leader's epoch begins; 0 before its first heartbeat.
        retry_ns: When to fetch again although nothing came, or None.
        echo: Highest heartbeat number seen.
        misfits: Answers in a row whose records did not continue our journal.
    """

    name: ClassVar[str] = "follower"
    leader_id: NodeId
    leader_storage_id: str
    timer_ns: Nanos
    matched_txid: Txid = NOTHING
    epoch_start_txid: Txid = NOTHING
    fetching: Fetching = Fetching.NOTHING
    retry_ns: Nanos | None = None
    echo: int = 0
    misfits: int = 0


@dataclass(slots=True)
class Parked:
    """A fetch held until there is something to bring."""

    request: SyncRequest
    until_ns: Nanos


@dataclass(slots=True)
class Progress:
    """What the leader knows of one other node with one disk.

    Attributes:
        match_txid: Durable there, and equal to ours.
        voter_seen_ns: Last valid message while it was a voter.
        seen_ns: Last fetch in any capacity.
        sent_ns: When recent heartbeats left, by number.
        echo: Highest heartbeat number it has seen.
        echo_sent_ns: When that one left.
    """

    storage_id: str
    incarnation: int = 0
    match_txid: Txid = NOTHING
    fetched_txid: Txid = NOTHING
    voter_seen_ns: Nanos = NEVER
    seen_ns: Nanos = NEVER
    sent_ns: dict[int, Nanos] = field(default_factory=dict)
    echo: int = 0
    echo_sent_ns: Nanos = NEVER
    health: Health = Health.OK
    parked: Parked | None = None


@dataclass(slots=True)
class PendingRead:
    """A read that waits for a majority to have seen heartbeat ``needs_echo``."""

    read_id: int
    txid: Txid
    needs_echo: int


@dataclass(slots=True)
class Transfer:
    """Leadership is on its way to ``target``; given up at ``until_ns``."""

    target: NodeId
    until_ns: Nanos


@dataclass(slots=True)
class Leader:
    """Decides the order of records in its epoch, from ``epoch_start_txid`` on."""

    name: ClassVar[str] = "leader"
    epoch_start_txid: Txid
    next_heartbeat_ns: Nanos
    check_quorum_ns: Nanos
    heartbeat_seq: int = 0
    peers: dict[NodeId, Progress] = field(default_factory=dict)
    reads: list[PendingRead] = field(default_factory=list)
    transfer: Transfer | None = None
    lease_void: bool = False  # a transfer was offered: another may lead before our lease ends


Role: TypeAlias = Unattached | Prospective | Candidate | Follower | Leader
