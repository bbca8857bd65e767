"""Keeps the block manager's time inside the engine's loop."""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from esdfs.namenode.blocks.manager import BlockManager

TICK_S: Final = 0.5
CLEANUP_S: Final = 2.0
_BREATH_S: Final = 0.005
"""Between slices of work: other calls get their turn."""


class DataNodeMonitor:
    """Two tasks: one watches DataNodes and blocks, one cleans up after them."""

    def __init__(
        self, manager: BlockManager, logger: FilteringBoundLogger, *, tick_s: float = TICK_S
    ) -> None:
        self._manager = manager
        self._log = logger
        self._tick_s = tick_s
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> list[asyncio.Task[None]]:
        """Begin, in the running loop.

        Returns the tasks: one that ends by itself ended with an error, and nothing here may be trusted then.
        """
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._monitor_loop(), name="datanode monitor"),
            loop.create_task(self._cleanup_loop(), name="datanode clean-up"),
        ]
        return self._tasks

    async def stop(self) -> None:
        """End both tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _monitor_loop(self) -> None:
        while True:
            more = self._manager.tick()
            await asyncio.sleep(_BREATH_S if more else self._tick_s)

    async def _cleanup_loop(self) -> None:
        while True:
            await asyncio.sleep(CLEANUP_S)
            self._manager.cleanup()
