"""A witness: a vote and a journal, and nothing else.

It holds no namespace and serves no clients, so that a third vote costs little. When it had to lead (it alone
held the newest records) it gives way to the first full NameNode that has them.
"""

import asyncio
import gc
import os
import signal
from typing import Any, Final

import structlog
import uvloop

from esdfs.env_os import OsClock, OsRng
from esdfs.errors import InvalidRequest
from esdfs.ids import Txid
from esdfs.namenode.checkpoints.opaque import OpaqueKeeper
from esdfs.namenode.checkpoints.recovery import find, tidy
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.directory import locked, open_own_journal, ready_line
from esdfs.namenode.member import Member, examine
from esdfs.namenode.upcasters import LEVEL_OLDEST
from esdfs.telemetry import configure_logging

EXIT_FAILED: Final = 70
_log = structlog.get_logger(__name__)


def main(config: NameNodeConfig) -> int:
    """Run until SIGTERM; returns the exit status.

    Prints one JSON line to stdout when it takes part.

    Raises:
        EsdfsError: It cannot start; nothing was changed.
    """
    if not __debug__:
        # Assertions are how the core notices that it may no longer be trusted.
        raise InvalidRequest("python -O removes esdfs's invariants: run it without -O")
    configure_logging()
    with locked(config.path):
        return uvloop.run(_run(config))


async def _run(config: NameNodeConfig) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    journal, identity = open_own_journal(config)
    tidy(journal, config.path)
    found = find(journal, config.path)
    member = Member(
        config,
        journal,
        identity,
        OsClock(),
        OsRng(),
        disk=examine(config, journal, identity, found),
        level=lambda: LEVEL_OLDEST,  # it applies nothing; everybody reads the oldest shapes
        applied_txid=Txid(0),  # no projection vouches for anything
        found=found,
        check=lambda _header: None,  # it keeps the file as it is
        on_installed=lambda _txid: None,
        on_commit=lambda _txid: None,
        on_role=lambda change: _log.info("role", role=change.role, epoch=change.epoch),
    )
    keeper = OpaqueKeeper(config, journal, member.driver, member.exchange, OsClock(), identity.cluster_id)
    await keeper.start()
    await member.start()
    keeping = asyncio.ensure_future(keeper.keep())
    gc.collect()
    gc.freeze()
    print(ready_line(config), flush=True)  # noqa: T201 - the line that starters wait for
    ends: set[asyncio.Future[Any]] = {
        asyncio.ensure_future(stopping.wait()),
        member.driver.failed,
        keeping,
    }
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if member.driver.failed.done():
        # No clean-up that writes: what failed may be the disk.
        _log.error("this node cannot go on", why=member.driver.failed.result())
        os._exit(EXIT_FAILED)
    if keeping.done():
        _log.error("this node cannot go on", why=repr(keeping.exception()))
        os._exit(EXIT_FAILED)
    keeping.cancel()
    await keeper.stop()
    await member.stop()
    journal.close()
    return 0
