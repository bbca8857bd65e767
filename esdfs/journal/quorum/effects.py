"""What the quorum asks of the world.

``QuorumNode`` performs no I/O. Every input returns these, in the order they must be carried out, and the
driver reports back what was done. Writes go through one queue, first in, first out; everything else may
overtake them, because whatever must wait for a write is in its ``then`` or is held back by the node.
"""

from typing import TypeAlias

import msgspec

from esdfs.ids import Epoch, NodeId, Position, Txid
from esdfs.journal.entry import Entry, Vote
from esdfs.journal.quorum.messages import CheckpointOffer, Message, SyncResponse


class Send(msgspec.Struct, frozen=True):
    """Hand ``message`` to the network. It may be lost, late or repeated."""

    to: NodeId
    message: Message


class SendFromJournal(msgspec.Struct, frozen=True):
    """Send ``response`` with records after ``after`` read from the journal: these left memory long ago.

    At least one record, at most ``limit``, and no more than about ``max_bytes``. All are durable here.
    """

    to: NodeId
    response: SyncResponse
    after: Txid
    limit: int
    max_bytes: int


class RememberVote(msgspec.Struct, frozen=True):
    """Epoch and vote, in one transaction."""

    vote: Vote


class AppendRecords(msgspec.Struct, frozen=True):
    """Add ``entries``, in one transaction; then raise the ack floor to ``floor``, unless that is None."""

    entries: tuple[Entry, ...]
    floor: Position | None


class TruncateJournal(msgspec.Struct, frozen=True):
    """Lower the ack floor to ``floor``; then drop every record above ``keep``."""

    keep: Position
    floor: Position


class InstallCheckpoint(msgspec.Struct, frozen=True):
    """In one transaction, begin the journal after the checkpoint, whose file is durable already.

    Attributes:
        keep_tail: Records after the checkpoint stay, because they continue it; else they go.
        last: Where the journal then ends.
        floor: What the ack floor shall be: written before when that lowers it, after when that raises
            it, not at all when None.
    """

    checkpoint: CheckpointOffer
    keep_tail: bool
    last: Position
    floor: Position | None


class RaiseFloor(msgspec.Struct, frozen=True):
    """Write the ack floor alone: what was unknown is known again."""

    floor: Position


Write: TypeAlias = RememberVote | AppendRecords | TruncateJournal | InstallCheckpoint | RaiseFloor


class Persist(msgspec.Struct, frozen=True):
    """Write durably, then send, then report ``persisted(token)``. A write that fails ends the process.

    Attributes:
        then: Promises that only this write may back, such as a granted vote. Never sent before it.
    """

    token: int
    write: Write
    then: tuple[Send, ...] = ()


class Commit(msgspec.Struct, frozen=True):
    """Records up to and including ``txid`` are committed: apply them."""

    txid: Txid


class ReadAt(msgspec.Struct, frozen=True):
    """State at ``txid`` or newer answers the read, linearizably."""

    txid: Txid


class NotHere(msgspec.Struct, frozen=True):
    """This node cannot answer; ``leader_id`` may."""

    leader_id: NodeId | None


class Reply(msgspec.Struct, frozen=True):
    """Answer the read that came in under ``read_id``."""

    read_id: int
    answer: ReadAt | NotHere


class RoleChanged(msgspec.Struct, frozen=True):
    """This node is something else now. Whoever left ``leader`` answers its pending proposals "unknown"."""

    role: str
    epoch: Epoch
    leader_id: NodeId | None


class FetchCheckpoint(msgspec.Struct, frozen=True):
    """Get the file offered by ``source``; then report ``checkpoint_fetched`` or ``checkpoint_failed``."""

    source: NodeId
    checkpoint: CheckpointOffer


class Halt(msgspec.Struct, frozen=True):
    """Stop the process, set the journal aside, alert an operator. The node does nothing from here on."""

    reason: str


Effect: TypeAlias = Send | SendFromJournal | Persist | Commit | Reply | RoleChanged | FetchCheckpoint | Halt
