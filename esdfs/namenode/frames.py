"""The command socket between REST workers and the engine. Pure: bytes in, values out.

A frame is a big-endian u32 length and that many bytes of msgpack: a list of calls, or a list of
answers. Many calls travel in one frame; answers come back in any order, matched by ``id``.
"""

import struct
from typing import Final, Literal, TypeAlias

import msgspec

from esdfs.namenode.commands import Command

LENGTH: Final = struct.Struct(">I")
FRAME_BYTES_MAX: Final = 16 << 20


class Execute(msgspec.Struct, frozen=True, tag="execute"):
    """Carry out commands, all or none, as one transaction.

    Attributes:
        client_id: 16 bytes, or empty when the request may not be repeated under the same name.
        seq: The client's number of this request.
        request_hash: 64 bits of the request body; compared when (client_id, seq) is seen again.
    """

    commands: list[Command]
    principal: str
    peer: str
    client_id: bytes = b""
    seq: int = 0
    request_hash: int = 0


class RenewLeases(msgspec.Struct, frozen=True, tag="renew-leases"):
    """Tell the engine that these open files are still being written: (file_id, lease)."""

    files: list[tuple[int, str]]


class Register(msgspec.Struct, frozen=True, tag="register"):
    """A DataNode introduces itself; ``body`` is the REST body (see ``blocks.datanodes.Registration``)."""

    body: msgspec.Raw


class NodeHeartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """A DataNode's periodic state; the answer carries commands for it."""

    node_id: str
    body: msgspec.Raw


class BlockReport(msgspec.Struct, frozen=True, tag="report"):
    """One page of a full or incremental block report."""

    node_id: str
    body: msgspec.Raw


class ReadIndex(msgspec.Struct, frozen=True, tag="read-index"):
    """Have the projection show everything acknowledged before this call; only a leader can."""


class Status(msgspec.Struct, frozen=True, tag="status"):
    """What the engine knows about itself, the DataNodes' health and the repair queues."""


class Upgrade(msgspec.Struct, frozen=True, tag="upgrade"):
    """What holds the cluster's feature level back; with ``finalize``, raise it. Only the leader knows."""

    finalize: bool = False


class QuorumStatus(msgspec.Struct, frozen=True, tag="quorum-status"):
    """The quorum as the leader knows it; ``local``: as this node knows it, whoever leads."""

    local: bool = False


class TransferLeadership(msgspec.Struct, frozen=True, tag="transfer"):
    """Have another voter lead; "" = the one that lacks least."""

    to: str


class AddVoter(msgspec.Struct, frozen=True, tag="add-voter"):
    """Let an observer that has caught up vote."""

    node_id: str


class RemoveVoter(msgspec.Struct, frozen=True, tag="remove-voter"):
    """Let a voter vote no more."""

    node_id: str


class Balance(msgspec.Struct, frozen=True, tag="balance"):
    """Balancing DataNodes: how it stands, begin, or end. Only the leader knows.

    Attributes:
        threshold: See ``blocks.evenness``.
        bytes_per_s: Each DataNode sends at most so much; 0 = as configured.
    """

    action: Literal["status", "start", "stop"]
    threshold: float = 0.1
    bytes_per_s: int = 0


class Recheck(msgspec.Struct, frozen=True, tag="recheck"):
    """Look at every block now, and have every DataNode report everything. Only the leader does.

    Attributes:
        begin: False = only say how far that is.
    """

    begin: bool = True


class ResumeCopies(msgspec.Struct, frozen=True, tag="resume-copies"):
    """Copy again after a mass failure. Only the leader does."""


class UnplacedReplicas(msgspec.Struct, frozen=True, tag="unplaced"):
    """A page of what DataNodes hold beside what locations tell; see ``blocks.unplaced``.

    Attributes:
        after: (DataNode, block id) of the last one seen; (0, 0) = from the first.
    """

    after: tuple[int, int] = (0, 0)
    limit: int = 1_000


QuorumChange: TypeAlias = TransferLeadership | AddVoter | RemoveVoter

Body: TypeAlias = (
    Execute
    | RenewLeases
    | Register
    | NodeHeartbeat
    | BlockReport
    | ReadIndex
    | Status
    | Upgrade
    | Balance
    | Recheck
    | ResumeCopies
    | UnplacedReplicas
    | QuorumStatus
    | TransferLeadership
    | AddVoter
    | RemoveVoter
)


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One request of a worker."""

    id: int
    body: Body


class Failure(msgspec.Struct, frozen=True):
    """An ``EsdfsError`` on its way to the edge."""

    code: str
    message: str
    details: dict[str, str | int | list[str]] = {}


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The engine's answer.

    Attributes:
        txid: The transaction that carried the request out; else the newest committed one.
        result: Msgpack of the verb's result; for ``Execute`` a list with one map per command.
        replayed: The request had been carried out before; this is the first answer again.
    """

    id: int
    txid: int
    epoch: int
    failure: Failure | None = None
    result: msgspec.Raw = msgspec.Raw(b"\xc0")
    replayed: bool = False


_calls = msgspec.msgpack.Decoder(list[Call])
_answers = msgspec.msgpack.Decoder(list[Answer])
_encoder = msgspec.msgpack.Encoder()


def encode(messages: list[Call] | list[Answer]) -> bytes:
    """One frame, length included."""
    body = _encoder.encode(messages)
    return LENGTH.pack(len(body)) + body


def decode_calls(body: bytes) -> list[Call]:
    """The calls of a frame's body (without its length).

    Raises:
        msgspec.DecodeError: Not a frame of ours; the connection should be closed.
    """
    return _calls.decode(body)


def decode_answers(body: bytes) -> list[Answer]:
    """The answers of a frame's body (without its length)."""
    return _answers.decode(body)
