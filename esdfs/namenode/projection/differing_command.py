"""``python -m esdfs.namenode.projection.differing_command DIR FROM TO PATH``, beside a running engine.

Prints the answer of ``GET /diff``, or an error as ``{"code", "message", "details"}``. A long difference
belongs in a process of its own: it compares every entry that was touched.
"""

import sys
from pathlib import Path

import msgspec

from esdfs.errors import EsdfsError
from esdfs.namenode.projection.differing import Change
from esdfs.namenode.projection.lmdb import open_reader


def encoded(changes: list[Change], before: int, after: int) -> bytes:
    """The answer of ``GET /diff``."""
    return msgspec.json.encode({"from_txid": before, "to_txid": after, "changes": changes})


def command(directory: Path, before: int, after: int, path: str) -> list[str]:
    """The argv of it."""
    return [sys.executable, "-m", __name__, str(directory), str(before), str(after), path]


def _main(directory: str, before: str, after: str, path: str) -> bytes:
    try:
        with open_reader(Path(directory)).snapshot() as view:
            found = view.difference(int(before), int(after), path)
    except EsdfsError as error:
        refusal = {"code": error.code, "message": error.message, "details": error.details}
        return msgspec.json.encode(refusal)
    return encoded(found, int(before), int(after))


if __name__ == "__main__":
    sys.stdout.buffer.write(_main(*sys.argv[1:]))
