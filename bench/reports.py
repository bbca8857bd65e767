"""Full block reports: what they cost the NameNode, and how long others wait meanwhile.

A NameNode with a million blocks starts without any locations, and its DataNodes report all of them at once.
"""

import http.client
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.history import _ask, _free_port, _row, _running, _until
from esdfs.blocks import Block
from esdfs.env_os import OsClock, OsRng
from esdfs.ids import ROOT, Position
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Head
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.sql import open_journal
from esdfs.namenode import events as ev
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.event_codec import pack_all
from esdfs.namenode.events import Event
from esdfs.namenode.formatting import cluster_settings, format_namenode
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.projection.rebuild import catch_up
from esdfs.namenode.upcasters import LEVEL_NEWEST

DATANODES: Final = 20
BLOCKS_A_FILE: Final = 100
FILES_A_RECORD: Final = 10
PAGE: Final = 5_000
BLOCK_BYTES: Final = 1_000_000
PROBE_S: Final = 0.02
QUIET_S: Final = 5.0
CPU_LIMIT_S: Final = 10.0
WAIT_LIMIT_MS: Final = 100.0
BYTES_LIMIT: Final = 100.0


def run(blocks: int = 1_000_000) -> Iterator[dict[str, Any]]:
    """Rows. Every block has one copy; each DataNode reports its share in pages of 5,000, as real ones do."""
    with tempfile.TemporaryDirectory(prefix="esdfs-b-") as directory:
        config = NameNodeConfig(
            node_id="nn-1", dir=str(Path(directory) / "nn"), rest_port=_free_port(), grpc_port=_free_port()
        )
        _fill(config, blocks)
        with _running(config) as url:
            yield from _measure(config, url, blocks)


def _fill(config: NameNodeConfig, blocks: int) -> None:
    clock, rng = OsClock(), OsRng()
    format_namenode(config, cluster_settings(rng), clock=clock, rng=rng)
    journal = open_journal(config.database_url)
    head, now_us = journal.head(), int(clock.wall_us())
    numbers = [ev.DataNodeAdded(f"dn-{n}", f"uuid-{n}", n) for n in range(1, DATANODES + 1)]
    batches: list[list[Event]] = [list(numbers)]
    inode, block_id = int(ROOT), 0
    for _ in range(blocks // (BLOCKS_A_FILE * FILES_A_RECORD)):
        opened: list[Event] = []
        done: list[Event] = []
        for _ in range(FILES_A_RECORD):
            inode += 1
            ids = range(block_id + 1, block_id + BLOCKS_A_FILE + 1)
            block_id += BLOCKS_A_FILE
            allocated = tuple(ev.AllocatedBlock(n, 1, (_home(n),)) for n in ids)
            name = f"file-{inode:07}"
            opened.append(
                ev.FileOpened(
                    *(int(ROOT), name, inode, 0o644, "ann", "users", 1, 1 << 27),
                    lease="5f2c1c4e9d1b4a6f",
                    overwrite=False,
                    blocks=allocated,
                )
            )
            stored = tuple(
                ev.CompletedBlock(Block(n, 1, BLOCK_BYTES, BLOCK_BYTES, n, compressed=False), (_home(n),))
                for n in ids
            )
            size = BLOCK_BYTES * BLOCKS_A_FILE
            done.append(ev.FileCompleted(inode, int(ROOT), name, size, now_us, stored, 0, 0))
        batches += [opened, done]
    for seq, events in enumerate(batches, 1):
        packed = pack_all(events, range(len(events)), level=LEVEL_NEWEST)
        draft = Draft(
            ts_us=now_us,
            kind=packed.kind,
            version=packed.version,
            payload=packed.payload,
            client_id=b"0123456789abcdef",
            seq=seq,
            principal="ann",
            peer="192.0.2.1",
        )
        (entry,) = seal(head, head.epoch, [draft])
        journal.append([entry])
        head = Head(entry.epoch, entry.txid, entry.chain)
    identity = journal.identity()
    assert identity is not None, "format_namenode gives one"
    with closing(AckFloor(config.path / FLOOR_FILE, identity)) as floor:
        floor.write(Position(head.epoch, head.last_txid))
    store = ProjectionStore(config.path, bytes_max=1 << 36)
    catch_up(store, journal)
    store.close()
    journal.close()


def _home(block_id: int) -> int:
    return block_id % DATANODES + 1


def _measure(config: NameNodeConfig, url: str, blocks: int) -> Iterator[dict[str, Any]]:
    engine = _engine(config)
    quiet = _Probe(url)
    time.sleep(QUIET_S)
    before_ms = quiet.stop()
    processes = _family(engine)
    cpu = {pid: _cpu_s(pid) for pid in processes}
    busy = _Probe(url)
    started = time.perf_counter()
    reporting = multiprocessing.get_context("spawn").Process(target=_datanodes, args=(url, blocks))
    reporting.start()
    reporting.join()
    assert not reporting.exitcode, "all DataNodes have reported"
    _until(lambda: _ask(url, "GET", "/cluster")["queues"]["reports"] == 0)
    seconds = time.perf_counter() - started
    used = {pid: _cpu_s(pid) - cpu.get(pid, 0.0) for pid in processes}
    during_ms = busy.stop()
    reported = f"{blocks:,} blocks reported by {DATANODES} DataNodes"
    yield _row(f"{reported}: CPU of all NameNode processes", sum(used.values()), "s", CPU_LIMIT_S, "target")
    yield _row("of these: the engine", used[engine], "s", None, "")
    yield _row("until all were taken in", seconds, "s", None, "")
    yield _row("longest wait of a mkdir meanwhile", max(during_ms), "ms", WAIT_LIMIT_MS, "target")
    yield _row("longest wait of a mkdir before", max(before_ms), "ms", None, "")
    yield _row("median wait of a mkdir meanwhile", median(during_ms), "ms", median(before_ms), "before")
    disk = (config.path / "locations.mdb" / "data.mdb").stat().st_blocks * 512
    yield _row("locations per block", disk / blocks, "bytes", BYTES_LIMIT, "target")


def _datanodes(url: str, blocks: int) -> None:
    """A process of their own: they must not slow down the probe."""
    numbers = range(1, DATANODES + 1)
    nodes = [threading.Thread(target=_datanode, args=(url, number, blocks)) for number in numbers]
    for node in nodes:
        node.start()
    for node in nodes:
        node.join()


def _datanode(url: str, number: int, blocks: int) -> None:
    mine = range(number - 1 or DATANODES, blocks + 1, DATANODES)
    identity = {"node_id": f"dn-{number}", "incarnation": 1}
    register = {
        **identity,
        "uuid": f"uuid-{number}",
        "hostname": f"host-{number}",
        "port": 9000,
        "storage_capacity": 1 << 44,
        "available_space": 1 << 43,
    }
    epoch = _ask(url, "POST", "/datanodes/register", {**register, "seq": 1})["epoch"]
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
        _ask(url, "POST", f"/datanodes/dn-{number}/blocks", page)


class _Probe:
    """Makes a directory every 20 ms, and notes how long each took."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopping = threading.Event()
        self._waits_ms: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._url, timeout=60)
        headers = {"Content-Type": "application/json"}
        with closing(connection):
            while not self._stopping.wait(PROBE_S):
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


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
