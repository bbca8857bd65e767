"""Every error that crosses a boundary of esdfs.

Two questions are answered by the class and never by the message: what is it (``code``, stable on the
wire) and who may try again (``retry``). The gRPC, HTTP and CLI edges each hold one table from ``code``
to their own numbers.

A broken invariant is not here. It is an ``AssertionError``: the process stops, because a node that no
longer trusts its state must not answer.
"""

from collections.abc import Iterator
from enum import Enum, unique
from typing import ClassVar


@unique
class Retry(Enum):
    """What a caller may do with the same request."""

    NEVER = "never"  # it fails the same way until the caller or the namespace changes
    HERE = "here"  # later, at the same node
    ELSEWHERE = "elsewhere"  # now, at another node or replica
    ONLY_IF_IDEMPOTENT = "only-if-idempotent"  # it may have happened already


class EsdfsError(Exception):
    """Base of all errors a caller may handle.

    Attributes:
        message: One line for people: what is wrong and, where it helps, what to do.
        details: What machines may want besides the code (``path``, ``leader``, ``oldest_txid``).
    """

    code: ClassVar[str]
    retry: ClassVar[Retry]

    def __init__(self, message: str, **details: str | int | list[str]) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


# --- the request is wrong, whatever the state ---------------------------------------------------


class InvalidRequest(EsdfsError):
    """Malformed, out of bounds, or contradictory."""

    code = "invalid-request"
    retry = Retry.NEVER


class InvalidPath(InvalidRequest):
    """Not a path we accept; the message says which rule it breaks."""

    code = "invalid-path"


class PayloadTooLarge(InvalidRequest):
    """A request body over the limit."""

    code = "payload-too-large"


class FutureTxid(InvalidRequest):
    """``as_of`` lies after the newest committed transaction."""

    code = "future-txid"


class Unauthenticated(EsdfsError):
    """No token, or not one we know."""

    code = "unauthenticated"
    retry = Retry.NEVER


# --- the namespace says no ----------------------------------------------------------------------


class NamespaceError(EsdfsError):
    """The same request fails until the namespace changes."""

    retry = Retry.NEVER


class NotFound(NamespaceError):
    """POSIX ``ENOENT``: the last component."""

    code = "not-found"


class ParentNotFound(NotFound):
    """POSIX ``ENOENT``: a component before the last."""

    code = "parent-not-found"


class AlreadyExists(NamespaceError):
    """POSIX ``EEXIST``."""

    code = "already-exists"


class NotADirectory(NamespaceError):
    """POSIX ``ENOTDIR``."""

    code = "not-a-directory"


class IsADirectory(NamespaceError):
    """POSIX ``EISDIR``."""

    code = "is-a-directory"


class DirectoryNotEmpty(NamespaceError):
    """POSIX ``ENOTEMPTY``."""

    code = "directory-not-empty"


class MoveIntoItself(NamespaceError):
    """POSIX ``EINVAL`` of rename: the target lies below the source."""

    code = "move-into-itself"


class LeaseHeld(NamespaceError):
    """Another client is writing this path; it may be taken over once the soft limit has passed."""

    code = "lease-held"


class LeaseLost(NamespaceError):
    """The file is not open for writing under this lease (completed, aborted, or taken over)."""

    code = "lease-lost"


class PreconditionFailed(NamespaceError):
    """``If-Match`` names another version than the present one."""

    code = "precondition-failed"


class IncompleteFile(NamespaceError):
    """``complete`` names blocks that are unknown, short, or held by too few DataNodes."""

    code = "incomplete-file"


class IdempotencyMismatch(NamespaceError):
    """This idempotency key was used with another request."""

    code = "idempotency-mismatch"


class Compacted(NamespaceError):
    """The asked-for past is older than the history kept. ``oldest_txid`` is the first one left."""

    code = "compacted"


class TooLarge(NamespaceError):
    """The operation would exceed a limit of the namespace; the message names it."""

    code = "too-large"


# --- not now, not here --------------------------------------------------------------------------


class Unavailable(EsdfsError):
    """Later, the same request may succeed."""

    code = "unavailable"
    retry = Retry.HERE


class SafeMode(Unavailable):
    """Started recently: too few blocks are reported to trust the block map."""

    code = "safe-mode"


class Restoring(Unavailable):
    """What was just restored is not all there yet: a second or so for 100,000 files."""

    code = "restoring"


class Overloaded(Unavailable):
    """Queues are full."""

    code = "overloaded"


class NotEnoughDataNodes(Unavailable):
    """Fewer live DataNodes with room than copies to be kept."""

    code = "not-enough-datanodes"


class InsufficientStorage(Unavailable):
    """The NameNode's disk is nearly full: read-only until there is room."""

    code = "insufficient-storage"


class NotLeader(EsdfsError):
    """This NameNode does not lead; ``leader`` names who does, when known."""

    code = "not-leader"
    retry = Retry.ELSEWHERE


class OutcomeUnknown(EsdfsError):
    """Written, but not known to be committed. Repeat it under the same idempotency key."""

    code = "outcome-unknown"
    retry = Retry.ONLY_IF_IDEMPOTENT


class DeadlineExceeded(EsdfsError):
    """No answer in time; it may have happened."""

    code = "deadline-exceeded"
    retry = Retry.ONLY_IF_IDEMPOTENT


class Unreachable(EsdfsError):
    """No node of the cluster answers at the addresses given."""

    code = "unreachable"
    retry = Retry.HERE


# --- DataNode membership ------------------------------------------------------------------------


class UnknownDataNode(EsdfsError):
    """Not registered here (or not since this NameNode started): register again."""

    code = "unknown-datanode"
    retry = Retry.NEVER


class IdentityConflict(EsdfsError):
    """Wrong cluster, a node id that belongs to another disk, or an older incarnation."""

    code = "identity-conflict"
    retry = Retry.NEVER


class TooFewServing(EsdfsError):
    """A DataNode is not taken out of service: too few would be left. Insisting helps."""

    code = "too-few-serving"
    retry = Retry.NEVER


# --- NameNode membership ------------------------------------------------------------------------


class MembershipRefused(EsdfsError):
    """The voters are not changed, or leadership not handed over; the message says what is in the way."""

    code = "membership-refused"
    retry = Retry.NEVER


class GenerationFenced(EsdfsError):
    """One of the two was left behind when an operator forced the cluster to go on without the others.

    ``generation`` is that of the node which says so.
    """

    code = "generation-fenced"
    retry = Retry.NEVER


# --- replicas -----------------------------------------------------------------------------------


class ReplicaError(EsdfsError):
    """This copy, not the block, is the problem: try another."""

    retry = Retry.ELSEWHERE


class ReplicaNotFound(ReplicaError):
    """No such block here, or another generation of it."""

    code = "replica-not-found"


class ReplicaCorrupt(ReplicaError):
    """Bytes on this disk do not match their checksums; the replica was set aside."""

    code = "replica-corrupt"


class ReplicaExists(ReplicaError):
    """A finalized replica of this block is here already."""

    code = "replica-exists"


class ChecksumMismatch(ReplicaError):
    """Bytes as received do not match the checksums they came with; nothing was stored."""

    code = "checksum-mismatch"


class OutOfRange(InvalidRequest):
    """A range outside the block, or frames with a gap or an overlap."""

    code = "out-of-range"


class VolumeFull(ReplicaError):
    """No volume of this DataNode has room."""

    code = "volume-full"


class DiskFailed(ReplicaError):
    """A write or fsync failed: the volume is out of service until an operator clears it."""

    code = "disk-failed"


class PeerFailed(ReplicaError):
    """The next DataNode of the pipeline failed; ``failed_node_id`` names it."""

    code = "peer-failed"


class EpochFenced(EsdfsError):
    """The command comes from a leader that has been replaced."""

    code = "epoch-fenced"
    retry = Retry.NEVER


# --- the journal --------------------------------------------------------------------------------


class JournalError(EsdfsError):
    """This node's journal."""

    retry = Retry.ELSEWHERE


class JournalFenced(JournalError):
    """Another process appended here since we last did: resign."""

    code = "journal-fenced"


class JournalUnavailable(JournalError):
    """The database did not answer, or a write of it failed."""

    code = "journal-unavailable"


class JournalCorrupt(JournalError):
    """A record does not match its checksum or chain; ``txid`` says which."""

    code = "journal-corrupt"


class CheckpointDamaged(JournalError):
    """A checkpoint file is not as it was written."""

    code = "checkpoint-damaged"


class CheckpointGone(JournalError):
    """The asked-for checkpoint is not here, or no longer: ask what is."""

    code = "checkpoint-gone"


class NewerRelease(EsdfsError):
    """A record or format is newer than this program: upgrade it. Never skipped."""

    code = "newer-release"
    retry = Retry.NEVER


class UpgradeNeeded(EsdfsError):
    """The cluster's feature level does not allow this yet; the message says what to do."""

    code = "upgrade-needed"
    retry = Retry.NEVER


class UpgradeHeldBack(EsdfsError):
    """A node does not read the feature level the cluster is to reach; the message says which, and why."""

    code = "upgrade-held-back"
    retry = Retry.NEVER


def every_error() -> Iterator[type[EsdfsError]]:
    """All classes above that have a code, for edges to check their tables against."""
    pending: list[type[EsdfsError]] = [EsdfsError]
    while pending:
        kind = pending.pop()
        if "code" in vars(kind):
            yield kind
        pending.extend(kind.__subclasses__())


def from_code(code: str, message: str, details: dict[str, str | int | list[str]]) -> EsdfsError:
    """The error a peer named; an unknown code (a newer peer) becomes a plain ``EsdfsError``."""
    kind = _BY_CODE.get(code)
    if kind is None:
        error = EsdfsError(message, **details)
        error.code = code  # type: ignore[misc]  # known only at run time: the peer is newer
        error.retry = Retry.NEVER  # type: ignore[misc]
        return error
    return kind(message, **details)


_BY_CODE: dict[str, type[EsdfsError]] = {kind.code: kind for kind in every_error()}
