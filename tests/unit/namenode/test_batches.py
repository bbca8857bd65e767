"""What others committed is applied in slices that keep nobody waiting."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from esdfs.ids import Nanos
from esdfs.namenode import commands as cmd
from esdfs.namenode.batches import APPLY_SLICE_NS, Batches
from esdfs.namenode.projection.digest import digest
from tests.unit.namenode.world import FakeClock, World


class Slow(FakeClock):
    """Each look at it takes half of a slice, as a long record does."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0

    def monotonic_ns(self) -> Nanos:
        self.now_ns += APPLY_SLICE_NS // 2
        return Nanos(self.now_ns)


def test_a_backlog_of_long_records_is_applied_a_few_at_a_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(20):
        world.run(cmd.MakeDirectory(f"/d{number}"))
    before, last = digest(world.store), world.txid
    world.store.clear()
    seen: list[int] = []

    async def all_of_it() -> None:
        done = asyncio.Event()

        def committed(*_: object) -> None:
            seen.append(world.txid)
            if world.txid == last:
                done.set()

        nobody: Any = SimpleNamespace(holds=False)
        batches = Batches(
            world.metadata,
            nobody,
            nobody,
            world.engine,
            Slow(),
            on_committed=committed,
            fail=lambda why: seen.append(-len(why)),
            not_leader=lambda: (_ for _ in ()).throw(AssertionError("nobody asks")),
        )
        batches.apply_committed()
        assert seen == [2], "one slice, then others have their turn"
        await asyncio.wait_for(done.wait(), 10)

    asyncio.run(all_of_it())
    assert len(seen) >= last // 2
    assert seen[-1] == last
    assert digest(world.store) == before
    world.close()
