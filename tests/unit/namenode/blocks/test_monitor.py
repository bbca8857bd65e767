import asyncio
from collections.abc import Callable

import pytest

from esdfs.blocks import DataNodeStatus
from esdfs.namenode.blocks.monitor import DataNodeMonitor
from tests.unit.namenode.blocks.world import SILENT, World


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for knows of no event
            await asyncio.sleep(0.001)


def test_it_watches_in_the_loop_it_was_started_in_and_stops(blocks: World) -> None:
    (number,) = blocks.join("dn-1")

    async def main() -> None:
        monitor = DataNodeMonitor(blocks.manager, SILENT, tick_s=0.002)
        tasks = monitor.start()
        # Small steps of time, so that none looks like a pause of ours.
        for _ in range(20):
            blocks.clock.now_ms += 1_000
            await until(lambda: blocks.manager._nodes._ticked_ns == blocks.clock.monotonic_ns())
        await until(lambda: blocks.store.datanodes()[number].status is DataNodeStatus.DEAD)
        await monitor.stop()
        assert all(task.cancelled() for task in tasks)

    asyncio.run(main())


def test_a_broken_invariant_ends_its_task(blocks: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        raise AssertionError("broken")

    async def main() -> None:
        monkeypatch.setattr(blocks.manager, "tick", broken)
        monitor = DataNodeMonitor(blocks.manager, SILENT)
        watching, _ = monitor.start()
        with pytest.raises(AssertionError, match="broken"):
            await watching
        await monitor.stop()

    asyncio.run(main())
