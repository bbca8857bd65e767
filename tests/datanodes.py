"""Real DataNode processes, and a NameNode small enough to see through."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from esdfs.rpc.messages import Target

ROOT = Path(__file__).parent.parent
PATIENCE_S = 30.0


class Process:
    """One DataNode process on its own volumes; it may be killed and started again."""

    def __init__(self, node_id: str, directory: Path, namenodes: list[str], **settings: Any) -> None:
        self.node_id = node_id
        self.volume = directory / node_id
        self._settings = {
            "node_id": node_id,
            "volumes": [str(self.volume)],
            "namenodes": namenodes,
            "reserve_bytes": 0,
            "heartbeat_interval_ms": 100,
            "scrub_period_s": 0,
            "log_level": "ERROR",
            **settings,
        }
        self.log = directory / f"{node_id}.log"
        self.start()

    def start(self, **settings: Any) -> None:
        self._settings.update(settings)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "esdfs.datanode.main"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(self._settings))
        self.process.stdin.close()
        line = self.process.stdout.readline()
        if not line:
            self.wait()
            raise RuntimeError(self.log.read_text())
        self.ready = msgspec.json.decode(line)
        self.address: str = self.ready["address"]

    @property
    def target(self) -> Target:
        return Target(self.node_id, self.address)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        process = self.process  # another thread may start the next one meanwhile
        code = process.wait(PATIENCE_S)
        if process.stdout is not None:
            process.stdout.close()
        return code

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait()

    def files(self, directory: str) -> list[str]:
        return sorted(p.name for p in (self.volume / directory).rglob("*") if p.is_file())


@contextmanager
def running(directory: Path, namenodes: list[str], count: int, **settings: Any) -> Iterator[list[Process]]:
    nodes = []
    try:
        for number in range(1, count + 1):
            nodes.append(Process(f"dn-{number}", directory, namenodes, **settings))  # noqa: PERF401 - those started must be stopped
        yield nodes
    finally:
        for node in nodes:
            node.stop()


class NameNode:
    """Answers DataNodes over HTTP and remembers all they said."""

    def __init__(self, cluster_id: str = "cluster-1") -> None:
        self.cluster_id = cluster_id
        self.epoch = 1
        self.calls: list[tuple[str, str, dict[str, Any], str | None]] = []
        self.commands: list[dict[str, Any]] = []
        self.known: set[str] = set()
        self.refusal: tuple[int, str] | None = None
        self.full_report = False
        self.interval_ms = 100
        self.next_ms = 0
        self.changed = threading.Condition()
        namenode = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = namenode.answer(
                    self.command, self.path, body, self.headers.get("Authorization")
                )
                raw = msgspec.json.encode(answer)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_PUT = do_POST  # noqa: N815 - the name http.server looks for

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def answer(
        self, method: str, path: str, body: dict[str, Any], authorization: str | None
    ) -> tuple[int, dict[str, Any]]:
        with self.changed:
            self.calls.append((method, path, body, authorization))
            self.changed.notify_all()
            if self.refusal is not None:
                return self.refusal[0], {"code": self.refusal[1], "detail": "as the test wants it"}
            if path == "/datanodes/register":
                self.known.add(body["node_id"])
                return 200, {
                    "cluster_id": self.cluster_id,
                    "number": len(self.known),
                    "heartbeat_interval_ms": self.interval_ms,
                    "epoch": self.epoch,
                }
            node_id = path.split("/")[2]
            if node_id not in self.known:
                return 404, {"code": "unknown-datanode", "detail": "register first"}
            if path.endswith("/heartbeat"):
                mine = [c for c in self.commands if c.get("to", node_id) == node_id]
                self.commands = [c for c in self.commands if c not in mine]
                full, self.full_report = self.full_report, False
                return 200, {
                    "epoch": self.epoch,
                    "full_report": full,
                    "next_ms": self.next_ms,
                    "commands": [{k: v for k, v in c.items() if k != "to"} for c in mine],
                }
            return 200, {"epoch": self.epoch}

    def bodies(self, path_end: str, node_id: str = "") -> list[dict[str, Any]]:
        return [body for _, path, body, _ in self.calls if path.endswith(path_end) and node_id in path]

    def reported(self, kind: str, node_id: str) -> list[list[Any]]:
        return [entry for body in self.bodies("/blocks", node_id) for entry in body[kind]]

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Until ``condition`` holds; every message is a reason to look again."""
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_S), f"waited in vain until {what}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def is_root() -> bool:
    return os.geteuid() == 0
