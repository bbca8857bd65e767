"""The quorum's messages to protobuf and back, in pairs."""

from collections.abc import Callable
from typing import Final, TypeVar

from esdfs._proto import namenode_pb2 as pb
from esdfs.errors import InvalidRequest
from esdfs.ids import Epoch, NodeId, Position, Txid
from esdfs.journal.entry import Entry
from esdfs.journal.quorum.messages import (
    CheckpointOffer,
    Envelope,
    Health,
    HeartbeatRequest,
    HeartbeatResponse,
    Refusal,
    SyncError,
    SyncKind,
    SyncRequest,
    SyncResponse,
    VoteRequest,
    VoteResponse,
)
from esdfs.journal.quorum.voters import Voter, VoterKind, VoterSet

PROTO_VERSION: Final = 1

_Word = TypeVar("_Word", Health, Refusal, SyncError, SyncKind, VoterKind)


def _word(kind: Callable[[str], _Word], text: str) -> _Word:
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidRequest(f"{text[:40]!r} is not a word of this protocol: is a node newer?") from error


def encode_envelope(envelope: Envelope) -> pb.Envelope:
    """As protobuf; so do all ``encode_`` functions here."""
    return pb.Envelope(
        cluster_id=envelope.cluster_id,
        cluster_generation=envelope.cluster_generation,
        from_id=envelope.from_id,
        from_storage_id=envelope.from_storage_id,
        from_incarnation=envelope.from_incarnation,
        to_id=envelope.to_id,
        to_storage_id=envelope.to_storage_id,
        epoch=envelope.epoch,
        proto_version=PROTO_VERSION,
    )


def decode_envelope(message: pb.Envelope) -> Envelope:
    """As the value; so do all ``decode_`` functions here. They raise `InvalidRequest` for unknown words."""
    return Envelope(
        message.cluster_id,
        message.cluster_generation,
        NodeId(message.from_id),
        message.from_storage_id,
        message.from_incarnation,
        NodeId(message.to_id),
        message.to_storage_id,
        Epoch(message.epoch),
    )


def encode_vote_request(request: VoteRequest) -> pb.VoteRequest:
    """See ``encode_envelope``."""
    return pb.VoteRequest(
        envelope=encode_envelope(request.envelope),
        pre_vote=request.pre_vote,
        last_epoch=request.last.epoch,
        last_txid=request.last.txid,
        transfer_from_epoch=request.transfer_from_epoch,
    )


def decode_vote_request(message: pb.VoteRequest) -> VoteRequest:
    """See ``decode_envelope``."""
    return VoteRequest(
        decode_envelope(message.envelope),
        message.pre_vote,
        Position(Epoch(message.last_epoch), Txid(message.last_txid)),
        Epoch(message.transfer_from_epoch),
    )


def encode_vote_response(response: VoteResponse) -> pb.VoteResponse:
    """See ``encode_envelope``."""
    return pb.VoteResponse(
        envelope=encode_envelope(response.envelope),
        granted=response.granted,
        pre_vote=response.pre_vote,
        proposed_epoch=response.proposed_epoch,
        leader_id=response.leader_id or "",
        leader_endpoint=response.leader_endpoint,
        reason=response.reason,
    )


def decode_vote_response(message: pb.VoteResponse) -> VoteResponse:
    """See ``decode_envelope``."""
    return VoteResponse(
        decode_envelope(message.envelope),
        message.granted,
        message.pre_vote,
        Epoch(message.proposed_epoch),
        NodeId(message.leader_id) if message.leader_id else None,
        message.leader_endpoint,
        _word(Refusal, message.reason),
    )


def encode_heartbeat_request(request: HeartbeatRequest) -> pb.HeartbeatRequest:
    """See ``encode_envelope``."""
    return pb.HeartbeatRequest(
        envelope=encode_envelope(request.envelope),
        commit_txid=request.commit_txid,
        last_txid=request.last_txid,
        epoch_start_txid=request.epoch_start_txid,
        heartbeat_seq=request.heartbeat_seq,
        transfer_now=request.transfer_now,
        resign=request.resign,
        leader_endpoint=request.leader_endpoint,
    )


def decode_heartbeat_request(message: pb.HeartbeatRequest) -> HeartbeatRequest:
    """See ``decode_envelope``."""
    return HeartbeatRequest(
        decode_envelope(message.envelope),
        Txid(message.commit_txid),
        Txid(message.last_txid),
        Txid(message.epoch_start_txid),
        message.heartbeat_seq,
        message.transfer_now,
        message.resign,
        message.leader_endpoint,
    )


def encode_heartbeat_response(response: HeartbeatResponse) -> pb.HeartbeatResponse:
    """See ``encode_envelope``."""
    return pb.HeartbeatResponse(
        envelope=encode_envelope(response.envelope),
        ok=response.ok,
        heartbeat_seq=response.heartbeat_seq,
        last_epoch=response.last.epoch,
        last_txid=response.last.txid,
        durable_txid=response.durable_txid,
        health=response.health,
    )


def decode_heartbeat_response(message: pb.HeartbeatResponse) -> HeartbeatResponse:
    """See ``decode_envelope``."""
    return HeartbeatResponse(
        decode_envelope(message.envelope),
        message.ok,
        message.heartbeat_seq,
        Position(Epoch(message.last_epoch), Txid(message.last_txid)),
        Txid(message.durable_txid),
        _word(Health, message.health),
    )


def encode_sync_request(request: SyncRequest) -> pb.SyncRequest:
    """See ``encode_envelope``."""
    return pb.SyncRequest(
        envelope=encode_envelope(request.envelope),
        kind=request.kind,
        next_txid=request.last.txid + 1,
        last_epoch=request.last.epoch,
        known_commit_txid=request.known_commit_txid,
        max_bytes=request.max_bytes,
        max_wait_ms=request.max_wait_ms,
        fetch_seq=request.fetch_seq,
        echo_heartbeat_seq=request.echo_heartbeat_seq,
        endpoint=request.endpoint,
    )


def decode_sync_request(message: pb.SyncRequest) -> SyncRequest:
    """See ``decode_envelope``."""
    if not message.next_txid:
        raise InvalidRequest("no fetch begins at record 0: the first one is 1")
    return SyncRequest(
        decode_envelope(message.envelope),
        _word(SyncKind, message.kind),
        Position(Epoch(message.last_epoch), Txid(message.next_txid - 1)),
        Txid(message.known_commit_txid),
        message.max_bytes,
        message.max_wait_ms,
        message.fetch_seq,
        message.echo_heartbeat_seq,
        message.endpoint,
    )


def encode_record(entry: Entry) -> pb.JournalRecord:
    """See ``encode_envelope``."""
    return pb.JournalRecord(
        txid=entry.txid,
        epoch=entry.epoch,
        ts_us=entry.ts_us,
        kind=entry.kind,
        version=entry.version,
        client_id=entry.client_id,
        seq=entry.seq,
        principal=entry.principal,
        peer=entry.peer,
        payload=entry.payload,
        crc32c=entry.crc32c,
        chain=entry.chain,
    )


def decode_record(message: pb.JournalRecord) -> Entry:
    """See ``decode_envelope``. Whether its sums are right is for the receiver to check."""
    return Entry(
        Txid(message.txid),
        Epoch(message.epoch),
        message.ts_us,
        message.kind,
        message.version,
        message.client_id,
        message.seq,
        message.principal,
        message.peer,
        message.payload,
        message.crc32c,
        message.chain,
    )


def encode_offer(offer: CheckpointOffer) -> pb.CheckpointOffer:
    """See ``encode_envelope``."""
    return pb.CheckpointOffer(
        last_epoch=offer.last.epoch,
        last_txid=offer.last.txid,
        chain=offer.chain,
        last_ts_us=offer.last_ts_us,
        voters_txid=offer.voters_txid,
        voters=[
            pb.Voter(
                node_id=voter.node_id,
                storage_id=voter.storage_id,
                kind=voter.kind,
                endpoint=voter.endpoint,
            )
            for voter in offer.voters
        ],
        size_bytes=offer.size_bytes,
        sha256=offer.sha256,
    )


def decode_offer(message: pb.CheckpointOffer) -> CheckpointOffer:
    """See ``decode_envelope``."""
    return CheckpointOffer(
        Position(Epoch(message.last_epoch), Txid(message.last_txid)),
        message.chain,
        message.last_ts_us,
        Txid(message.voters_txid),
        VoterSet(
            Voter(NodeId(voter.node_id), voter.storage_id, _word(VoterKind, voter.kind), voter.endpoint)
            for voter in message.voters
        ),
        message.size_bytes,
        message.sha256,
    )


def encode_sync_response(response: SyncResponse) -> pb.SyncResponse:
    """See ``encode_envelope``."""
    diverging, checkpoint = response.diverging, response.checkpoint
    return pb.SyncResponse(
        envelope=encode_envelope(response.envelope),
        error=response.error,
        leader_id=response.leader_id or "",
        leader_endpoint=response.leader_endpoint,
        fetch_seq=response.fetch_seq,
        heartbeat_seq=response.heartbeat_seq,
        commit_txid=response.commit_txid,
        oldest_txid=response.oldest_txid,
        records=map(encode_record, response.records),
        diverging=None if diverging is None else pb.Diverging(epoch=diverging.epoch, end_txid=diverging.txid),
        checkpoint=None if checkpoint is None else encode_offer(checkpoint),
    )


def decode_sync_response(message: pb.SyncResponse) -> SyncResponse:
    """See ``decode_envelope``."""
    diverging, checkpoint = message.diverging, message.checkpoint
    return SyncResponse(
        decode_envelope(message.envelope),
        _word(SyncError, message.error),
        NodeId(message.leader_id) if message.leader_id else None,
        message.leader_endpoint,
        message.fetch_seq,
        message.heartbeat_seq,
        Txid(message.commit_txid),
        Txid(message.oldest_txid),
        tuple(map(decode_record, message.records)),
        Position(Epoch(diverging.epoch), Txid(diverging.end_txid)) if message.HasField("diverging") else None,
        decode_offer(checkpoint) if message.HasField("checkpoint") else None,
    )
