import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from esdfs.errors import NotLeader
from esdfs.namenode.rest.confirming import Confirmations


class Engine:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.rounds: list[asyncio.Future[None]] = []

    async def ask(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.rounds.append(future)
        await future


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    return lambda: asyncio.run(test())


async def turn() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


@in_loop
async def test_reads_that_come_together_ask_once() -> None:
    engine = Engine()
    confirmations = Confirmations(engine.ask)
    reads = [asyncio.create_task(confirmations.confirm()) for _ in range(50)]
    await turn()
    assert len(engine.rounds) == 1

    engine.rounds[0].set_result(None)
    await asyncio.gather(*reads)


@in_loop
async def test_a_read_that_comes_during_a_round_waits_for_the_next_one() -> None:
    engine = Engine()
    confirmations = Confirmations(engine.ask)
    first = asyncio.create_task(confirmations.confirm())
    await turn()
    late = [asyncio.create_task(confirmations.confirm()) for _ in range(3)]
    await turn()

    engine.rounds[0].set_result(None)
    await first
    await turn()
    assert (len(engine.rounds), [read.done() for read in late]) == (2, [False, False, False])
    engine.rounds[1].set_result(None)
    await asyncio.gather(*late)


@in_loop
async def test_a_refusal_reaches_those_of_its_round_only() -> None:
    engine = Engine()
    confirmations = Confirmations(engine.ask)
    first = [asyncio.create_task(confirmations.confirm()) for _ in range(2)]
    await turn()
    second = asyncio.create_task(confirmations.confirm())
    await turn()

    engine.rounds[0].set_exception(NotLeader("ask nn-2"))
    for read in first:
        with pytest.raises(NotLeader):
            await read
    await turn()
    engine.rounds[1].set_result(None)
    await second


@in_loop
async def test_a_reader_that_goes_away_takes_nobody_along() -> None:
    engine = Engine()
    confirmations = Confirmations(engine.ask)
    leaves, stays = (asyncio.create_task(confirmations.confirm()) for _ in range(2))
    await turn()
    leaves.cancel()
    await turn()

    engine.rounds[0].set_result(None)
    await stays
