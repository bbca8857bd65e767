"""Full block reports: what they cost the NameNode, and how long others wait meanwhile.

A NameNode with a million blocks starts without any locations, and its DataNodes report all of them at once.
The cost is that of everything until the last block has been looked at, while nobody else asks for anything.
In a second run mkdirs are made meanwhile to see how long they wait.
"""

import http.client
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from bench.making import Making
from bench.serving import ask, fresh_config, row, running, until
from esdfs.blocks import Block
from esdfs.ids import ROOT
from esdfs.namenode import events as ev
from esdfs.namenode.blocks.locations import DIRECTORY
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.events import Event
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import catch_up

DATANODES: Final = 20
BLOCKS_A_FILE: Final = 100
FILES_A_RECORD: Final = 10
PAGE: Final = 5_000
BLOCK_BYTES: Final = 1_000_000
PROBE_S: Final = 0.02
QUIET_CALLS: Final = 200
ASK_S: Final = 0.25
CALM_SHARE: Final = 0.1
"""Of one processor; heartbeats of nobody and clocks take less."""
CPU_LIMIT_S: Final = 10.0
WAIT_LIMIT_MS: Final = 100.0
BYTES_LIMIT: Final = 100.0


def run(blocks: int = 1_000_000, copies: int = 1) -> Iterator[dict[str, Any]]:
    """Rows. Each DataNode reports what it holds in pages of 5,000, as real ones do.

    Args:
        blocks: In the namespace.
        copies: Of each of them, on DataNodes in a row.
    """
    with tempfile.TemporaryDirectory(prefix="esdfs-b-") as directory:
        # They send no heartbeats here.
        config = msgspec.structs.replace(
            fresh_config(Path(directory) / "nn"), inactive_after_ms=600_000, dead_after_ms=1_200_000
        )
        _fill(config, blocks, copies)
        with running(config) as url:
            yield from _cost(config, url, blocks, copies)
        shutil.rmtree(config.path / DIRECTORY)  # a cold start once more
        with running(config) as url:
            yield from _waits(config, url, blocks, copies)


def _fill(config: NameNodeConfig, blocks: int, copies: int) -> None:
    made = Making(config)
    numbers = [ev.DataNodeAdded(f"dn-{n}", f"uuid-{n}", n) for n in range(1, DATANODES + 1)]
    made.record(numbers)
    inode, block_id = int(ROOT), 0
    for _ in range(blocks // (BLOCKS_A_FILE * FILES_A_RECORD)):
        opened: list[Event] = []
        done: list[Event] = []
        for _ in range(FILES_A_RECORD):
            inode += 1
            ids = range(block_id + 1, block_id + BLOCKS_A_FILE + 1)
            block_id += BLOCKS_A_FILE
            allocated = tuple(ev.AllocatedBlock(n, 1, _homes(n, copies)) for n in ids)
            name = f"file-{inode:07}"
            opened.append(
                ev.FileOpened(
                    *(int(ROOT), name, inode, 0o644, "ann", "users", copies, 1 << 27),
                    lease="5f2c1c4e9d1b4a6f",
                    overwrite=False,
                    blocks=allocated,
                )
            )
            stored = tuple(
                ev.CompletedBlock(
                    Block(n, 1, BLOCK_BYTES, BLOCK_BYTES, n, compressed=False), _homes(n, copies)
                )
                for n in ids
            )
            size = BLOCK_BYTES * BLOCKS_A_FILE
            done.append(ev.FileCompleted(inode, int(ROOT), name, size, made.now_us, stored, 0, 0))
        made.record(opened)
        made.record(done)
    made.flush()
    store = ProjectionStore(config.path, bytes_max=1 << 36)
    catch_up(store, made.journal)
    store.close()
    made.close()


def _homes(block_id: int, copies: int) -> tuple[int, ...]:
    return tuple((block_id + n) % DATANODES + 1 for n in range(copies))


def _cost(config: NameNodeConfig, url: str, blocks: int, copies: int) -> Iterator[dict[str, Any]]:
    engine = _engine(config)
    _calm(engine)
    before_s = _used_s(engine)
    taken_s = _reported(url, blocks, copies)
    used_s = {pid: now_s - before_s.get(pid, 0.0) for pid, now_s in _used_s(engine).items()}
    reported = f"{blocks:,} blocks ({copies} copies each) reported by {DATANODES} DataNodes"
    yield row(f"{reported}: CPU of all NameNode processes", sum(used_s.values()), "s", CPU_LIMIT_S, "target")
    yield row("of the engine", used_s[engine], "s", None, "")
    yield row("until all were taken in", taken_s, "s", None, "")
    disk = (config.path / DIRECTORY / "data.mdb").stat().st_blocks * 512
    yield row("locations per block", disk / blocks, "bytes", BYTES_LIMIT, "target")


def _waits(config: NameNodeConfig, url: str, blocks: int, copies: int) -> Iterator[dict[str, Any]]:
    _calm(_engine(config))
    before_ms = _Probe(url, QUIET_CALLS).stop()
    busy = _Probe(url)
    taken_s = _reported(url, blocks, copies)
    during_ms = busy.stop()
    yield row("longest wait of a mkdir meanwhile", max(during_ms), "ms", WAIT_LIMIT_MS, "target")
    yield row("longest wait of a mkdir before", max(before_ms), "ms", None, "")
    yield row("median wait of a mkdir meanwhile", median(during_ms), "ms", median(before_ms), "before")
    yield row("until all were taken in beside the mkdirs", taken_s, "s", None, "")


def _reported(url: str, blocks: int, copies: int) -> float:
    """Have all DataNodes report; seconds until every report was read. On return all blocks were looked at."""
    started = time.perf_counter()
    reporting = multiprocessing.get_context("spawn").Process(target=_datanodes, args=(url, blocks, copies))
    reporting.start()
    reporting.join()
    assert not reporting.exitcode, "all DataNodes have reported"
    until(lambda: ask(url, "GET", "/cluster")["queues"]["reports"] == 0, every_s=ASK_S)
    taken_s = time.perf_counter() - started
    until(lambda: not ask(url, "GET", "/fsck/repair")["busy"], every_s=ASK_S)
    return taken_s


def _calm(engine: int) -> None:
    """What the start set off is over: the audit index of a million blocks, say."""
    last_s = -1.0

    def idle() -> bool:
        nonlocal last_s
        before_s, last_s = last_s, sum(_used_s(engine).values())
        return last_s - before_s < CALM_SHARE

    until(idle, every_s=1.0)


def _datanodes(url: str, blocks: int, copies: int) -> None:
    """A process of their own that gives way to others: real DataNodes have processors of their own."""
    os.nice(19)
    numbers = range(1, DATANODES + 1)
    nodes = [threading.Thread(target=_datanode, args=(url, number, blocks, copies)) for number in numbers]
    for node in nodes:
        node.start()
    for node in nodes:
        node.join()


def _datanode(url: str, number: int, blocks: int, copies: int) -> None:
    mine = [n for n in range(1, blocks + 1) if (number - 1 - n) % DATANODES < copies]
    identity = {"node_id": f"dn-{number}", "incarnation": 1}
    register = {
        **identity,
        "uuid": f"uuid-{number}",
        "hostname": f"host-{number}",
        "port": 9000,
        "storage_capacity": 1 << 44,
        "available_space": 1 << 43,
    }
    epoch = ask(url, "POST", "/datanodes/register", {**register, "seq": 1})["epoch"]
    for seq, at in enumerate(range(0, len(mine), PAGE), 2):
        page = {
            **identity,
            "seq": seq,
            "epoch": epoch,
            "full": True,
            "first": at == 0,
            "last": at + PAGE >= len(mine),
            "stored": [[block_id, 1, BLOCK_BYTES] for block_id in mine[at : at + PAGE]],
        }
        ask(url, "POST", f"/datanodes/dn-{number}/blocks", page)


class _Probe:
    """Makes a directory every 20 ms, and notes how long each took.

    Args:
        calls: Of them at least, however soon it is stopped.
    """

    def __init__(self, url: str, calls: int = 0) -> None:
        self._url = url
        self._calls = calls
        self._stopping = threading.Event()
        self._waits_ms: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._url, timeout=60)
        headers = {"Content-Type": "application/json"}
        with closing(connection):
            while not self._stopping.wait(PROBE_S) or len(self._waits_ms) < self._calls:
                body = json.dumps({"path": f"/probe-{time.monotonic_ns()}"})
                started = time.perf_counter()
                connection.request("POST", "/directories", body, headers)
                connection.getresponse().read()
                self._waits_ms.append((time.perf_counter() - started) * 1000)

    def stop(self) -> list[float]:
        """The waits, in ms."""
        self._stopping.set()
        self._thread.join()
        return self._waits_ms


def _engine(config: NameNodeConfig) -> int:
    """The process whose command names the directory, and whose parent's does not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if config.dir in words:
                found.append(int(entry.name))
    return min(found)


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
        found += map(int, children.split())
    return found


def _used_s(engine: int) -> dict[int, float]:
    """CPU time of every process of a NameNode, by pid."""
    return {pid: _cpu_s(pid) for pid in _family(engine)}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
