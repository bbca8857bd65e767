"""``python -m esdfs.namenode.projection.costs_command DIR DEPTH NOW_US``, beside a running engine.

Prints the answer of ``GET /retention/report``. It reads everything, so it belongs in a process of its own.
"""

import sys
from pathlib import Path

import msgspec

from esdfs.namenode.projection.lmdb import open_reader


def command(directory: Path, depth: int, now_us: int) -> list[str]:
    """The argv of it."""
    return [sys.executable, "-m", __name__, str(directory), str(depth), str(now_us)]


def _main(directory: str, depth: str, now_us: str) -> bytes:
    with open_reader(Path(directory)).snapshot() as view:
        return msgspec.json.encode(view.costs(int(depth), int(now_us)))


if __name__ == "__main__":
    sys.stdout.buffer.write(_main(*sys.argv[1:]))
