"""A NameNode's core answering on its command socket, in a thread, and HTTP to whatever serves it.

What DataNodes say is taken and not acted upon: the block manager is not here.
"""

import asyncio
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from esdfs.namenode.blocks.locations import DataNodeRow, LocationsStore
from esdfs.namenode.blocks.replicas import Replica
from esdfs.namenode.frames import Answer, Call, Execute, Failure, Status
from esdfs.namenode.rest.gunicorn_conf import command
from esdfs.namenode.socket_server import Connection, bind
from esdfs.namenode.sole_vote import SoleVote
from tests.unit.namenode.world import World

DEADLINE_S = 30.0


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: Any


def until(holds: Callable[[], Any], what: str) -> Any:
    """What ``holds`` returns once it is true."""
    beat = threading.Event()
    deadline = time.monotonic() + DEADLINE_S
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        beat.wait(0.02)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def ask(
    port: int, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        encoded = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if encoded else {}
        connection.request(method, target, encoded, sent | (headers or {}))
        answer = connection.getresponse()
        data = answer.read()
        return Reply(answer.status, answer.headers, json.loads(data) if data[:1] in b"{[" else data)
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/health/live").status == 200
    except OSError:
        return False


class Live(NamedTuple):
    port: int
    core: "Core"
    pid: int


@contextmanager
def serving(directory: Path) -> Iterator[Live]:
    """The core and gunicorn in front of it."""
    with serving_core(directory) as core, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        number = listening.fileno()
        port = listening.getsockname()[1]
        server = subprocess.Popen(command(core.world.config, f"fd://{number}"), pass_fds=[number])
        try:
            until(lambda: answers(port), "an answer")
            yield Live(port, core, server.pid)
        finally:
            server.terminate()
            assert server.wait(20) == 0


class Core:
    """``World`` behind the real command socket: every call of a worker is one batch."""

    def __init__(self, directory: Path) -> None:
        self.world = World(directory)
        SoleVote(directory).tell(True)
        self.locations = LocationsStore(directory)
        self.locations.put_datanodes(
            DataNodeRow(
                number=number,
                node_id=f"dn-{number}",
                uuid=f"uuid-{number}",
                incarnation=1,
                hostname="127.0.0.1",
                port=9000 + number,
            )
            for number in (1, 2)
        )

    def hold(self, block_id: int, generation: int) -> None:
        """Both DataNodes report a replica."""
        with self.locations.write() as locations:
            locations.lead(block_id, [Replica(1, generation), Replica(2, generation)])

    def close(self) -> None:
        self.locations.close()
        self.world.close()

    def receive(self, connection: Connection, call: Call) -> None:
        if isinstance(call.body, Execute):
            (settled,) = self.world.settle(call.body)
            failure = None
            if settled.error is not None:
                failure = Failure(settled.error.code, settled.error.message, settled.error.details)
            connection.answer(Answer(call.id, settled.txid, 1, failure, settled.result, settled.replayed))
            return
        if not isinstance(call.body, Status):
            raw = msgspec.Raw(msgspec.msgpack.encode({"epoch": 1, "expires_in_ms": 60_000}))
            connection.answer(Answer(call.id, self.world.txid, 1, None, raw))
            return
        head = self.world.journal.head()
        status = {
            "node_id": "nn-1",
            "role": "leader",
            "cluster_id": "c1",
            "epoch": head.epoch,
            "last_txid": head.last_txid,
            "commit_txid": head.last_txid,
            "oldest_txid": 1,
            "chain": head.chain.hex(),
        }
        raw = msgspec.Raw(msgspec.msgpack.encode(status))
        connection.answer(Answer(call.id, head.last_txid, head.epoch, None, raw))


@contextmanager
def serving_core(directory: Path) -> Iterator[Core]:
    """The core in its thread, as long as the block runs."""
    loop = asyncio.new_event_loop()
    started: Future[Core] = Future()

    async def serve() -> None:
        core = Core(directory)
        try:
            server = await loop.create_unix_server(
                lambda: Connection(core.receive), sock=bind(core.world.config.socket_path)
            )
            async with server:
                started.set_result(core)
                await stopping.wait()
        finally:
            core.close()

    def run() -> None:
        with closing(loop):
            try:
                loop.run_until_complete(serve())
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

    stopping = asyncio.Event()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield started.result(DEADLINE_S)
    finally:
        with suppress(RuntimeError):  # closed already: it never started
            loop.call_soon_threadsafe(stopping.set)
        thread.join(DEADLINE_S)
