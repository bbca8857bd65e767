from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

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
from esdfs.rpc import quorum_wire as wire

NUMBERS = st.integers(0, 2**63 - 1)
TXIDS, EPOCHS = NUMBERS.map(Txid), NUMBERS.map(Epoch)
SMALL = st.integers(0, 2**32 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NODES = TEXTS.filter(bool).map(NodeId)
NOBODY = st.none() | NODES
POSITIONS = st.builds(Position, EPOCHS, st.integers(0, 2**63 - 2).map(Txid))
ENVELOPES = st.builds(Envelope, TEXTS, NUMBERS, NODES, TEXTS, NUMBERS, NODES, TEXTS, EPOCHS)
ENTRIES = st.builds(
    Entry,
    TXIDS,
    EPOCHS,
    NUMBERS,
    SMALL,
    SMALL,
    st.binary(max_size=16),
    NUMBERS,
    TEXTS,
    TEXTS,
    st.binary(max_size=40),
    SMALL,
    st.binary(min_size=32, max_size=32),
)
VOTERS = st.builds(Voter, NODES, TEXTS, st.sampled_from(VoterKind), TEXTS)
VOTER_SETS = st.lists(VOTERS, max_size=5).map(VoterSet)
OFFERS = st.builds(
    CheckpointOffer,
    POSITIONS,
    st.binary(max_size=32),
    NUMBERS,
    TXIDS,
    VOTER_SETS,
    NUMBERS,
    st.binary(max_size=32),
)


def carried(message: Message) -> Any:
    """As it arrives."""
    return type(message).FromString(message.SerializeToString())


def comes_back(value: Any, encode: Callable[[Any], Message], decode: Callable[[Any], Any]) -> None:
    assert decode(carried(encode(value))) == value


@given(ENVELOPES)
def test_an_envelope_comes_back(envelope: Envelope) -> None:
    comes_back(envelope, wire.encode_envelope, wire.decode_envelope)


@given(st.builds(VoteRequest, ENVELOPES, st.booleans(), POSITIONS, EPOCHS))
def test_a_vote_request_comes_back(request: VoteRequest) -> None:
    comes_back(request, wire.encode_vote_request, wire.decode_vote_request)


@given(
    st.builds(
        VoteResponse,
        ENVELOPES,
        st.booleans(),
        st.booleans(),
        EPOCHS,
        NOBODY,
        TEXTS,
        st.sampled_from(Refusal),
    )
)
def test_a_vote_response_comes_back(response: VoteResponse) -> None:
    comes_back(response, wire.encode_vote_response, wire.decode_vote_response)


@given(
    st.builds(
        HeartbeatRequest,
        ENVELOPES,
        TXIDS,
        TXIDS,
        TXIDS,
        NUMBERS,
        st.booleans(),
        st.booleans(),
        TEXTS,
    )
)
def test_a_heartbeat_comes_back(request: HeartbeatRequest) -> None:
    comes_back(request, wire.encode_heartbeat_request, wire.decode_heartbeat_request)


@given(
    st.builds(HeartbeatResponse, ENVELOPES, st.booleans(), NUMBERS, POSITIONS, TXIDS, st.sampled_from(Health))
)
def test_an_answer_to_a_heartbeat_comes_back(response: HeartbeatResponse) -> None:
    comes_back(response, wire.encode_heartbeat_response, wire.decode_heartbeat_response)


@given(
    st.builds(
        SyncRequest,
        ENVELOPES,
        st.sampled_from(SyncKind),
        POSITIONS,
        TXIDS,
        SMALL,
        SMALL,
        NUMBERS,
        NUMBERS,
    )
)
def test_a_fetch_comes_back(request: SyncRequest) -> None:
    comes_back(request, wire.encode_sync_request, wire.decode_sync_request)


@given(ENTRIES)
def test_a_record_comes_back(entry: Entry) -> None:
    comes_back(entry, wire.encode_record, wire.decode_record)


@given(OFFERS)
def test_an_offer_of_a_checkpoint_comes_back(offer: CheckpointOffer) -> None:
    comes_back(offer, wire.encode_offer, wire.decode_offer)


@given(
    st.builds(
        SyncResponse,
        ENVELOPES,
        st.sampled_from(SyncError),
        NOBODY,
        TEXTS,
        NUMBERS,
        NUMBERS,
        TXIDS,
        TXIDS,
        st.lists(ENTRIES, max_size=3).map(tuple),
        st.none() | POSITIONS,
        st.none() | OFFERS,
    )
)
def test_an_answer_to_a_fetch_comes_back(response: SyncResponse) -> None:
    comes_back(response, wire.encode_sync_response, wire.decode_sync_response)


def test_a_word_of_a_newer_protocol_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        wire.decode_sync_request(pb.SyncRequest(kind="spectator", next_txid=1))
    with pytest.raises(InvalidRequest):
        wire.decode_heartbeat_response(pb.HeartbeatResponse(health="dizzy"))


def test_a_fetch_before_the_first_record_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        wire.decode_sync_request(pb.SyncRequest(kind="voter", next_txid=0))
