import pytest

from esdfs._proto import datanode_pb2 as pb
from esdfs.errors import InvalidRequest
from esdfs.rpc import wire
from esdfs.rpc.messages import BlockContent, BlockRequest, BlockResult, Compression, Frame, Receipt, Target

FULL = Frame(
    block_id=2**63 - 1,
    data=b"some bytes" * 100,
    offset=7,
    chunk_crcs=[1, 0xFFFFFFFF],
    total_size=1000,
    compressed=True,
    compression=Compression("brotli", 1 << 20, (3, 4), 1000, 5),
    generation=9,
    targets=(Target("dn-2", "h:1"), Target("dn-3", "h:2")),
    last=True,
    crc32c=0xDEADBEEF,
    cluster_id="c",
    ack_timeout_ms=5_000,
)


def without_raw(frame: Frame) -> dict[str, object]:
    fields = {name: getattr(frame, name) for name in frame.__struct_fields__ if name != "raw"}
    return {**fields, "data": bytes(frame.data)}


@pytest.mark.parametrize("frame", [FULL, Frame(block_id=1), Frame(block_id=1, data=memoryview(b"x"))])
def test_a_frame_comes_back_as_it_was(frame: Frame) -> None:
    assert without_raw(wire.decode_frame(wire.encode_frame(frame))) == without_raw(frame)


def test_what_leaves_is_an_ordinary_protobuf_message() -> None:
    message = pb.BlockData.FromString(wire.encode_frame(FULL))
    assert message.data == FULL.data
    assert message.block_id == str(2**63 - 1)
    assert list(message.chunk_crcs) == [1, 0xFFFFFFFF]
    assert [target.node_id for target in message.targets] == ["dn-2", "dn-3"]


def test_a_message_of_any_other_writer_is_read() -> None:
    message = pb.BlockData.FromString(wire.encode_frame(FULL))
    ordinary = message.SerializeToString()
    assert ordinary != wire.encode_frame(FULL)
    assert without_raw(wire.decode_frame(ordinary)) == without_raw(FULL)


def test_unknown_fields_and_a_repeated_data_field_are_no_surprise() -> None:
    # field 5000, one of each wire type; then data twice: the last wins
    unknown = b"\xc0\xb8\x02\x07" + b"\xc2\xb8\x02\x01z" + b"\xc5\xb8\x02abcd" + b"\xc1\xb8\x02abcdefgh"
    raw = b"\x0a\x011" + unknown + b"\x12\x03old" + b"\x12\x03new"
    assert bytes(wire.decode_frame(raw).data) == b"new"


def test_a_forwarded_frame_is_not_encoded_again() -> None:
    received = wire.decode_frame(wire.encode_frame(FULL))
    assert wire.encode_frame(received) is received.raw


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\x05abc",  # cut short
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a varint without end
        b"\x0b",  # a group
        b"\x12",  # a tag alone
        b"",  # no block id
        b"\x0a\x0201",  # not the decimal form of 1
        b"\x0a\x010",
        b"\x0a\x03abc",
        b"\x0a\x02-1",
        b"\x0a\x1499999999999999999999",
        b"\x0a\x139223372036854775808",  # no NameNode takes a report of it
        b"\x0a\x011\x38" + b"\x80" * 9 + b"\x01",  # nor of this generation
    ],
)
def test_garbage_is_an_invalid_request(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        wire.decode_frame(raw)


def test_results_come_back_as_they_were() -> None:
    receipt = Receipt(
        node_id="dn-1",
        volume_id="v",
        block_id=3,
        generation=1,
        length_bytes=10,
        stored_bytes=8,
        crc32c=7,
    )
    results = [
        BlockResult(block_id=3, receipts=(receipt,)),
        BlockResult(block_id=4, code="volume-full", message="m", failed_node_id="dn-2"),
    ]
    assert wire.decode_results(wire.encode_results(results)) == results
    error = results[1].error()
    assert error is not None
    assert (error.code, error.details["failed_node_id"]) == ("volume-full", "dn-2")
    assert results[0].error() is None


@pytest.mark.parametrize("expected", [None, BlockContent(0, 0), BlockContent(9, 0xDEADBEEF)])
def test_a_request_comes_back_as_it_was(expected: BlockContent | None) -> None:
    request = BlockRequest(
        block_id=7, generation=1, offset=2, length=3, deep=True, expected=expected, epoch=4, cluster_id="c"
    )
    assert wire.decode_request(wire.encode_request(request)) == request
