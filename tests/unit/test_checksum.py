import random
import subprocess
import sys

import pytest

from esdfs.checksum import (
    Buffer,
    chunk_crcs,
    combine,
    combine_chunks,
    crc32c,
    crc32c_by_crcmod,
    implementation,
)


def test_the_check_value_of_the_polynomial() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c_by_crcmod(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


@pytest.mark.parametrize("size", [0, 1, 7, 63, 65536, 65537, 300_000])
def test_the_accelerated_function_equals_crcmod_also_when_continued(size: int) -> None:
    data = random.Random(size).randbytes(size)
    cut = size // 3
    assert crc32c(data) == crc32c_by_crcmod(data)
    assert crc32c(data[cut:], crc32c(data[:cut])) == crc32c_by_crcmod(data)
    assert crc32c_by_crcmod(data[cut:], crc32c(data[:cut])) == crc32c(data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_has_the_same_sum(kind: type) -> None:
    data: Buffer = kind(b"the same bytes")
    assert crc32c(data) == crc32c_by_crcmod(data) == crc32c(b"the same bytes")


def test_chunks_cover_the_data_and_combine_to_the_whole() -> None:
    data = random.Random(5).randbytes(200_001)
    crcs = chunk_crcs(memoryview(data), 65536)
    assert crcs == [crc32c(data[i : i + 65536]) for i in range(0, len(data), 65536)]
    assert combine_chunks(crcs, len(data), 65536) == crc32c(data)
    assert chunk_crcs(b"") == []
    assert combine_chunks([], 0) == 0


def test_sums_combine_without_the_bytes() -> None:
    draw = random.Random(7)
    for _ in range(50):
        a, b = draw.randbytes(draw.randrange(3000)), draw.randbytes(draw.randrange(3000))
        assert combine(crc32c(a), crc32c(b), len(b)) == crc32c(a + b)


def test_without_the_wheel_crcmod_computes_and_says_so() -> None:
    program = (
        "import sys; sys.modules['crc32c'] = None\n"
        "from esdfs.checksum import crc32c, implementation\n"
        "print(crc32c(b'123456789'), implementation())"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    value, name = out.stdout.split()
    assert int(value) == 0xE3069283
    assert name in {"crcmod-c", "crcmod-python"}
    assert implementation() in {"crc32c-hw", "crc32c-sw", "crcmod-c", "crcmod-python"}
