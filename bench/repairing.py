"""What became of lost copies, read off the logs of a local cluster, and clients that write meanwhile."""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple

from esdfs.blocks import MIB
from tests.cluster import Cluster, eventually
from tests.faults.crowd import Crowd

PUT_BYTES: Final = MIB
WINDOW_S: Final = 2.0
_IN_DIRECTORY: Final = 200


class CopyMade(NamedTuple):
    """One that a leader ordered; times are the wall's, in seconds."""

    node_id: str
    block_id: int
    begun_s: float
    made_s: float
    size_bytes: int


def lines(live: Cluster, node_id: str) -> Iterator[dict[str, Any]]:
    """A node's log; ``at_s`` is added, the wall's time."""
    with (live.dir / "logs" / f"{node_id}.log").open(encoding="utf-8") as log:
        for line in log:
            if not line.endswith("\n"):
                return  # being written
            if line.startswith("{"):
                told = json.loads(line)
                yield told | {"at_s": datetime.fromisoformat(told["timestamp"]).timestamp()}


def copies(live: Cluster, since_s: float) -> list[CopyMade]:
    """Those that were begun since and are made."""
    found = []
    for node in live.info["datanodes"]:
        begun: dict[str, float] = {}
        for line in lines(live, node["id"]):
            if line["at_s"] < since_s:
                continue
            if line["event"] == "copy begun":
                begun[line["block_id"]] = line["at_s"]
            elif line["event"] == "copy made" and line["block_id"] in begun:
                found.append(
                    CopyMade(
                        node["id"],
                        int(line["block_id"]),
                        begun[line["block_id"]],
                        line["at_s"],
                        line["bytes"],
                    )
                )
    return found


def declared_dead_s(live: Cluster, node_id: str, since_s: float) -> float:
    """When the NameNode said so, the first time since."""
    for line in lines(live, "nn-1"):
        if line["at_s"] < since_s or line["event"] != "DataNode status":
            continue
        if line["node_id"] == node_id and line["now"] == "DEAD":
            return float(line["at_s"])
    raise AssertionError(f"{node_id} was not declared dead")


def status(live: Cluster, node_id: str) -> str:
    """As the NameNode sees it."""
    shown = live.rest("GET", "/datanodes").body["datanodes"]
    return next(str(one["status"]) for one in shown if one["node_id"] == node_id)


def whole(live: Cluster) -> bool:
    """Whether every block has all its copies, as far as the NameNode knows."""
    blocks = live.rest("GET", "/cluster").body["blocks"]
    return not (blocks["under_replicated"] or blocks["missing"] or blocks["corrupt"] or blocks["pending"])


def badly_placed(live: Cluster) -> int:
    """Blocks whose copies are all on one rack, as far as the NameNode has noticed."""
    return int(live.rest("GET", "/cluster").body["queues"]["badly_placed"])


def store(live: Cluster, files: int, file_bytes: int, replication: int) -> None:
    """So many files of such a size, of bytes that do not compress; large ones one by one, as they come."""
    if file_bytes < MIB:
        _store_tree(live, files, file_bytes, replication)
    else:
        with live.client() as dfs, ThreadPoolExecutor(4) as pool:
            dfs.make_directory("/data")
            data = random.Random(1).randbytes(file_bytes)
            for done in [
                pool.submit(dfs.put_stream, BytesIO(data), f"/data/{number}", replication=replication)
                for number in range(files)
            ]:
                done.result()
    eventually(lambda: whole(live), what="all copies to be reported")


def _store_tree(live: Cluster, files: int, file_bytes: int, replication: int) -> None:
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="esdfs-b-") as directory, live.client() as dfs:
        for number in range(files):
            file = Path(directory) / str(number // _IN_DIRECTORY) / str(number)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(chance.randbytes(file_bytes))
        dfs.put_tree(directory, "/data", replication=replication)


class Puts(Crowd):
    """Clients that put files of 1 MiB without pause."""

    def __init__(self, live: Cluster, clients: int = 4) -> None:
        self._live = live
        self._data = random.Random(2).randbytes(PUT_BYTES)
        self._done_s: list[float] = []
        self._failed: list[str] = []
        super().__init__([partial(self._run, number) for number in range(clients)])

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        assert not self._failed, f"{len(self._failed)} puts failed: {self._failed[:3]}"

    def _run(self, number: int) -> None:
        with self._live.client() as dfs:
            dfs.make_directory(f"/puts/{number}", parents=True)
            turn = 0
            while not self.stopping.is_set():
                turn += 1
                try:
                    dfs.write_bytes(f"/puts/{number}/{turn}", self._data)
                except Exception as error:  # noqa: BLE001 - told at the end
                    self._failed.append(f"{type(error).__name__}: {error}")
                self._done_s.append(time.time())

    def rate(self, from_s: float, to_s: float) -> float:
        """Files a second between two of the wall's times: the median of windows."""
        count = int((to_s - from_s) / WINDOW_S)
        assert count >= 3, f"{to_s - from_s:.1f} s are too short to tell a rate"
        windows = [0] * count
        for done_s in self._done_s:
            window = int((done_s - from_s) // WINDOW_S)
            if 0 <= window < count:
                windows[window] += 1
        return statistics.median(windows) / WINDOW_S
