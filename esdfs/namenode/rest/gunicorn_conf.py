"""How the engine starts gunicorn, and gunicorn's settings (it reads this module as its configuration).

What differs between NameNodes is on the command line.
"""

import os
import sys
from pathlib import Path
from typing import Any, Final

from esdfs.env_os import die_with
from esdfs.namenode.config import NameNodeConfig, load

DIRECTORY_VARIABLE: Final = "ESDFS_NAMENODE_DIR"
ALONE_VARIABLE: Final = "ESDFS_ALONE"
_ENGINE_PID_VARIABLE: Final = "ESDFS_ENGINE_PID"

worker_class = "esdfs.namenode.rest.server.Worker"
preload_app = False
timeout = 60  # of the worker's own pulse, not of a request
graceful_timeout = 10
keepalive = 75  # longer than clients keep idle connections, so that they close first
backlog = 2048
max_requests = 0
accesslog = None
errorlog = "-"
loglevel = "warning"
# The pulse is a file touched once a second: never on a disk that may stall.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn makes its own file in it


def command(config: NameNodeConfig | str | Path, bind: str = "", *, alone: bool = False) -> list[str]:
    """The argv with which the engine starts gunicorn, as its direct child.

    gunicorn and its workers die with the process that starts them (``gunicorn_conf``).

    Args:
        config: Of the NameNode; or its directory, or the ``namenode.toml`` in it.
        bind: ``host:port``, or ``fd://N`` of a listening socket the child inherits; "" = as configured.
        alone: There can be no other NameNode: reads need nobody's word that this one leads.
    """
    if not isinstance(config, NameNodeConfig):
        path = Path(config).absolute()
        config = load(path.parent if path.name == "namenode.toml" else path)
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:esdfs.namenode.rest.gunicorn_conf",
        "--no-control-socket",
        "--env",
        f"{DIRECTORY_VARIABLE}={config.path}",
        "--env",
        f"{_ENGINE_PID_VARIABLE}={os.getpid()}",
        *(["--env", f"{ALONE_VARIABLE}=1"] if alone else []),
        "--workers",
        str(config.rest_workers),
        "--bind",
        bind or f"{config.rest_host}:{config.rest_port}",
        "esdfs.namenode.rest.server:create()",
    ]


def on_starting(server: Any) -> None:
    """In the master, before it listens."""
    del server
    if parent := os.environ.get(_ENGINE_PID_VARIABLE):
        die_with(int(parent))


def post_fork(server: Any, worker: Any) -> None:
    """In each worker, before the application is made."""
    del worker
    die_with(server.pid)


def post_worker_init(worker: Any) -> None:
    """In each worker, once the application is made: what was loaded stays, so never scan it again."""
    import gc  # noqa: PLC0415 - gunicorn takes every name in this module for a setting

    del worker
    gc.collect()
    gc.freeze()
