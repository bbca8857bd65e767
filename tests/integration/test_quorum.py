"""Three NameNode quorums as processes: SQLite journals, gRPC between them, and kill -9.

This file is also the program they run: a list to which lines are appended, over a line protocol.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import grpc.aio
import pytest
import uvloop

from esdfs.errors import EsdfsError
from esdfs.ids import NodeId, Txid
from esdfs.journal.engines import sqlite_url
from esdfs.journal.entry import Entry
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.sql import open_reader
from esdfs.rpc.namenode import NameNodeServicer, PeerTransport, serve
from tests.drivers import Node, format_disk, voters
from tests.sim.machine import COMMAND

ROOT = Path(__file__).parents[2]
IDS = (NodeId("a"), NodeId("b"), NodeId("c"))
FAILOVER_S = 3.0  # elections take 0.5 to 1 s, and the machine may be busy
ROUNDS = 10


# --- the program ---


class Listed:
    """The state machine: lines in the order of their records."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.applied = Txid(0)
        self.node: Node | None = None

    def apply(self, commit_txid: Txid) -> None:
        assert self.node is not None
        while self.applied < commit_txid:
            for entry in self.node.driver.records(self.applied, 1000):
                assert entry.txid == self.applied + 1
                self.applied = entry.txid
                if entry.kind == COMMAND:
                    self.lines.append(entry.payload.decode())

    async def answer(self, request: str) -> dict[str, object]:
        assert self.node is not None
        driver = self.node.driver
        try:
            match request.split(" ", 1):
                case ["append", line]:
                    await self.node.write(line)
                    return {"ok": True}
                case ["list"]:
                    txid = await driver.read_index()
                    assert self.applied >= txid
                    return {"ok": True, "lines": self.lines}
                case _:
                    return {
                        "active": driver.is_active,
                        "commit": driver.commit_txid,
                        "durable": driver.node.durable_txid,
                        "last": driver.head.last_txid,
                        "applied": self.applied,
                    }
        except EsdfsError as error:
            return {"ok": False, "code": error.code}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(await self.answer(line.decode().strip())).encode() + b"\n")
            await writer.drain()
        writer.close()


async def program(directory: Path, peers: dict[str, str], address: str, client_port: int) -> None:
    listed = Listed()
    transport = PeerTransport(peers.get)
    node = listed.node = Node(directory, transport, config=QuorumConfig(), on_commit=listed.apply)
    host, _, port = address.rpartition(":")
    server: grpc.aio.Server
    server, _ = await serve(host, int(port), NameNodeServicer(node.driver))
    await node.driver.start()
    clients = await asyncio.start_server(listed.serve, "127.0.0.1", client_port)
    asked_to_stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_stop.set)
    node.driver.failed.add_done_callback(lambda _: asked_to_stop.set())
    await asked_to_stop.wait()
    if node.driver.failed.done():
        sys.exit(f"failed: {node.driver.failed.result()}")
    clients.close()
    await node.stop()
    await server.stop(None)


# --- the tests ---


class Peer:
    """One process, and how to talk to it."""

    def __init__(self, directory: Path, node_id: NodeId, addresses: dict[NodeId, str]) -> None:
        self.directory, self.node_id, self.addresses = directory, node_id, addresses
        self.client_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = directory / "log"

    def start(self) -> None:
        peers = json.dumps({key: value for key, value in self.addresses.items() if key != self.node_id})
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    __file__,
                    str(self.directory),
                    peers,
                    self.addresses[self.node_id],
                    str(self.client_port),
                ],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=log,
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(30)

    def ask(self, request: str, *, within_s: float = 2) -> dict[str, object]:
        """Empty when it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.client_port), within_s) as connection:
                connection.settimeout(within_s)
                connection.sendall(request.encode() + b"\n")
                with connection.makefile("rb") as file:
                    line = file.readline()
        except OSError:
            return {}
        found: dict[str, object] = json.loads(line) if line.endswith(b"\n") else {}
        return found

    def journal(self) -> list[Entry]:
        reader = open_reader(sqlite_url(self.directory / "journal.db"))
        try:
            return reader.read(Txid(0), limit=1_000_000)
        finally:
            reader.close()


class Trio:
    def __init__(self, directory: Path) -> None:
        addresses = {node_id: f"127.0.0.1:{free_port()}" for node_id in IDS}
        self.peers = []
        for node_id in IDS:
            format_disk(directory / node_id, node_id, voters(*IDS))
            self.peers.append(Peer(directory / node_id, node_id, addresses))
        self.acknowledged: list[str] = []
        self._tries = 0

    def append(self, among: list[Peer], *, within_s: float) -> Peer:
        """Append lines, each try another, until one is acknowledged; by whom."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for peer in among:
                self._tries += 1
                line = f"line {self._tries}"
                if peer.ask(f"append {line}").get("ok"):
                    self.acknowledged.append(line)
                    return peer
        raise AssertionError(f"no write within {within_s} s; logs: {self.logs()}")

    def settle(self) -> None:
        """Wait until all three hold, know committed and applied the same."""
        deadline = time.monotonic() + 30
        states: list[dict[str, object]] = []
        while time.monotonic() < deadline:
            states = [peer.ask("state") for peer in self.peers]
            numbers = {
                state.get(name) for state in states for name in ("commit", "durable", "last", "applied")
            }
            if len(numbers) == 1 and None not in numbers:
                return
        raise AssertionError(f"not equal: {states}; logs: {self.logs()}")

    def logs(self) -> list[str]:
        return [peer.log.read_text()[-2000:] for peer in self.peers]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    made = Trio(tmp_path_factory.mktemp("trio"))
    with ExitStack() as stack:
        for peer in made.peers:
            peer.start()
            stack.callback(peer.signal, signal.SIGKILL)
        made.append(made.peers, within_s=30)
        yield made


def test_killed_leaders_lose_nothing_that_was_acknowledged(trio: Trio) -> None:
    outages = []
    leader = trio.append(trio.peers, within_s=10)
    for number in range(ROUNDS):
        for _ in range(20):
            leader = trio.append([leader], within_s=10)
        victim = leader
        if number % 3 == 2:  # now and then a follower: nobody should notice
            victim = next(peer for peer in trio.peers if peer is not leader)
        victim.signal(signal.SIGKILL)
        began = time.monotonic()
        leader = trio.append([peer for peer in trio.peers if peer is not victim], within_s=FAILOVER_S)
        if number % 3 != 2:
            outages.append(time.monotonic() - began)
        victim.start()
        trio.settle()
    print(f"outages: median {median(outages):.2f} s, longest {max(outages):.2f} s")  # noqa: T201 - for -s
    answer = leader.ask("list")
    lines = answer["lines"]
    assert isinstance(lines, list)
    assert [line for line in trio.acknowledged if lines.count(line) != 1] == []
    acknowledged = set(trio.acknowledged)
    assert [line for line in lines if line in acknowledged] == trio.acknowledged
    journals = [peer.journal() for peer in trio.peers]
    assert journals[0] == journals[1] == journals[2]
    assert not any("Traceback" in log for log in trio.logs()), trio.logs()


def test_a_leader_asked_to_stop_hands_over_at_once(trio: Trio) -> None:
    leader = trio.append(trio.peers, within_s=10)
    trio.settle()
    leader.signal(signal.SIGTERM)
    assert leader.process is not None
    assert leader.process.returncode == 0, trio.logs()
    began = time.monotonic()
    trio.append([peer for peer in trio.peers if peer is not leader], within_s=FAILOVER_S)
    assert time.monotonic() - began < 0.4, "an election without a handover takes 0.5 s at least"
    leader.start()
    trio.settle()


def test_a_frozen_leader_is_replaced_and_does_not_acknowledge_afterwards(trio: Trio) -> None:
    leader = trio.append(trio.peers, within_s=10)
    assert leader.process is not None
    leader.process.send_signal(signal.SIGSTOP)
    others = [peer for peer in trio.peers if peer is not leader]
    trio.append(others, within_s=FAILOVER_S)
    with socket.create_connection(("127.0.0.1", leader.client_port), 10) as client:
        client.sendall(b"append what it finds when it wakes\n")
        leader.process.send_signal(signal.SIGCONT)
        with client.makefile("rb") as file:
            assert json.loads(file.readline())["ok"] is False
    trio.settle()
    lines = next(answer["lines"] for peer in others if (answer := peer.ask("list")).get("ok"))
    assert isinstance(lines, list)
    assert set(trio.acknowledged) <= set(lines)
    assert "what it finds when it wakes" not in lines


if __name__ == "__main__":
    uvloop.run(program(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
