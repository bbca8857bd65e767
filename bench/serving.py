"""A NameNode process to measure, and asking it."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from esdfs.namenode.config import NameNodeConfig


def fresh_config(path: Path) -> NameNodeConfig:
    """Of a NameNode in ``path``, on free ports."""
    return NameNodeConfig(node_id="nn-1", dir=str(path), rest_port=_free_port(), grpc_port=_free_port())


@contextmanager
def running(config: NameNodeConfig) -> Iterator[str]:
    """Its process, by the host and port of its REST server."""
    command = [sys.executable, "-m", "esdfs.cli.app", "namenode", "run", "--dir", config.dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None, "piped"
        try:
            yield json.loads(process.stdout.readline())["rest"].removeprefix("http://")
        finally:
            process.terminate()


def ask(url: str, method: str, target: str, body: object = None) -> Any:
    """One REST call's answer. Raises `RuntimeError` for a refusal."""
    connection = http.client.HTTPConnection(url, timeout=60)
    with closing(connection):
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, target, data, {"Content-Type": "application/json"} if data else {})
        reply = connection.getresponse()
        told = json.loads(reply.read())
    if reply.status >= 400:
        raise RuntimeError(f"{method} {target}: {told}")
    return told


def until(holds: Callable[[], Any], *, every_s: float = 0.0) -> None:
    """Wait for it, asking this often; a refusal counts as not yet."""
    deadline = time.monotonic() + 120
    while True:
        try:
            if holds():
                return
        except RuntimeError:
            pass  # not all there yet
        assert time.monotonic() < deadline, "not within two minutes"
        time.sleep(every_s)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def row(name: str, value: float, unit: str, limit: float | None, limit_name: str) -> dict[str, Any]:
    """A measured row beside its limit."""
    digits = 0 if value >= 1000 else 2
    return {
        "name": name,
        "value": round(value, digits),
        "unit": unit,
        "limit": None if limit is None else round(limit, 2),
        "limit_name": limit_name,
        "ratio": None if limit is None else round(value / limit, 3),
    }
