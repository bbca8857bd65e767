from collections.abc import Callable

import pytest
from msgspec.structs import replace

from esdfs.blocks import CHUNK_BYTES, MIB
from esdfs.datanode.arrival import Arrival
from esdfs.errors import ChecksumMismatch, EsdfsError, InvalidRequest, OutOfRange
from esdfs.rpc.messages import Frame
from tests.blocks import compressed_frames, content, plain_frames

DATA = content(2 * MIB + 100)
TEXT = b"to be or not to be " * 100_000


def take(frames: list[Frame]) -> Arrival:
    arrival = Arrival(frames[0])
    for frame in frames:
        arrival.accept(frame)
    return arrival


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, MIB, MIB + 1, 2 * MIB + 100])
def test_a_whole_block_arrives(size: int) -> None:
    arrival = take(list(plain_frames(5, DATA[:size])))
    assert arrival.finished
    assert arrival.meta.length_bytes == arrival.meta.stored_bytes == size


def test_a_compressed_block_arrives() -> None:
    arrival = take(list(compressed_frames(5, TEXT)))
    assert arrival.meta.length_bytes == len(TEXT)
    assert arrival.meta.stored_bytes < len(TEXT)
    assert len(arrival.meta.group_stored_bytes) == 2


def test_the_size_may_become_known_with_the_last_frame() -> None:
    frames = [replace(frame, total_size=0) for frame in plain_frames(5, DATA)]
    assert take(frames).meta.length_bytes == len(DATA)


def edit(number: int, **changes: object) -> Callable[[list[Frame]], None]:
    def change(frames: list[Frame]) -> None:
        frames[number] = replace(frames[number], **changes)

    return change


PLAIN_WRONGS: dict[str, tuple[type[EsdfsError], Callable[[list[Frame]], None]]] = {
    "no generation": (InvalidRequest, edit(0, generation=0)),
    "a size over the limit": (InvalidRequest, edit(0, total_size=3 << 30)),
    "a gap": (OutOfRange, edit(1, offset=MIB + 1)),
    "an overlap": (OutOfRange, edit(1, offset=0)),
    "other bytes": (ChecksumMismatch, edit(1, data=DATA[:MIB])),
    "a missing chunk checksum": (ChecksumMismatch, edit(0, chunk_crcs=[])),
    "another block checksum": (ChecksumMismatch, edit(2, crc32c=1)),
    "a size that changes": (InvalidRequest, edit(2, total_size=5)),
    "plain and compressed mixed": (InvalidRequest, edit(1, compressed=True)),
    "compression metadata on a plain block": (
        InvalidRequest,
        edit(2, compression=list(compressed_frames(1, TEXT))[-1].compression),
    ),
    "an empty frame within": (InvalidRequest, lambda frames: frames.insert(1, Frame(block_id=5, offset=MIB))),
    "a missing frame": (OutOfRange, lambda frames: frames.__delitem__(1)),
}


@pytest.mark.parametrize("what", PLAIN_WRONGS)
def test_a_wrong_stream_is_refused(what: str) -> None:
    error, change = PLAIN_WRONGS[what]
    frames = list(plain_frames(5, DATA))
    change(frames)
    with pytest.raises(error):
        take(frames)


def test_a_block_that_is_shorter_than_announced_is_refused() -> None:
    frames = list(plain_frames(5, DATA[:MIB]))
    with pytest.raises(InvalidRequest, match="size changed"):
        take(
            [
                replace(frames[0], total_size=2 * MIB, last=False),
                Frame(block_id=5, offset=MIB, last=True, total_size=MIB),
            ]
        )
    with pytest.raises(OutOfRange):
        take([replace(frames[0], total_size=2 * MIB)])


def test_only_the_last_plain_frame_may_end_within_a_chunk() -> None:
    frames = list(plain_frames(5, DATA[:300], frame_bytes=100))
    with pytest.raises(InvalidRequest, match="within a chunk"):
        take(frames)


def test_a_frame_over_a_mebibyte_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="a frame of"):
        take(list(plain_frames(5, DATA, frame_bytes=2 * MIB)))


@pytest.mark.parametrize("changes", [{"compression": None}, {"crc32c": 1}, {"total_size": 7}])
def test_contradictory_compression_is_refused(changes: dict[str, object]) -> None:
    frames = list(compressed_frames(5, TEXT))
    frames[-1] = replace(frames[-1], **changes)
    with pytest.raises((InvalidRequest, OutOfRange)):
        take(frames)
