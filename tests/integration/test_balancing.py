"""Balancing between real DataNodes, under load, while processes are killed."""

import json
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from esdfs.blocks import MIB
from esdfs.errors import EsdfsError
from tests.blocks import content
from tests.cluster import QUICK, Cluster, cluster, eventually

SETTINGS = QUICK | {"dn.capacity_bytes": str(64 * MIB), "dn.local_socket_dir": "-"}
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


def status(live: Cluster) -> dict[str, Any]:
    told: dict[str, Any] = live.rest("GET", "/balance").body
    return told


def use(live: Cluster) -> dict[str, float]:
    return {one["node_id"]: one["use"] for one in status(live)["datanodes"]}


def has_two(live: Cluster, path: str) -> bool:
    """Whether each block of a file is on two disks, and the NameNode knows which."""
    with live.client() as dfs:
        return all(
            len(block.locations) == 2
            and {location.node_id for location in block.locations} == set(live.replicas(str(block.block_id)))
            for block in dfs.blocks(path)
        )


@pytest.fixture
def live() -> Iterator[Cluster]:
    """Three DataNodes with data and an empty one."""
    with cluster("--block-size", "1M", settings=SETTINGS) as live:
        with live.client() as dfs:
            for path, data in FILES.items():
                dfs.write_bytes(path, data)
        live.cli("local", "add", "--dir", str(live.dir))
        (live.info,) = live.rows("local", "status", "--dir", str(live.dir))
        eventually(lambda: use(live)["dn-4"] == 0, what="dn-4 joins empty")
        yield live


def test_an_added_datanode_is_filled_when_asked_under_load_though_nodes_are_killed_and_nothing_is_lost(
    live: Cluster,
) -> None:
    it_is_looked_at_interrupted_and_stopped(live)
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
    # What was written meanwhile was not part of the plan.
    eventually(lambda: max(use(live).values()) - min(use(live).values()) < 0.12, what="all are filled evenly")
    eventually(lambda: all(has_two(live, path) for path in FILES), what="every block has two copies")
    with live.client() as dfs:
        for path, data in clients.written.items():
            assert dfs.read_bytes(path) == data
    live.cli("fsck", "/")


def it_is_looked_at_interrupted_and_stopped(live: Cluster) -> None:
    command = live.command("balance", "--threshold", "5", "--bandwidth", "64K", "--json")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=live.environment()
    ) as interrupted:
        assert interrupted.stdout is not None
        told = json.loads(interrupted.stdout.readline())
        assert (told["state"], told["bytes_per_s"]) == ("running", 65536)
        interrupted.send_signal(signal.SIGINT)
        _, err = interrupted.communicate(timeout=30)
    assert interrupted.returncode == 130
    assert b"it goes on" in err
    eventually(lambda: status(live)["moving_blocks"], what="something moves")
    assert status(live)["state"] == "running"
    table = live.cli("balance", "--stop").stdout.decode()
    assert "dn-4" in table
    assert "an operator stopped it" in table
    assert status(live)["state"] == "stopped"
    assert live.rest("POST", "/balance", {"threshold": 1.5}).status == 400
    assert live.rest("POST", "/balance", {"bandwidth": 1}).status == 400
