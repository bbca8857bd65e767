"""A NameNode small enough to see through: real HTTP, a dictionary for a namespace, and faults on request."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from esdfs.blocks import MIB
from esdfs.rpc.messages import Target


class Request(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    headers: dict[str, str]


class Response(NamedTuple):
    """One answer. Status 0 hangs up instead."""

    status: int
    body: Any
    headers: Mapping[str, str] = MappingProxyType({})


HANG_UP = Response(0, None)


def problem(status: int, code: str, detail: str = "as the test wants it", **more: Any) -> Response:
    return Response(status, {"code": code, "detail": detail, "status": status, **more})


class Server:
    """Answers with whatever ``answer`` says, and remembers all requests."""

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self.requests: list[Request] = []
        self.connections: list[socket.socket] = []
        self.answer = answer
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                server.connections.append(self.connection)

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(
                    self.command,
                    unquote(parts.path),
                    dict(parse_qsl(parts.query)),
                    msgspec.json.decode(raw) if raw else {},
                    dict(self.headers),
                )
                server.requests.append(request)
                response = server.answer(request)
                if response.status == 0:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = msgspec.json.encode(response.body)
                self.send_response(response.status)
                for name, value in {"Esdfs-Txid": "7", **response.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with suppress(ConnectionError):  # the client may have left by now
                    self.wfile.write(data)

            do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815 - the names http.server looks for

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        for connection in self.connections:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


@contextmanager
def serving(answer: Callable[[Request], Response]) -> Iterator[Server]:
    server = Server(answer)
    try:
        yield server
    finally:
        server.close()


def answers(*responses: Response) -> Callable[[Request], Response]:
    """One after the other; the last for ever."""
    left = list(responses)
    return lambda _request: left.pop(0) if len(left) > 1 else left[0]


def free_url() -> str:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


# Of blocks and files, never used twice in one process: the DataNodes outlive each test's namespace.
_numbers = itertools.count(1)


class Namespace:
    """Files by path, blocks on the DataNodes given; enough for writers and readers."""

    def __init__(self, nodes: list[Target], *, block_size_bytes: int = MIB, replication: int = 2) -> None:
        self.nodes = nodes
        self.block_size_bytes = block_size_bytes
        self.replication = replication
        self.files: dict[str, dict[str, Any]] = {}
        self.directories: set[str] = {"/"}
        self.open: dict[int, dict[str, Any]] = {}
        self.abandoned: list[str] = []
        self.aborted: list[int] = []
        self.renewed: list[int] = []
        self.first = 0  # index of the node that heads the next pipeline; 0, 0, 0, … unless turned
        self._lock = threading.Lock()

    def allocate(self, count: int, exclude: list[str]) -> list[dict[str, Any]]:
        fit = [node for node in self.nodes if node.node_id not in exclude]
        turned = fit[self.first :] + fit[: self.first]
        return [
            {
                "block_id": str(next(_numbers)),
                "generation": 1,
                "targets": [{"node_id": t.node_id, "address": t.address} for t in turned[: self.replication]],
            }
            for _ in range(count)
        ]

    def __call__(self, request: Request) -> Response:
        with self._lock:
            return self._answer(request)

    def _answer(self, request: Request) -> Response:
        words = request.path.strip("/").split("/")
        body = request.body
        match request.method, words:
            case "POST", ["files", "upload"]:
                return self._create(body)
            case "POST", ["files", number, "blocks"]:
                self.abandoned += body["abandon"]
                if len([n for n in self.nodes if n.node_id not in body["exclude"]]) < self.replication:
                    return problem(503, "not-enough-datanodes", "too few DataNodes")
                return Response(200, {"blocks": self.allocate(body["count"], body["exclude"])})
            case "POST", ["files", number, "complete"]:
                return Response(200, self._complete(int(number), body))
            case "POST", ["files", number, "abort"]:
                self.open.pop(int(number), None)
                self.aborted.append(int(number))
                return Response(200, {})
            case "POST", ["files", number, "lease"]:
                self.renewed.append(int(number))
                return Response(200, {"expires_in_ms": 60_000})
            case "POST", ["transactions"]:
                return self._transact(body["commands"])
            case "GET", ["files"]:
                return self._status(request.query["path"])
            case "GET", ["files", number]:
                found = [path for path, file in self.files.items() if file["file_id"] == number]
                return self._status(found[0]) if found else problem(404, "not-found")
            case "GET", ["directories", *names]:
                return self._list("/" + "/".join(name for name in names if name))
            case _:
                return problem(404, "no-such-endpoint")

    def _create(self, body: dict[str, Any]) -> Response:
        if body["path"] in self.files and not body.get("overwrite"):
            return problem(409, "already-exists", f"{body['path']} exists", path=body["path"])
        number = next(_numbers)
        self.open[number] = body
        return Response(
            201,
            {
                "file_id": str(number),
                "lease": body["lease"],
                "block_size_bytes": body.get("block_size_bytes") or self.block_size_bytes,
                "replication": self.replication,
                "blocks": self.allocate(body.get("blocks", 0), []),
            },
        )

    def _complete(self, number: int, body: dict[str, Any]) -> dict[str, Any]:
        opened = self.open.pop(number)
        addresses = {node.node_id: node.address for node in self.nodes}
        located, offset = [], 0
        for block in body["blocks"]:
            located.append(
                {
                    **block,
                    "block_id": str(block["block_id"]),
                    "crc32c": f"{block['crc32c']:08x}",
                    "offset": offset,
                    "locations": [
                        {"node_id": node_id, "address": addresses[node_id]} for node_id in block["replicas"]
                    ],
                }
            )
            offset += block["length_bytes"]
        status = {
            "path": opened["path"],
            "type": "file",
            "file_id": str(number),
            "size_bytes": offset,
            "mtime": "2026-01-01T00:00:00.000000Z",
            "mode": opened["mode"] if isinstance(opened["mode"], str) else f"{opened['mode']:04o}",
            "replication": self.replication,
            "block_size_bytes": self.block_size_bytes,
            "crc32c": f"{body['crc32c']:08x}",
            "txid": 7,
            "located": located,
        }
        self.files[opened["path"]] = status
        return status

    def _transact(self, commands: list[dict[str, Any]]) -> Response:
        results: list[Any] = []
        for command in commands:
            match command["kind"]:
                case "create-file":
                    made = self._create(command)
                    if made.status != 201:
                        return made
                    results.append(made.body)
                case "complete-file":
                    self._complete(command["file_id"], command)
                    results.append({})
                case "abort-file":
                    self.open.pop(command["file_id"], None)
                    self.aborted.append(command["file_id"])
                    results.append({})
                case "make-directory":
                    self.directories.add(command["path"])
                    results.append({})
                case unknown:
                    raise AssertionError(unknown)
        return Response(200, {"txid": 7, "results": results})

    def _status(self, path: str) -> Response:
        if path in self.files:
            return Response(200, self.files[path])
        if path in self.directories:
            return Response(200, self._directory(path))
        return problem(404, "not-found", f"no such file or directory: {path}", path=path)

    def _directory(self, path: str) -> dict[str, Any]:
        return {
            "path": path,
            "type": "directory",
            "file_id": "1",
            "size_bytes": 0,
            "mtime": "2026-01-01T00:00:00Z",
        }

    def _list(self, path: str) -> Response:
        if path not in self.directories:
            return problem(404, "not-found", f"no such file or directory: {path}", path=path)
        prefix = path.rstrip("/") + "/"
        below = [p for p in (*self.files, *self.directories) if p.startswith(prefix) and p != "/"]
        direct = sorted(p for p in below if "/" not in p[len(prefix) :])
        entries = [self.files.get(p) or self._directory(p) for p in direct]
        return Response(200, {"path": path, "entries": entries, "next": None, "txid": 7})
