"""One gunicorn worker's application: everything is opened here, after the fork."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

from falcon.asgi import App, Request, Response
from uvicorn_worker import UvicornWorker

from esdfs.env_os import OsClock, OsRng
from esdfs.errors import Unavailable
from esdfs.journal.sql import open_reader as open_journal
from esdfs.namenode import config
from esdfs.namenode.audit.reading import AuditReader
from esdfs.namenode.blocks.locations import open_reader as open_locations
from esdfs.namenode.engine_client import EngineClient
from esdfs.namenode.projection.digest import command as digest_command
from esdfs.namenode.projection.lmdb import open_reader as open_projection
from esdfs.namenode.rest.app import create_app
from esdfs.namenode.rest.gunicorn_conf import DIRECTORY_VARIABLE
from esdfs.namenode.sole_vote import SoleVoteReader
from esdfs.telemetry import configure_logging


class Worker(UvicornWorker):  # type: ignore[misc]  # uvicorn_worker ships no types
    """gunicorn's worker class: uvloop and httptools, and no access log (the journal is the audit log)."""

    CONFIG_KWARGS: Final[dict[str, Any]] = {
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "proxy_headers": False,  # the peer is journaled: it must be who connected
        "server_header": False,
        "date_header": False,
        "timeout_graceful_shutdown": 5,
    }


def create() -> App[Request, Response]:
    """The application of the NameNode whose directory the environment names. Called in each worker."""
    configure_logging()
    settings = config.load(Path(os.environ[DIRECTORY_VARIABLE]))

    async def digest() -> bytes:
        return await _output(digest_command(settings.path))

    stop = _Stop()
    reader = open_projection(settings.path)
    journal = open_journal(settings.database_url)
    app = create_app(
        stopping=stop.told,
        digest=digest,
        reader=reader,
        beside=_output,
        locations=open_locations(settings.path),
        engine=EngineClient(settings.socket_path),
        journal=journal,
        audit=AuditReader(settings.path, journal, reader),
        settings=settings,
        clock=OsClock(),
        rng=OsRng(),
        is_sole=SoleVoteReader(settings.path).is_sole,
    )
    app.add_middleware(stop)
    return app


class _Stop:
    """Hears the signal to stop before uvicorn does, which then waits for every request to end."""

    def __init__(self) -> None:
        self._told = False

    def told(self) -> bool:
        return self._told

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        del scope, event
        uvicorns = signal.getsignal(signal.SIGTERM)

        def tell(number: int, frame: FrameType | None) -> None:
            self._told = True
            assert callable(uvicorns), "uvicorn catches its signals before it starts the application"
            uvicorns(number, frame)

        signal.signal(signal.SIGTERM, tell)


async def _output(argv: list[str]) -> bytes:
    """What a program prints. A process of its own, so that its work delays no request."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise Unavailable(f"{argv[2]} ended with status {process.returncode}: the NameNode's log says why")
    return printed
