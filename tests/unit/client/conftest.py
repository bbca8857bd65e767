"""Three real DataNodes for all, and a small NameNode and a client for each test."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from esdfs.client.control import Control
from esdfs.client.leases import LeaseKeeper
from esdfs.client.reader import ReaderMeans, RemoteFile
from esdfs.client.values import FileStatus
from esdfs.client.writer import WriterMeans
from esdfs.env_os import OsClock, OsRng
from esdfs.rpc.channel import Channels
from esdfs.rpc.local import LocalReaders
from tests.datanodes import Process, running
from tests.unit.client.namenode import Namespace, Server, serving


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Process]]:
    with running(tmp_path_factory.mktemp("nodes"), [], 3) as started:
        yield started


@pytest.fixture
def fresh_nodes(nodes: list[Process]) -> Iterator[list[Process]]:
    """Nodes that the test may kill: those it did are started again."""
    yield nodes
    for node in nodes:
        if node.process.poll() is not None:
            node.start()


class World(NamedTuple):
    """All there is around a writer or reader."""

    namespace: Namespace
    server: Server
    writing: WriterMeans
    reading: ReaderMeans

    def remote(self, path: str) -> RemoteFile:
        status = self.reading.control.get("/files", FileStatus, path=path)
        return RemoteFile(self.reading, status, 7)

    def content(self, path: str) -> bytes:
        remote = self.remote(path)
        return b"".join(bytes(piece) for piece in remote.pieces(0, remote.size_bytes))


@pytest.fixture
def world(nodes: list[Process]) -> Iterator[World]:
    namespace = Namespace([node.target for node in nodes])
    clock, rng = OsClock(), OsRng()
    with serving(namespace) as server, Channels() as channels:
        control = Control([server.url], token=None, user="me", clock=clock, rng=rng, timeout_s=2)
        leases = LeaseKeeper(control)
        local = LocalReaders()
        yield World(
            namespace,
            server,
            WriterMeans(control, channels, leases, clock, rng),
            ReaderMeans(control, channels, local, clock, rng, set()),
        )
        leases.close()
        local.close()
        control.close()
