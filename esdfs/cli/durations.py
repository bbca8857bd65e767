"""Lengths of time as people write them."""

import re
from typing import Final

_DURATION: Final = re.compile(r"(\d{1,9})\s*([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

FORM: Final = "a duration like 90m, 12h, 7d or 2w"


def parse_duration(text: str) -> int | None:
    """Seconds of ``90s``, ``15m``, ``12h``, ``7d``, ``2w``; None when it is none (say ``FORM``)."""
    found = _DURATION.fullmatch(text.strip())
    return None if found is None else int(found[1]) * _SECONDS[found[2]]
