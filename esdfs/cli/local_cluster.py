"""A whole cluster on this machine: its directory, its record, its processes."""

import contextlib
import fcntl
import http.client
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from esdfs.cli.local_layout import ClusterRecord, DataNodeRecord, Layout, NameNodeRecord, NodeRecord
from esdfs.cli.processes import spawn, stop
from esdfs.env import Clock
from esdfs.errors import NotFound, Unavailable

READY_S: Final = 60.0
_STOP_GRACE_S: Final = 10.0
_POLL_S: Final = 0.03
_REST_TIMEOUT_S: Final = 5.0
_LOG_TAIL_LINES: Final = 20
_HOST: Final = "127.0.0.1"


class LocalCluster:
    """The cluster in one directory. Hold ``locked`` around whatever changes it.

    Nodes are ``nn-1`` and ``dn-1``, ``dn-2``, …; each has a directory of its name, logs are in ``logs/``.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.dir = directory.absolute()
        self._clock = clock
        self._file = self.dir / "cluster.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands out of this directory.

        Raises:
            NotFound: There is no such directory.
        """
        try:
            lock = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise NotFound(f"{self.dir} does not exist") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def record(self) -> ClusterRecord:
        """What ``cluster.json`` says.

        Raises:
            NotFound: No cluster was ever made here.
        """
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=ClusterRecord)
        except FileNotFoundError:
            raise NotFound(
                f"there is no local cluster in {self.dir}: run `esdfs local up --dir {self.dir}`"
            ) from None

    def exists(self) -> bool:
        """Whether a cluster was made here."""
        return self._file.exists()

    def make(self, layout: Layout) -> None:
        """Lay out a new cluster; what is there already is kept. Raises as ``Layout.make`` does."""
        self._write(layout.make(self.dir))

    def add_datanodes(self, layout: Layout, count: int) -> None:
        """Lay out ``count`` further DataNodes."""
        self._write(layout.more_datanodes(self.dir, self.record(), count))

    def add(self, datanode: DataNodeRecord) -> None:
        """Take in a DataNode that was laid out, and start it. Raises as ``start_node`` does."""
        record = self.record()
        self._write(msgspec.structs.replace(record, datanodes=[*record.datanodes, datanode]))
        self.start_node(self.node(datanode.id))

    def start(self) -> None:
        """Start every node; on return each DataNode takes writes. A failure stops what was started.

        Raises:
            Unavailable: A node did not start in time; the end of its log is on stderr.
        """
        since_us = self._clock.wall_us()
        try:
            # NameNodes first: a DataNode that finds none waits before it looks again.
            for namenode in self.record().namenodes:
                self._spawn(namenode)
            for namenode in self.record().namenodes:
                self._wait_started(self.node(namenode.id))
            for datanode in self.record().datanodes:
                self._spawn(datanode)
            self._wait_active({node.id: since_us for node in self.record().datanodes})
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every node: TERM to all at once, KILL after some seconds."""
        running = [node.process for node in self.nodes() if node.process]
        stop(running, self._clock, grace_s=_STOP_GRACE_S)
        for node in self.nodes():
            self._replace(msgspec.structs.replace(node, process=None))

    def nodes(self) -> list[NodeRecord]:
        """NameNodes first."""
        record = self.record()
        return [*record.namenodes, *record.datanodes]

    def node(self, name: str) -> NodeRecord:
        """The node called ``name``; ``leader`` is the NameNode that leads.

        Raises:
            NotFound: No node has that name.
        """
        wanted = self._leader_id() if name == "leader" else name
        for node in self.nodes():
            if node.id == wanted:
                return node
        names = ", ".join(node.id for node in self.nodes())
        raise NotFound(f"there is no node {name}; there are {names}")

    def _leader_id(self) -> str:
        namenodes = [namenode for namenode in self.record().namenodes if namenode.rest]
        if len(namenodes) == 1:
            return namenodes[0].id
        until_ns = self._clock.monotonic_ns() + int(READY_S * 1e9)
        while self._clock.monotonic_ns() < until_ns:
            # A witness that leads has nothing to say here; it hands over as soon as it can.
            for namenode in namenodes:
                said = _asked(namenode.rest, "/cluster") if self._serves(namenode) else None
                if said and said["role"] == "leader":
                    return str(said["node_id"])
            self._clock.sleep(_POLL_S)
        raise Unavailable("no NameNode leads")

    @staticmethod
    def _serves(node: NodeRecord) -> bool:
        return node.process is not None and node.process.alive() and not node.process.stopped()

    def start_node(self, node: NodeRecord) -> None:
        """Start one node that does not run; on return it serves, and all that run know one another.

        Raises:
            Unavailable: It did not start in time; the end of its log is on stderr.
        """
        since_us = self._clock.wall_us()
        self._spawn(node)
        self._wait_started(self.node(node.id))
        if any(namenode.rest and self._serves(namenode) for namenode in self.record().namenodes):
            running = [each.id for each in self.record().datanodes if self.running_pid(each)]
            # What the NameNode knows of the others is of before, if it was not the one that was started.
            restarted = running if isinstance(node, NameNodeRecord) else [node.id]
            self._wait_active(dict.fromkeys(running, 0) | dict.fromkeys(restarted, since_us))

    def kill(self, node: NodeRecord, number: signal.Signals) -> None:
        """Send a signal; for one that ends it, on return it and its children are gone.

        Raises:
            Unavailable: It does not run, or did not end.
        """
        if node.process is None or not node.process.send(number):
            raise Unavailable(f"{node.id} does not run")
        ends = number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
        if ends and not node.process.wait_gone(self._clock, 2 * _STOP_GRACE_S):
            raise Unavailable(f"{node.id} did not end on {number.name}")

    def stop_node(self, node: NodeRecord) -> None:
        """Stop one node if it runs: TERM, then KILL."""
        if node.process:
            stop([node.process], self._clock, grace_s=_STOP_GRACE_S)

    @staticmethod
    def running_pid(node: NodeRecord) -> int | None:
        """The node's process, when it is there."""
        return node.process.pid if node.process and node.process.alive() else None

    def shown(self) -> dict[str, Any]:
        """What ``local up --json`` prints; ``pid`` is null for a node that does not run."""
        record = self.record()
        return {
            "urls": [node.rest for node in record.namenodes if node.rest],
            "namenodes": [
                {
                    "id": node.id,
                    "pid": self.running_pid(node),
                    "rest": node.rest,
                    "grpc": node.grpc,
                    "kind": node.kind,
                    "dir": node.dir,
                }
                for node in record.namenodes
            ],
            "datanodes": [
                {"id": node.id, "pid": self.running_pid(node), "address": node.address, "dir": node.dir}
                for node in record.datanodes
            ],
            "dir": str(self.dir),
        }

    def _spawn(self, node: NodeRecord) -> None:
        if isinstance(node, NameNodeRecord):
            arguments = ["namenode", "run", "--dir", node.dir]
        else:
            arguments = ["datanode", "run", "--config", str(Path(node.dir) / "datanode.toml")]
        command = [sys.executable, "-m", "esdfs.cli.app", *arguments]
        process = spawn(command, out=self._out(node), log=self._log(node))
        self._replace(msgspec.structs.replace(node, process=process))

    def _wait_started(self, node: NodeRecord) -> None:
        def said() -> bool:
            return any(_is_ready_line(line, node.id) for line in self._out(node).read_bytes().splitlines())

        self._wait(said, [node], f"{node.id} to start")

    def _wait_active(self, since_us: Mapping[str, int]) -> None:
        """Until these are ACTIVE to every NameNode that runs, each by a heartbeat after its time."""
        namenodes = [node for node in self.record().namenodes if node.rest and self._serves(node)]

        def active() -> bool:
            return all(active_to(namenode) for namenode in namenodes)

        def active_to(namenode: NameNodeRecord) -> bool:
            said = _asked(namenode.rest, "/datanodes") or {"datanodes": []}
            rows = {row["node_id"]: row for row in said["datanodes"]}
            return all(
                name in rows
                and rows[name]["status"] == "ACTIVE"
                and _wall_us(rows[name]["last_heartbeat"]) >= since
                for name, since in since_us.items()
            )

        involved: list[NodeRecord] = [
            *namenodes,
            *(node for node in self.record().datanodes if node.id in since_us),
        ]
        self._wait(active, involved, "every DataNode to be ACTIVE")

    def _wait(self, condition: Callable[[], bool], nodes: Sequence[NodeRecord], what: str) -> None:
        """Until ``condition``, while all of ``nodes`` run."""
        until_ns = self._clock.monotonic_ns() + int(READY_S * 1e9)
        while not condition():
            gone = [node for node in nodes if not self.running_pid(node)]
            if gone:
                self._show_log(gone[0])
                raise Unavailable(f"{gone[0].id} ended; its log is {self._log(gone[0])}")
            if self._clock.monotonic_ns() > until_ns:
                self._show_log(nodes[0])
                raise Unavailable(f"waited {READY_S:.0f} s for {what}; logs are in {self.dir / 'logs'}")
            self._clock.sleep(_POLL_S)

    def _show_log(self, node: NodeRecord) -> None:
        tail = self._log(node).read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        sys.stderr.write("".join(f"{node.id}: {line}\n" for line in tail))

    def _out(self, node: NodeRecord) -> Path:
        return self.dir / "logs" / f"{node.id}.out"

    def _log(self, node: NodeRecord) -> Path:
        return self.dir / "logs" / f"{node.id}.log"

    def _replace(self, node: NodeRecord) -> None:
        record = self.record()
        if isinstance(node, NameNodeRecord):
            namenodes = [node if each.id == node.id else each for each in record.namenodes]
            self._write(msgspec.structs.replace(record, namenodes=namenodes))
        else:
            datanodes = [node if each.id == node.id else each for each in record.datanodes]
            self._write(msgspec.structs.replace(record, datanodes=datanodes))

    def _write(self, record: ClusterRecord) -> None:
        new = self._file.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        new.replace(self._file)


def _is_ready_line(line: bytes, node_id: str) -> bool:
    try:
        said = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False  # not all of it is there yet
    return isinstance(said, dict) and said.get("id") == node_id


def _asked(rest: str, path: str) -> dict[str, Any] | None:
    """A NameNode's answer; None while it does not give one."""
    address = urlsplit(rest)
    connection = http.client.HTTPConnection(address.hostname or _HOST, address.port, timeout=_REST_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        return None
    said: dict[str, Any] = msgspec.json.decode(body)
    return said


def _wall_us(iso_time: str | None) -> int:
    if not iso_time:
        return 0
    return int(datetime.fromisoformat(iso_time).timestamp() * 1e6)
