"""Whatever the sizes and ranges: what is put is what is got."""

import random
import shutil
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace

from esdfs.blocks import CHUNK_BYTES, MIB
from esdfs.checksum import chunk_crcs, combine, combine_chunks, crc32c, crc32c_by_crcmod
from esdfs.datanode.arrival import Arrival
from esdfs.datanode.layout import Meta, decode_meta, encode_meta
from esdfs.datanode.reading import covering
from esdfs.datanode.replica import BlockKey
from esdfs.errors import EsdfsError, Overloaded, ReplicaExists
from esdfs.rpc import wire
from esdfs.rpc.datanode import trimmed
from esdfs.rpc.messages import BlockRequest, Frame
from tests.blocks import Shelf, compressed_frames, content, plain_frames


@given(st.binary(max_size=5000), st.binary(max_size=5000))
def test_checksums_are_one_function_however_computed(a: bytes, b: bytes) -> None:
    whole = crc32c(a + b)
    assert whole == crc32c_by_crcmod(a + b) == crc32c(b, crc32c(a)) == combine(crc32c(a), crc32c(b), len(b))
    assert combine_chunks(chunk_crcs(a, 700), len(a), 700) == crc32c(a)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_frame_or_an_error_of_ours(raw: bytes) -> None:
    try:
        frame = replace(wire.decode_frame(raw), raw=None)
    except EsdfsError:
        return
    assert replace(wire.decode_frame(wire.encode_frame(frame)), raw=None) == frame


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_meta_file(raw: bytes) -> None:
    try:
        meta = decode_meta(raw, 1, 1)
    except EsdfsError:
        return
    assert encode_meta(meta) == raw


@given(
    st.integers(0, 5 * MIB),
    st.integers(0, 5 * MIB),
    st.integers(0, 5 * MIB),
)
def test_a_range_is_covered_with_less_than_a_chunk_to_spare(size: int, offset: int, length: int) -> None:
    offset = min(offset, size)
    end = min(offset + length, size) if length else size
    extents = covering(Meta(1, 1, size, size, 0), offset, length)
    if offset == end:
        assert extents == []
        return
    assert offset - CHUNK_BYTES < extents[0].stored_at <= offset
    last = extents[-1]
    assert end <= last.stored_at + last.stored_bytes < end + CHUNK_BYTES
    for one, following in pairwise(extents):
        assert one.stored_at + one.stored_bytes == following.stored_at
        assert one.chunk_at + one.chunks == following.chunk_at
    assert all(extent.stored_bytes <= MIB for extent in extents)


class StoreMachine(RuleBasedStateMachine):
    """A store beside a dictionary: puts, deletes, half-written blocks, restarts."""

    root: Path

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.root, ignore_errors=True)
        self.shelf = Shelf(self.root, volumes=2)
        self.model: dict[int, tuple[int, bytes]] = {}

    @rule(
        block_id=st.integers(1, 5),
        generation=st.integers(1, 3),
        size=st.sampled_from([0, 1, 70_000, MIB, MIB + 3]),
        seed=st.integers(0, 9),
        compressed=st.booleans(),
    )
    def put(self, block_id: int, generation: int, size: int, seed: int, compressed: bool) -> None:
        data = content(size, seed)
        make = compressed_frames if compressed and size else plain_frames
        frames = make(block_id, data, generation=generation)
        present = self.model.get(block_id)
        try:
            self.shelf.put(frames)
        except ReplicaExists:
            assert present is not None
            assert present[0] >= generation
        else:
            assert present is None or present[0] < generation
            self.model[block_id] = (generation, data)

    @rule(block_id=st.integers(1, 5), drop=st.booleans())
    def begin(self, block_id: int, drop: bool) -> None:
        (frame,) = plain_frames(block_id, b"unfinished", generation=9)
        try:
            writer = self.shelf.store.start(frame)
        except (Overloaded, ReplicaExists):
            return  # one is under way already
        writer.accept(frame)
        writer.write(frame)
        if drop:
            writer.drop()

    @rule(block_id=st.integers(1, 5), generation=st.integers(1, 3))
    def delete(self, block_id: int, generation: int) -> None:
        present = self.model.get(block_id)
        gone = self.shelf.store.delete(block_id, generation)
        assert gone == (present is not None and present[0] <= generation)
        if gone:
            del self.model[block_id]

    @rule()
    def restart(self) -> None:
        self.shelf.reopen()

    @rule()
    def empty_trash(self) -> None:
        self.shelf.store.empty_trash(delay_s=0)

    @invariant()
    def it_holds_what_was_put(self) -> None:
        keys = {BlockKey(replica.block_id, replica.generation) for replica in self.shelf.store.replicas()}
        assert keys == {BlockKey(block_id, generation) for block_id, (generation, _) in self.model.items()}
        for block_id, (_, data) in self.model.items():
            frames = self.shelf.store.read(block_id)
            pieces = trimmed(frames, BlockRequest(block_id=block_id), len(data))
            assert b"".join(bytes(piece) for piece in pieces) == data

    def teardown(self) -> None:
        self.shelf.store.close()


def test_a_store_is_a_dictionary_that_survives_restarts(tmp_path: Path) -> None:
    machine = type("Machine", (StoreMachine,), {"root": tmp_path / "store"})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=20, stateful_step_count=15, deadline=None)
    )


def test_a_stream_with_any_frame_left_out_doubled_or_swapped_is_refused() -> None:
    draw = random.Random(3)
    data = content(6 * MIB + 5)
    frames = list(plain_frames(7, data))
    for _ in range(50):
        mixed: list[Frame] = list(frames)
        at = draw.randrange(len(mixed) - 1)
        how = draw.randrange(3)
        if how == 0:
            del mixed[at]
        elif how == 1:
            mixed.insert(at, mixed[at])
        else:
            mixed[at], mixed[at + 1] = mixed[at + 1], mixed[at]
        refused = False
        try:
            arrive(mixed)
        except EsdfsError:
            refused = True
        assert refused, (at, how)


def arrive(frames: list[Frame]) -> None:
    arrival = Arrival(frames[0])
    for frame in frames:
        arrival.accept(frame)
