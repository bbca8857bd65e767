"""Balancing between real DataNodes, under load, while processes are killed."""

import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from esdfs.blocks import MIB
from esdfs.errors import EsdfsError
from tests.blocks import content
from tests.cluster import QUICK, Cluster, cluster, eventually

SETTINGS = QUICK | {"dn.capacity_bytes": str(64 * MIB), "dn.local_socket_dir": "-"}
NEW = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
FILES = {f"/f-{number}": content(9 * MIB + number, seed=number) for number in range(4)}


class Clients:
    """They read all files over and over and write new ones."""

    def __init__(self, live: Cluster) -> None:
        self.written = {**FILES}
        self.reads = 0
        self.wrong: list[str] = []
        self._live = live
        self._stop = threading.Event()

    def run(self) -> None:
        draw = random.Random(3)
        with self._live.client(timeout=30) as dfs:
            for number in range(10_000):
                if self._stop.is_set():
                    return
                path, data = f"/new-{number}", content(draw.randrange(1, 200_000), seed=number)
                try:
                    dfs.write_bytes(path, data)
                    self.written[path] = data
                except EsdfsError:
                    self.written.pop(path, None)  # a node was just killed: it may be there or not
                path = draw.choice(sorted(self.written))
                try:
                    if dfs.read_bytes(path) != self.written[path]:
                        self.wrong.append(path)
                    self.reads += 1
                except EsdfsError as error:
                    self.wrong.append(f"{path}: {error.message}")

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def use(live: Cluster) -> dict[str, float]:
    (told,) = live.rows("balance", "--status")
    return {one["node_id"]: one["use"] for one in told["datanodes"]}


def test_a_new_datanode_is_filled_under_load_though_nodes_are_killed_and_nothing_is_lost() -> None:
    with cluster("--block-size", "1M", settings=SETTINGS) as live:
        with live.client() as dfs:
            for path, data in FILES.items():
                dfs.write_bytes(path, data)
        live.down()
        live.up("--datanodes", "4", *NEW)
        eventually(lambda: use(live)["dn-4"] < 0.05, what="dn-4 joins, as good as empty")
        clients = Clients(live)
        balance = live.command("balance", "--threshold", "5", "--bandwidth", "2M")
        with (
            clients.running(),
            subprocess.Popen(
                balance, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=live.environment(), text=True
            ) as process,
        ):
            eventually(lambda: use(live)["dn-4"] > 0.06, what="blocks arrive at dn-4")
            live.kill("nn-1")
            live.restart("nn-1")
            eventually(lambda: use(live)["dn-4"] > 0.12, what="it goes on")
            live.kill("dn-2")
            live.restart("dn-2")
            out, err = process.communicate(timeout=90)
        assert process.returncode == 0, (out, err, live.logs())
        assert "to go" in out
        assert "balanced" in out.splitlines()[-1]
        assert "it was asked to go on" in err
        assert not clients.wrong
        assert clients.reads > 5

        def even() -> bool:
            shares = use(live).values()
            return max(shares) - min(shares) < 0.1

        eventually(even, what="all are filled evenly")
        eventually(lambda: all(has_two(live, path) for path in FILES), what="every block has two copies")
        with live.client() as dfs:
            for path, data in clients.written.items():
                assert dfs.read_bytes(path) == data
        live.cli("fsck", "/")


def has_two(live: Cluster, path: str) -> bool:
    """Whether each block of a file is on two disks, and the NameNode knows which."""
    with live.client() as dfs:
        return all(
            len(block.locations) == 2
            and {location.node_id for location in block.locations} == set(live.replicas(str(block.block_id)))
            for block in dfs.blocks(path)
        )


def test_balancing_can_be_looked_at_interrupted_and_stopped() -> None:
    with cluster("--datanodes", "2", "--block-size", "1M", settings=SETTINGS) as live:
        with live.client() as dfs:
            dfs.write_bytes("/f", content(12 * MIB))
        live.down()
        live.up("--datanodes", "3", *NEW)
        (told,) = live.rows("balance", "--threshold", "5", "--bandwidth", "64K", "--no-wait")
        assert (told["state"], told["bytes_per_s"]) == ("running", 65536)
        eventually(lambda: live.rows("balance", "--status")[0]["moving_blocks"], what="something moves")
        interrupted = subprocess.Popen(
            live.command("balance", "--threshold", "5", "--bandwidth", "64K", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=live.environment(),
        )
        assert interrupted.stdout is not None
        interrupted.stdout.readline()
        interrupted.send_signal(2)
        _, err = interrupted.communicate(timeout=30)
        assert interrupted.returncode == 130
        assert b"it goes on" in err
        assert live.rows("balance", "--status")[0]["state"] == "running"
        (told,) = live.rows("balance", "--stop")
        assert told["state"] == "stopped"
        assert live.rest("GET", "/balance").body["why"] == "an operator stopped it"
        assert live.rest("POST", "/balance", {"threshold": 1.5}).status == 400
        assert live.rest("POST", "/balance", {"bandwidth": 1}).status == 400
        table = live.cli("balance", "--status").stdout.decode()
        assert "dn-3" in table
        assert "an operator stopped it" in table
