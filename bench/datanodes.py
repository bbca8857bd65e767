"""Every misfortune of DataNodes in turn, under traffic: how long until every block is whole again."""

from collections.abc import Iterator
from typing import Any

from tests.faults.datanodes import through_it_all

BLOCKS = 1_000


def run(files: int = BLOCKS) -> Iterator[dict[str, Any]]:
    """Rows; stops with an error when a client saw any.

    Args:
        files: Of a block each; 20000 for a full proof.
    """
    for what, seconds, seen in through_it_all(files):
        yield {
            "name": f"{what}: {seen}",
            "value": round(seconds, 1),
            "unit": "s",
            "limit": None,
            "limit_name": "",
            "ratio": None,
        }
