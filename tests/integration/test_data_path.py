"""Bytes of files go between clients and DataNodes: what a client exchanges with NameNodes is counted."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from esdfs.blocks import MIB
from esdfs.client import DFSClient
from tests.blocks import content
from tests.cluster import cluster

DATA = content(24 * MIB)


class Counter(socketserver.ThreadingTCPServer):
    """Passes connections on to a NameNode, and counts and keeps what goes either way."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        host, port = urlsplit(url).hostname, urlsplit(url).port
        assert host is not None
        assert port is not None
        self.behind = (host, port)
        self.seen = bytearray()


class Passing(socketserver.BaseRequestHandler):
    """One connection."""

    server: Counter

    def handle(self) -> None:
        with socket.create_connection(self.server.behind) as behind:
            there = threading.Thread(target=self.copy, args=(self.request, behind), daemon=True)
            there.start()
            self.copy(behind, self.request)
            there.join()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.server.seen += data
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@contextmanager
def counting(url: str) -> Iterator[Counter]:
    with Counter(url) as counter:
        serving = threading.Thread(target=counter.serve_forever)
        serving.start()
        try:
            yield counter
        finally:
            counter.shutdown()
            serving.join()


def test_no_byte_of_a_file_goes_through_a_namenode() -> None:
    with (
        cluster("--datanodes", "2", "--block-size", "4M") as live,
        counting(live.url) as counter,
    ):
        with DFSClient("http://{}:{}".format(*counter.server_address)) as dfs:
            dfs.write_bytes("/file", DATA)
            assert dfs.read_bytes("/file") == DATA
        assert b"/files/upload" in counter.seen, "it is what the client said to the NameNode"
        assert len(counter.seen) < len(DATA) // 500
        assert all(DATA[at : at + 8] not in counter.seen for at in range(0, len(DATA), 64 * 1024))
