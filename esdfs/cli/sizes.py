"""Sizes as people write them."""

import re
from typing import Final

from esdfs.errors import InvalidRequest

_SIZE: Final = re.compile(r"(\d+)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Bytes of ``65536``, ``64K``, ``64KiB``, ``1M``; units are powers of 1024.

    Raises:
        InvalidRequest: Anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest(f"{text!r} is not a size: write 65536, 64K or 1MiB")
    number, unit = match.groups()
    return int(number) << 10 * _POWERS[unit.lower()]
