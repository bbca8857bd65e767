import pytest

from esdfs.blocks import MIB
from esdfs.errors import ChecksumMismatch
from esdfs.rpc.datanode import trimmed
from esdfs.rpc.messages import BlockRequest
from tests.blocks import content, plain_frames

DATA = content(2 * MIB)


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1, 0])
def test_a_replica_of_another_length_gives_no_byte_too_many(length: int) -> None:
    got = bytearray()

    def read() -> None:
        for piece in trimmed(plain_frames(1, DATA), BlockRequest(block_id=1), length):
            got.extend(piece)

    with pytest.raises(ChecksumMismatch):
        read()
    assert len(got) <= length
    assert DATA.startswith(got)
