"""Brotli, by groups: each MiB of a block is compressed alone, so a range is read without what precedes it.

Quality 1 only: brotli's default, 11, runs at under 1 MB/s.
"""

from typing import Final

import brotli

from esdfs.blocks import MIB
from esdfs.checksum import Buffer
from esdfs.errors import ChecksumMismatch

CODEC: Final = "brotli"
GROUP_BYTES: Final = MIB
"""Logical bytes of a group; the last of a block may be shorter."""

STORED_GROUP_BYTES_MAX: Final = GROUP_BYTES + 1024
"""A group of random bytes comes out a little longer than it went in."""

SAMPLE_BYTES: Final = 16 * 1024

_QUALITY: Final = 1
_WINDOW_BITS: Final = 20  # a group, not more


def compress_group(data: Buffer) -> bytes:
    """One group, compressed; may come out longer than ``data`` when that is random."""
    assert len(data) <= GROUP_BYTES, len(data)
    return bytes(brotli.compress(data, quality=_QUALITY, lgwin=_WINDOW_BITS))


def decompress_group(stored: Buffer, logical_bytes: int) -> bytes:
    """The ``logical_bytes`` that ``stored`` was made of. Never makes more than that, whatever ``stored`` is.

    Raises:
        ChecksumMismatch: ``stored`` is not one complete group of that size.
    """
    decompressor = brotli.Decompressor()
    out = bytearray()
    try:
        out += decompressor.process(stored, output_buffer_limit=logical_bytes + 1)
        while len(out) <= logical_bytes and not decompressor.can_accept_more_data():
            out += decompressor.process(b"", output_buffer_limit=logical_bytes + 1 - len(out))
    except brotli.error as error:
        raise ChecksumMismatch("a compressed group does not decompress: try another replica") from error
    if len(out) != logical_bytes or not decompressor.is_finished():
        raise ChecksumMismatch(
            f"a compressed group does not hold its {logical_bytes} bytes: try another replica"
        )
    return bytes(out)


def worth_compressing(sample: Buffer) -> bool:
    """Whether the first 16 KiB of ``sample`` shrink at all: the rest is likely alike."""
    head = memoryview(sample)[:SAMPLE_BYTES]
    return len(brotli.compress(head, quality=_QUALITY)) < len(head)
