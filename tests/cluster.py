"""A real cluster for tests: processes on loopback in a directory of their own, made by `esdfs local up`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

from esdfs.client import DFSClient

PATIENCE_S = 60.0
_BEAT_S = 0.02

QUICK = {
    # A loaded machine loses heartbeats: late soon, dead not too soon.
    "nn.heartbeat_interval_ms": "200",
    "nn.inactive_after_ms": "1500",
    "nn.dead_after_ms": "4000",
    "dn.reserve_bytes": "0",
    "dn.trash_delay_s": "0",
    "dn.scan_interval_s": "1",
    "dn.scrub_period_s": "0",
}
"""Settings with which nodes are missed within seconds."""


class Answer(NamedTuple):
    """What a REST call gave."""

    status: int
    headers: Message
    body: Any


class Cluster:
    """A running local cluster. ``dir`` is short: Unix sockets live below it."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.dir = directory
        self.info: dict[str, Any] = {}
        self.url = ""
        self.up(*options)

    def up(self, *options: str) -> None:
        """Start all of it, again or for the first time."""
        done = self.cli("local", "up", "--dir", str(self.dir), "--json", *options)
        self.info = json.loads(done.stdout.splitlines()[-1])
        self.url = ",".join(self.info["urls"])

    def down(self) -> None:
        self.cli("local", "down", "--dir", str(self.dir))

    def kill(self, node: str, signal: str = "KILL") -> None:
        self.cli("local", "kill", node, "--signal", signal, "--dir", str(self.dir))

    def restart(self, node: str) -> None:
        self.cli("local", "restart", node, "--dir", str(self.dir))

    def run(
        self, *args: str, stdin: bytes = b"", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """The command line, with whatever exit status."""
        return subprocess.run(
            self.command(*args),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=120,
            cwd=cwd,
            env=self.environment(),
        )

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "esdfs.cli.app", *args]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "ESDFS_URL": self.url, "ESDFS_CWD": "/"}

    def cli(self, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """The command line; fails the test when it fails."""
        done = self.run(*args, stdin=stdin)
        assert done.returncode == 0, f"{' '.join(args)}: exit {done.returncode}: {done.stderr.decode()}"
        return done

    def rows(self, *args: str) -> list[dict[str, Any]]:
        """The objects that a command prints with ``--json``."""
        return [json.loads(line) for line in self.cli(*args, "--json").stdout.splitlines()]

    def client(self, **options: Any) -> DFSClient:
        return DFSClient(self.url, **options)

    def rest(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One REST call; ``headers`` are named with underscores."""
        request = urllib.request.Request(  # noqa: S310 - our own server's URL
            self.info["urls"][0] + path,
            method=method,
            data=None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"}
            | {k.replace("_", "-"): v for k, v in headers.items()},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - see above
                return Answer(answer.status, answer.headers, _parsed(answer.read()))
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, refused.headers, _parsed(refused.read()))

    def digests(self) -> list[tuple[int, str]]:
        """(txid, digest) of each NameNode's own namespace."""
        found = []
        for url in self.info["urls"]:
            target = f"{url}/journal/digest?consistency=stale"
            with urllib.request.urlopen(target, timeout=20) as answer:  # noqa: S310 - our own server's URL
                said = json.loads(answer.read())
            found.append((said["txid"], said["digest"]))
        return found

    def volume(self, node: str) -> Path:
        """Where a DataNode keeps its replicas."""
        return self.dir / node / "data"

    def volumes(self, node: str) -> list[Path]:
        """All of a DataNode's volumes."""
        return sorted(path for path in (self.dir / node).glob("data*") if path.is_dir())

    def replicas(self, block_id: str) -> dict[str, Path]:
        """The finalized data files of a block, by node, as they are on disk."""
        found = {}
        for node in self.info["datanodes"]:
            for file in (self.volume(node["id"]) / "current").rglob(f"{block_id}_*.data"):
                found[node["id"]] = file
        return found

    def holders(self, path: str) -> list[set[str]]:
        """For each block of a file, the nodes the NameNode would send a reader to."""
        with self.client() as client:
            return [{location.node_id for location in block.locations} for block in client.blocks(path)]

    def logs(self) -> str:
        """The ends of all logs, for messages."""
        files = sorted((self.dir / "logs").glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)


@contextmanager
def cluster(
    *options: str, settings: Mapping[str, str] = QUICK, prepare: Callable[[Path], None] | None = None
) -> Iterator[Cluster]:
    """A cluster that is gone afterwards, whatever happened."""
    directory = Path(tempfile.mkdtemp(prefix="esdfs-"))
    given = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    made = None
    try:
        if prepare:
            prepare(directory)
        made = Cluster(directory, *given, *options)
        yield made
    finally:
        if made is not None:
            made.down()
        shutil.rmtree(directory, ignore_errors=True)


def eventually(condition: Callable[[], object], *, within_s: float = PATIENCE_S, what: str = "") -> None:
    """Wait until ``condition`` holds; an error in it counts as not yet."""
    beat = threading.Event()
    deadline = time.monotonic() + within_s
    last: BaseException | None = None
    while True:
        try:
            if condition():
                return
            last = None
        except Exception as error:  # noqa: BLE001 - shown below when it does not pass in time
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what or condition}") from last
        beat.wait(_BEAT_S)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body
