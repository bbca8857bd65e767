"""Nodes die, lose disks, rot, leave, come and fill up: every block stays whole, and no client notices.

`./dev bench datanodes --files 20000` is the same with more blocks.
"""

from tests.faults.datanodes import through_it_all

BLOCKS = 1_000


def test_every_block_stays_whole_whatever_befalls_datanodes() -> None:
    for what, seconds, seen in through_it_all(BLOCKS):
        print(f"{what:<22}{seconds:8.1f} s  {seen}")  # noqa: T201 - the table is the point
