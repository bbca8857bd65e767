"""One worker's linearizable reads: those that come together share one question to the engine."""

import asyncio
from collections.abc import Awaitable, Callable


class Confirmations:
    """Rounds of a question that must be asked after each caller came; one round at a time.

    Without them each read costs the engine a call of its own, and reads are most of what is asked.

    Args:
        ask: One round; what it raises, everybody gets who waits for that round.
    """

    def __init__(self, ask: Callable[[], Awaitable[object]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def confirm(self) -> None:
        """Return once a round that began after this call is answered.

        Raises:
            EsdfsError: What ``ask`` raised.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._round())
            self._next.add_done_callback(_seen)
        # Shielded: a caller that goes away leaves the round to the others.
        await asyncio.shield(self._next)

    async def _round(self) -> None:
        async with self._asking:
            self._next = None  # who comes from here on is too late for this one
            await self._ask()


def _seen(task: "asyncio.Task[None]") -> None:
    """All who waited may have gone away."""
    if not task.cancelled():
        task.exception()
