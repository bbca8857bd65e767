"""A cluster of real processes whose leader is killed, frozen, cut off or asked to leave, under load."""

import contextlib
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, unique
from typing import Any, Final, NamedTuple

import urllib3

from esdfs.ids import Txid
from esdfs.journal.sql import open_journal
from esdfs.namenode.config import load as load_config
from tests.cluster import QUICK, Cluster, cluster, eventually
from tests.faults.history import Operation, unexplained
from tests.faults.load import Load
from tests.faults.proxy import Network

OBJECTS: Final = 4
FAULT_S_MIN: Final = 1.5  # a deposed leader must have had the time to answer with the past
RECOVERY_S: Final = 60.0
_ACKNOWLEDGED_AFTER: Final = 5
_LAG_RECORDS_MAX: Final = 200


@unique
class Fault(Enum):
    """What befalls the leader."""

    KILL = "kill -9"
    FREEZE = "SIGSTOP"
    CUT = "cut-off"
    LEAVE = "SIGTERM"
    TRANSFER = "transfer"


PLANNED: Final = frozenset({Fault.LEAVE, Fault.TRANSFER})


class Outage(NamedTuple):
    """A fault, and what the writers saw of it.

    Attributes:
        epoch: Of the leader that it befell.
        at_ns: When it began.
    """

    fault: Fault
    node: str
    epoch: int
    at_ns: int


class Verdict(NamedTuple):
    """What was found once all was over.

    Attributes:
        outages_s: From each fault to the first write that a later leader acknowledged, by kind of fault.
        quiet_s: The longest time around each fault without an acknowledged write, likewise.
        lost: Acknowledged directories that are not there.
        twice: Idempotency keys with several records.
        unexplained: Parts of the history that no order of its calls explains.
        needless: Changes of leader beyond the faults.
    """

    outages_s: dict[Fault, list[float]]
    quiet_s: dict[Fault, list[float]]
    acknowledged: int
    calls: Counter[str]
    lost: list[str]
    twice: list[str]
    unexplained: list[list[Operation]]
    needless: int


class Rig:
    """Three NameNodes behind a ``network``, and a way to each."""

    def __init__(self, live: Cluster, network: Network, seed: int) -> None:
        self.live = live
        self.network = network
        self.outages: list[Outage] = []
        self._dice = random.Random(seed)
        self._beat = threading.Event()
        self._first_epoch = self.leader()[1]
        self._rounds = 0

    @property
    def urls(self) -> list[str]:
        return list(self.live.info["urls"])

    # --- who leads ---

    def said(self, url: str, timeout_s: float = 2.0) -> dict[str, Any]:
        """What a NameNode says of the cluster."""
        with urllib3.PoolManager(retries=False, timeout=timeout_s) as pool:
            said: dict[str, Any] = json.loads(pool.request("GET", f"{url}/cluster").data)
        return said

    def leader(self) -> tuple[str, int]:
        """Its id and epoch, once all NameNodes agree and are up to date."""
        found: list[tuple[str, int]] = []

        def agreed() -> bool:
            said = [self.said(url) for url in self.urls]
            leaders = [each for each in said if each["role"] == "leader"]
            if len(leaders) != 1 or len({(each["leader"], each["epoch"]) for each in said}) != 1:
                return False
            behind = min(each["commit_txid"] for each in said)
            found[:] = [(leaders[0]["node_id"], leaders[0]["epoch"])]
            return bool(leaders[0]["commit_txid"] - behind <= _LAG_RECORDS_MAX)

        eventually(agreed, within_s=RECOVERY_S, what="the NameNodes to agree on a leader")
        return found[0]

    # --- rounds ---

    def run(self, fault: Fault, load: Load) -> Outage:
        """Let ``fault`` befall the leader under ``load``; on return all NameNodes are well again."""
        self._rounds += 1
        load.move_on(self._new_objects())
        node, epoch = self.leader()
        self._wait(0.2 + 0.5 * self._dice.random())
        heal = self._inject(fault, node)
        outage = Outage(fault, node, epoch, heal.at_ns)
        self.outages.append(outage)
        try:
            self._until_acknowledged(load, outage)
            self._wait(outage.at_ns / 1e9 + FAULT_S_MIN - time.monotonic())
        finally:
            heal.undo()
        self.leader()
        return outage

    def _inject(self, fault: Fault, node: str) -> "_Injected":
        pid = self._pid(node)
        around = self.network.around(node)
        at_ns = time.monotonic_ns()
        match fault:
            case Fault.KILL:
                os.killpg(pid, signal.SIGKILL)
                return _Injected(at_ns, lambda: self.live.restart(node))
            case Fault.LEAVE:
                os.kill(pid, signal.SIGTERM)
                return _Injected(at_ns, lambda: self.live.restart(node))
            case Fault.TRANSFER:
                with self.live.client() as client:
                    client.control.change("POST", "/quorum/transfer", dict[str, Any], {})
                return _Injected(at_ns, lambda: None)
            case Fault.FREEZE:
                os.killpg(pid, signal.SIGSTOP)
                return _Injected(at_ns, lambda: os.killpg(pid, signal.SIGCONT))
            case Fault.CUT:
                self.network.cut(around)
                return _Injected(at_ns, lambda: self.network.heal(around))

    def _pid(self, node: str) -> int:
        record = json.loads((self.live.dir / "cluster.json").read_bytes())
        found = next(each for each in record["namenodes"] if each["id"] == node)
        return int(found["process"]["pid"])

    def _until_acknowledged(self, load: Load, outage: Outage) -> None:
        """Some writes after the fault are acknowledged, not counting answers that were on their way."""
        on_their_way_ns = 100_000_000

        def enough() -> bool:
            assert load.alive(), load.failed
            newest = load.acknowledged[-_ACKNOWLEDGED_AFTER:]
            return len(newest) == _ACKNOWLEDGED_AFTER and newest[0].at_ns > outage.at_ns + on_their_way_ns

        eventually(enough, within_s=RECOVERY_S, what=f"writes after {outage.fault.value} of {outage.node}")

    def _new_objects(self) -> list[str]:
        with self.live.client() as client:
            made = [f"/round-{self._rounds}-{number}" for number in range(OBJECTS)]
            for path in made:
                client.make_directory(path)
        return made

    def _wait(self, seconds: float) -> None:
        self._beat.wait(max(seconds, 0.0))

    # --- the end ---

    def verdict(self, load: Load) -> Verdict:
        """What ``load``, which has stopped, saw, held against the journals. Stops the cluster."""
        _, last_epoch = self.leader()  # when all are stopped, leaders hand over once more
        eventually(lambda: len(set(self.live.digests())) == 1, within_s=RECOVERY_S, what="equal digests")
        with self.live.client() as client:
            there = Counter(entry.path for entry in client.scan_directory("/"))
        self.live.down()
        epochs: dict[int, int] = {}
        twice: set[str] = set()
        for node in self.live.info["namenodes"]:
            epochs, again = _journaled(load_config(self.live.dir / node["id"]).database_url)
            twice |= again
        acknowledged = [each.path for each in load.acknowledged]
        return Verdict(
            *self._waits(load, epochs),
            acknowledged=len(acknowledged),
            calls=Counter(operation.outcome.value for operation in load.history),
            lost=[path for path in acknowledged if there[path] != 1],
            twice=sorted(twice | {path for path, count in Counter(acknowledged).items() if count > 1}),
            unexplained=unexplained(load.history),
            needless=len({each for each in epochs.values() if self._first_epoch < each <= last_epoch})
            - len(self.outages),
        )

    def _waits(
        self, load: Load, epochs: Mapping[int, int]
    ) -> tuple[dict[Fault, list[float]], dict[Fault, list[float]]]:
        outages: dict[Fault, list[float]] = {}
        quiet: dict[Fault, list[float]] = {}
        times = sorted(load.acknowledged)
        for outage in self.outages:
            by_next = next(
                index
                for index, each in enumerate(times)
                if each.at_ns > outage.at_ns and epochs[each.txid] > outage.epoch
            )
            first_ns = times[by_next].at_ns
            outages.setdefault(outage.fault, []).append((first_ns - outage.at_ns) / 1e9)
            before_ns = times[by_next - 1].at_ns if by_next else outage.at_ns
            quiet.setdefault(outage.fault, []).append((first_ns - before_ns) / 1e9)
        return outages, quiet


class _Injected(NamedTuple):
    at_ns: int
    undo: Callable[[], object]


def _journaled(url: str) -> tuple[dict[int, int], set[str]]:
    """The epoch of each txid in a journal, and the idempotency keys that several records have."""
    journal = open_journal(url)
    epochs: dict[int, int] = {}
    keys: Counter[str] = Counter()
    try:
        last = 0
        while entries := journal.read(Txid(last), limit=10_000):
            epochs |= {entry.txid: entry.epoch for entry in entries}
            keys.update(f"{entry.client_id.hex()}/{entry.seq}" for entry in entries if entry.client_id)
            last = entries[-1].txid
    finally:
        journal.close()
    return epochs, {key for key, count in keys.items() if count > 1}


@contextmanager
def rig(*options: str, namenodes: int = 3, seed: int = 0) -> Iterator[Rig]:
    """A cluster whose NameNodes reach one another only through a network that can be cut."""
    names = [f"nn-{number}" for number in range(1, namenodes + 1)]
    with contextlib.ExitStack() as stack:
        ports = dict(zip(names, _free_ports(namenodes), strict=True))
        network = stack.enter_context(Network({name: f"127.0.0.1:{port}" for name, port in ports.items()}))
        settings = {f"{name}.grpc_port": str(port) for name, port in ports.items()} | {
            f"{name}.peer_addresses.{peer}": network.address(name, peer)
            for name in names
            for peer in names
            if name != peer
        }
        live = stack.enter_context(
            cluster("--namenodes", str(namenodes), *options, settings={**QUICK, **settings})
        )
        yield Rig(live, network, seed)


def _free_ports(count: int) -> list[int]:
    """Ports below those of outgoing connections, so that a stopped node's port stays free."""
    free: list[int] = []
    while len(free) < count:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in free:
            free.append(port)
    return free
