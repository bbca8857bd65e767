import pytest

from esdfs.checksum import chunk_crcs, crc32c
from esdfs.datanode import layout
from esdfs.datanode.layout import Meta
from esdfs.errors import ReplicaCorrupt
from tests.blocks import content

DATA = content(200_000)
META = Meta(7, 3, len(DATA), len(DATA), crc32c(DATA), chunk_crcs=tuple(chunk_crcs(DATA)))
GROUPED = Meta(8, 1, (1 << 20) + 5, 110_010, 1, "brotli", 1 << 20, (1, 2, 3), (110_000, 10))


@pytest.mark.parametrize("meta", [META, GROUPED, Meta(1, 1, 0, 0, 0)])
def test_a_meta_file_says_what_was_written(meta: Meta) -> None:
    raw = layout.encode_meta(meta)
    assert layout.decode_meta(raw, meta.block_id, meta.generation) == meta
    header = layout.decode_header(raw[: layout.HEADER_BYTES], meta.block_id, meta.generation)
    assert header == meta._replace(chunk_crcs=(), group_stored_bytes=())


def test_the_format_is_frozen_byte_by_byte() -> None:
    raw = layout.encode_meta(Meta(0x0102, 0x0304, 5, 5, 0xAABBCCDD, chunk_crcs=(0x11223344,)))
    assert raw.hex() == (
        "45534446534d455401000000000001000201000000000000040300000000000005000000000000000500000000000000"
        "ddccbbaa010000000000000000000000" + crc32c(raw[:64]).to_bytes(4, "little").hex() + "44332211"
        "" + crc32c(raw[:-4]).to_bytes(4, "little").hex()
    )


def test_no_flipped_bit_of_a_meta_file_goes_unnoticed() -> None:
    raw = layout.encode_meta(GROUPED)
    for at in range(len(raw)):
        for bit in range(8):
            damaged = bytearray(raw)
            damaged[at] ^= 1 << bit
            with pytest.raises(ReplicaCorrupt):
                layout.decode_meta(bytes(damaged), 8, 1)


def test_a_meta_file_cut_short_or_too_long_is_damaged() -> None:
    raw = layout.encode_meta(META)
    for wrong in (b"", raw[:40], raw[:-1], raw + b"\0"):
        with pytest.raises(ReplicaCorrupt):
            layout.decode_meta(wrong, 7, 3)


@pytest.mark.parametrize(("block_id", "generation"), [(8, 3), (7, 4)])
def test_a_meta_file_of_another_replica_is_refused(block_id: int, generation: int) -> None:
    with pytest.raises(ReplicaCorrupt, match="belongs to block 7 generation 3"):
        layout.decode_meta(layout.encode_meta(META), block_id, generation)


@pytest.mark.parametrize(
    "wrong",
    [
        META._replace(stored_bytes=1),
        META._replace(chunk_crcs=(1,)),
        META._replace(length_bytes=3 << 30, stored_bytes=3 << 30),
        GROUPED._replace(group_stored_bytes=(110_000, 11)),
        GROUPED._replace(group_stored_bytes=(110_010,)),
        GROUPED._replace(group_stored_bytes=(110_010, 0)),
        GROUPED._replace(group_bytes=1 << 19),
        GROUPED._replace(codec="zip"),
    ],
)
def test_numbers_that_do_not_agree_are_found(wrong: Meta) -> None:
    assert layout.contradiction(wrong)


def test_numbers_that_agree_are_none() -> None:
    assert not layout.contradiction(META)
    assert not layout.contradiction(GROUPED)


def test_names_come_from_integers_and_nothing_else_is_ours() -> None:
    assert layout.directory(0x123456) == "current/12/34"
    assert layout.parse_name("12_3.data") == (12, 3, 0, "data")
    assert layout.parse_name("12_3_99.meta") == (12, 3, 99, "meta")
    for foreign in ("012_3.data", "12.data", "../1_1.data", "1_1.data.new", "1_1.txt", "x", "1_1.data\n"):
        assert layout.parse_name(foreign) is None


def test_a_plain_block_is_cut_into_frames_and_a_compressed_one_into_groups() -> None:
    big = Meta(1, 1, (2 << 20) + 1, (2 << 20) + 1, 0)
    assert [(e.stored_at, e.stored_bytes, e.chunks) for e in big.extents()] == [
        (0, 1 << 20, 16),
        (1 << 20, 1 << 20, 16),
        (2 << 20, 1, 1),
    ]
    assert [(e.logical_at, e.stored_at, e.stored_bytes, e.chunk_at) for e in GROUPED.extents()] == [
        (0, 0, 110_000, 0),
        (1 << 20, 110_000, 10, 2),
    ]
