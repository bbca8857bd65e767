"""CRC32C (Castagnoli), the one checksum of esdfs's bytes.

``crcmod`` defines the polynomial and is the fallback; the ``crc32c`` wheel is the same function in machine
instructions, about 50 times faster. ``tests/unit/test_checksum.py`` holds the two equal.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Final, TypeAlias

import crcmod

from esdfs.blocks import CHUNK_BYTES

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What checksums and writes take without copying it."""

_POLYNOMIAL: Final = 0x11EDC6F41
_REFLECTED: Final = 0x82F63B78

_by_crcmod = crcmod.mkCrcFun(_POLYNOMIAL, initCrc=0, rev=True, xorOut=0xFFFFFFFF)


def crc32c_by_crcmod(data: Buffer, value: int = 0) -> int:
    """The definition: the CRC32C of ``data`` after bytes whose CRC32C is ``value``."""
    return int(_by_crcmod(data, value))


def _accelerator() -> ModuleType | None:
    try:
        return import_module("crc32c")
    except ImportError:
        return None


_wheel = _accelerator()
_fast: Callable[[Buffer, int, int], int] | None = _wheel.crc32c if _wheel else None


def crc32c(data: Buffer, value: int = 0) -> int:
    """The CRC32C of ``data`` after bytes whose CRC32C is ``value``."""
    if _fast is None:
        return crc32c_by_crcmod(data, value)
    # A 64 KiB chunk takes 3 us: giving up the GIL for it can cost a thread switch of 5 ms.
    return _fast(data, value, 0 if len(data) <= CHUNK_BYTES else -1)


def implementation() -> str:
    """What computes: ``crc32c-hw``, ``crc32c-sw``, ``crcmod-c`` or (300 times slower) ``crcmod-python``."""
    if _wheel is not None:
        return "crc32c-hw" if _wheel.hardware_based else "crc32c-sw"
    # The package's attribute `crcmod` is not the submodule that knows.
    return "crcmod-c" if sys.modules["crcmod.crcmod"]._usingExtension else "crcmod-python"  # noqa: SLF001 - crcmod tells nowhere else


def chunk_crcs(data: Buffer, chunk_bytes: int = CHUNK_BYTES) -> list[int]:
    """The CRC32C of each ``chunk_bytes`` of ``data``; the last chunk may be shorter. Nothing is copied."""
    view = memoryview(data)
    return [crc32c(view[start : start + chunk_bytes]) for start in range(0, len(view), chunk_bytes)]


def combine(crc_a: int, crc_b: int, length_b: int) -> int:
    """The CRC32C of A followed by B, from their own CRCs and the length of B in bytes.

    A file's checksum comes from its blocks' this way, a block's from its chunks', unread.
    """
    return _multiply(_shift(length_b), crc_a) ^ crc_b


def combine_chunks(crcs: list[int], length_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """The CRC32C of ``length_bytes`` of data whose ``chunk_crcs`` are ``crcs``."""
    whole = 0
    left = length_bytes
    for crc in crcs:
        size = min(chunk_bytes, left)
        whole = combine(whole, crc, size)
        left -= size
    assert left == 0, (len(crcs), length_bytes, chunk_bytes)
    return whole


# CRCs are polynomials over GF(2) modulo the Castagnoli one, written with the lowest power in the highest
# bit. Appending n bytes multiplies by x^(8n) (Adler, zlib's crc32_combine).


def _multiply(a: int, b: int) -> int:
    product = 0
    bit = 1 << 31
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = b >> 1 ^ _REFLECTED if b & 1 else b >> 1
    return product


@lru_cache(maxsize=256)
def _shift(length_bytes: int) -> int:
    """x^(8 * length_bytes)."""
    power, square = 1 << 31, 1 << 23  # 1, x^8
    while length_bytes:
        if length_bytes & 1:
            power = _multiply(square, power)
        square = _multiply(square, square)
        length_bytes >>= 1
    return power
