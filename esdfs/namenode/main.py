"""A NameNode, put together by hand: settings to objects, objects to a running process.

One engine process (this one) and one gunicorn child that serves REST. The child dies with its parent.
"""

import asyncio
import gc
import os
import signal
import sys
from typing import Any, Final

import structlog
import uvloop

from esdfs.env_os import OsClock, OsRng
from esdfs.errors import InvalidRequest, Unavailable
from esdfs.namenode.audit.indexer import IndexerProcess
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.manager import BlockManager
from esdfs.namenode.checkpoints.keeper import CheckpointKeeper
from esdfs.namenode.checkpoints.recovery import restore
from esdfs.namenode.children import Child
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.directory import locked, open_own_journal, ready_line
from esdfs.namenode.joining import Part
from esdfs.namenode.leases import LeaseTable
from esdfs.namenode.metadata_manager import MetadataManager
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import forget_if_foreign
from esdfs.namenode.rest.gunicorn_conf import command
from esdfs.namenode.service import Service
from esdfs.namenode.socket_server import Connection, bind
from esdfs.namenode.upgrading import require_supported
from esdfs.telemetry import configure_logging

EXIT_FAILED: Final = 70
_REST_READY_S: Final = 30.0
_REST_STOP_S: Final = 10.0
_YOUNG_OBJECTS: Final = 20_000
_log = structlog.get_logger(__name__)


def main(config: NameNodeConfig) -> int:
    """Run until SIGTERM; returns the exit status.

    Prints one JSON line to stdout when the node serves.

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
    clock, rng = OsClock(), OsRng()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    journal, identity = open_own_journal(config)
    store = ProjectionStore(
        config.path, bytes_max=config.projection_bytes_max, level_max=config.features.newest
    )
    forget_if_foreign(store, journal)
    found = restore(store, journal, config.path, _loading)
    require_supported(store, journal, config.features)
    part = Part(config, journal, identity, store, clock, rng, found, progress=_progress)
    if not await part.begin(store, stopping):
        await part.stop()
        journal.close()
        return _early_end(part)
    metadata = MetadataManager(journal, identity, part.quorum, store)
    locations = LocationsStore(config.path)
    blocks = BlockManager(config, locations, metadata, clock, rng, structlog.get_logger("blocks"))
    leases = LeaseTable(clock, soft_ms=config.lease_soft_ms, hard_ms=config.lease_hard_ms)
    checkpoints = CheckpointKeeper(
        config, journal, metadata, part.quorum, clock, newest=next(iter(journal.checkpoints()), None)
    )
    service = Service(config, metadata, blocks, leases, clock, quorum=part.quorum, checkpoints=checkpoints)
    service.start()
    await checkpoints.start()
    await part.start(service)
    server = await loop.create_unix_server(lambda: Connection(service.receive), sock=bind(config.socket_path))
    # What was built until here lives as long as the process: collections need not look at it again.
    gc.collect()
    gc.freeze()
    # A slice of a report makes thousands of tuples, and no cycles: looking for them at each 700 is in vain.
    gc.set_threshold(_YOUNG_OBJECTS)
    indexing: asyncio.Future[None] | None = None
    rest = await Child.start(command(config))
    try:
        await _wait_ready(config, rest)
        indexing = asyncio.ensure_future(IndexerProcess(config.path).keep())
        print(ready_line(config), flush=True)  # noqa: T201 - the line that starters wait for
        return await _serve(service, rest, stopping)
    finally:
        await part.leave()
        await rest.end(within_s=_REST_STOP_S)  # first: what it has forwarded is still answered
        if indexing is not None:
            indexing.cancel()
            await asyncio.wait([indexing])
        server.close()
        await checkpoints.stop()
        await part.stop()
        await service.stop()
        blocks.close()
        metadata.close()


async def _serve(service: Service, rest: Child, stopping: asyncio.Event) -> int:
    stop = asyncio.ensure_future(stopping.wait())
    child = asyncio.ensure_future(rest.wait())
    ends: set[asyncio.Future[Any]] = {stop, child, service.failed}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if service.failed.done():
        # No clean-up that writes: what failed may be the disk.
        _log.error("this node cannot go on", why=service.failed.result())
        os._exit(EXIT_FAILED)
    if child.done():
        _log.error("the REST server ended", status=child.result())
        return EXIT_FAILED
    return 0


def _early_end(part: Part) -> int:
    if part.driver.failed.done():
        _log.error("this node cannot go on", why=part.driver.failed.result())
        return EXIT_FAILED
    return 0


def _progress(applied: int, target: int) -> None:
    if target - applied > 0 or applied > 500_000:
        print(f"rebuilding: {applied} of {target} records", file=sys.stderr)  # noqa: T201


def _loading(done_bytes: int, total_bytes: int) -> None:
    print(f"loading a checkpoint: {done_bytes} of {total_bytes} bytes", file=sys.stderr)  # noqa: T201


async def _wait_ready(config: NameNodeConfig, rest: Child) -> None:
    deadline = asyncio.get_running_loop().time() + _REST_READY_S
    while not await _answers(config.rest_host, config.rest_port):
        if rest.returncode is not None or asyncio.get_running_loop().time() > deadline:
            raise Unavailable(f"the REST server did not start on {config.rest_host}:{config.rest_port}")
        await asyncio.sleep(0.05)


async def _answers(host: str, port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        writer.write(b"GET /health/live HTTP/1.0\r\n\r\n")
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()
