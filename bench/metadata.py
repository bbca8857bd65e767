"""The NameNode beside its floors: an empty answer of the same server, one synced write, plain LMDB gets."""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import lmdb
import msgspec

from bench.load import Plan, Result
from esdfs.env_os import OsClock, OsRng
from esdfs.ids import ROOT, Epoch, InodeId
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Head
from esdfs.journal.sql import open_journal
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.event_codec import pack
from esdfs.namenode.events import DirectoryMade
from esdfs.namenode.formatting import cluster_settings, format_namenode
from esdfs.namenode.projection.lmdb import ProjectionStore, open_reader
from esdfs.namenode.projection.rebuild import catch_up
from esdfs.namenode.upcasters import LEVEL_NEWEST

SECONDS = 3.0
RECORDS = 300_000
FANOUT = 64
LOOKUPS = 100_000
SYNCS = 300
EMPTY = "an empty answer of the same server (and one synced write)"
IDLE = "the same frames to a socket that does nothing, and one synced write"


def run() -> list[dict[str, Any]]:
    """Rows; files live under ``$TMPDIR``."""
    with tempfile.TemporaryDirectory(prefix="esdfs-b-") as directory:
        return [*_served(Path(directory)), *_in_process(Path(directory))]


def _served(directory: Path) -> list[dict[str, Any]]:
    rows = []
    with _cluster(directory / "c") as info:
        url = info["urls"][0].removeprefix("http://")
        engine = str(directory / "c" / "nn-1" / "engine.sock")
        _load(Plan(url, 1, 0.1, "make", "", "home"))
        empty = {n: _rate(_load(Plan(url, n, SECONDS, "get", "/health/live", "live"))) for n in (1, 4, 16)}
        for callers in (1, 16):
            read = _load(Plan(url, callers, SECONDS, "get", "/files?path=/home-0-1-0", "stat"))
            rows.append(_row(f"REST stat, {_callers(callers)}", read, empty[callers], EMPTY))
        sync = _syncs(directory)
        idle = _idle(directory)
        for name, callers, batch, kind, address in (
            ("REST mkdir", 1, 1, "make", url),
            ("REST mkdir", 16, 1, "make", url),
            ("REST transactions of 64 mkdirs", 1, 64, "makes", url),
            ("REST transactions of 64 mkdirs", 4, 64, "makes", url),
            ("command socket mkdir", 1, 1, "frames", engine),
            ("command socket mkdir", 16, 1, "frames", engine),
            ("command socket frames of 64 mkdirs", 1, 64, "frames", engine),
            ("command socket frames of 64 mkdirs", 4, 64, "frames", engine),
        ):
            tag = f"{kind[0]}{callers}x{batch}"
            made = _load(Plan(address, callers, SECONDS, kind, "/home-0-1-0", tag, batch))
            # A turn is an empty exchange and one synced write; callers beyond the first share the write.
            exchanges = idle[callers, batch] / batch if kind == "frames" else empty[callers]
            limit = batch / (1 / exchanges + 1 / (sync * callers))
            rows.append(
                _row(f"{name}, {_callers(callers)}", made, limit, IDLE if kind == "frames" else EMPTY)
            )
    return rows


def _in_process(directory: Path) -> list[dict[str, Any]]:
    config = NameNodeConfig(node_id="nn-1", dir=str(directory / "n"))
    clock, rng = OsClock(), OsRng()
    format_namenode(config, cluster_settings(rng), clock=clock, rng=rng)
    journal = open_journal(config.database_url)
    paths = _fill(journal)
    started = time.perf_counter()
    scanned = sum(len(page) for page in journal.scan(journal.oldest_txid(), until=journal.head().last_txid))
    scan_s = time.perf_counter() - started
    store = ProjectionStore(config.path, bytes_max=1 << 34)
    started = time.perf_counter()
    applied = catch_up(store, journal)
    rebuild_s = time.perf_counter() - started
    store.close()
    journal.close()
    reader = open_reader(config.path)
    chance = random.Random(1)
    wanted = [chance.choice(paths) for _ in range(LOOKUPS)]
    started = time.perf_counter()
    with reader.snapshot() as view:
        for path, _ in wanted:
            view.resolve(path)
    lookup_s = time.perf_counter() - started
    reader.close()
    plain_s = _plain_gets(config.path / "namespace.mdb", [keys for _, keys in wanted])
    return [
        {
            "name": "rebuild of the projection",
            "value": round(applied / rebuild_s),
            "unit": "records/s",
            "limit": round(scanned / scan_s),
            "limit_name": "reading the same journal",
            "ratio": round(scan_s / rebuild_s * applied / scanned, 3),
        },
        {
            "name": "path lookup in process, depth 3",
            "value": round(LOOKUPS / lookup_s),
            "unit": "lookups/s",
            "limit": round(LOOKUPS / plain_s),
            "limit_name": "the same keys from LMDB, nothing else",
            "ratio": round(plain_s / lookup_s, 3),
        },
    ]


def _fill(journal: Any) -> list[tuple[str, list[bytes]]]:
    """A tree of depth 3 as records; returns its leaves with the keys a lookup goes through."""
    head = journal.head()
    leaves = []
    drafts = []
    parents: list[tuple[str, InodeId, list[bytes]]] = [("", ROOT, [])]
    levels = (FANOUT, FANOUT, RECORDS // FANOUT**2)
    inode = int(ROOT)
    for depth, fanout in enumerate(levels):
        made = []
        for parent_path, parent, keys in parents:
            for number in range(fanout):
                inode += 1
                name = f"entry-{number:05}"
                event = DirectoryMade(parent, name, inode, 0o755, "root", "users")
                packed = pack(event, level=LEVEL_NEWEST)
                drafts.append(
                    Draft(
                        ts_us=1_750_000_000_000_000 + inode,
                        kind=packed.kind,
                        version=packed.version,
                        payload=packed.payload,
                        client_id=b"0123456789abcdef",
                        seq=inode,
                        principal="bench",
                        peer="192.0.2.1",
                    )
                )
                entry = (
                    f"{parent_path}/{name}",
                    InodeId(inode),
                    [*keys, struct.pack(">Q", parent) + name.encode()],
                )
                made.append(entry)
                if depth == len(levels) - 1:
                    leaves.append((entry[0], entry[2]))
        parents = made
    for start in range(0, len(drafts), 5000):
        entries = seal(head, Epoch(0), drafts[start : start + 5000])
        journal.append(entries)
        head = Head(entries[-1].epoch, entries[-1].txid, entries[-1].chain)
    return leaves


def _plain_gets(path: Path, lookups: list[list[bytes]]) -> float:
    with lmdb.open(str(path), readonly=True, max_dbs=64, readahead=False, lock=False) as env:
        table = env.open_db(b"cur", create=False)
        started = time.perf_counter()
        with env.begin(db=table) as txn:
            get = txn.get
            found = sum(get(key) is not None for keys in lookups for key in keys)
        seconds = time.perf_counter() - started
    assert found == sum(map(len, lookups)), "the keys are not those that a lookup uses"
    return seconds


def _syncs(directory: Path) -> float:
    """Appends of 300 bytes with fdatasync per second, on the disk the journal is on."""
    descriptor = os.open(directory / "syncs", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    times = []
    for _ in range(SYNCS):
        started = time.perf_counter()
        os.write(descriptor, bytes(300))
        os.fdatasync(descriptor)
        times.append(time.perf_counter() - started)
    os.close(descriptor)
    return 1 / median(times)


def _idle(directory: Path) -> dict[tuple[int, int], float]:
    """Calls per second through a socket that does nothing, by callers and calls in a frame."""
    path = str(directory / "idle.sock")
    with subprocess.Popen(
        [sys.executable, "-m", "bench.idle", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        shapes = ((1, 1), (16, 1), (1, 64), (4, 64))
        return {
            (callers, batch): _rate(_load(Plan(path, callers, 1.0, "frames", "/d", "idle", batch)))
            for callers, batch in shapes
        }


@contextmanager
def _cluster(directory: Path) -> Iterator[dict[str, Any]]:
    def local(*args: str) -> bytes:
        command = [sys.executable, "-m", "esdfs.cli.app", "local", *args, "--dir", str(directory)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout

    try:
        yield json.loads(local("up", "--datanodes", "1", "--json"))
    finally:
        local("down")
        shutil.rmtree(directory)


def _load(plan: Plan) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
    )
    result = msgspec.json.decode(done.stdout, type=Result)
    assert not result.failures, f"{result.failures} of {result.requests} requests failed: {plan}"
    return result


def _rate(result: Result) -> float:
    return result.operations / result.seconds


def _callers(number: int) -> str:
    return "1 caller" if number == 1 else f"{number} callers"


def _row(name: str, result: Result, limit: float, limit_name: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(_rate(result)),
        "unit": "operations/s",
        "limit": round(limit),
        "limit_name": limit_name,
        "ratio": round(_rate(result) / limit, 3),
        "p50_us": result.p50_us,
        "p99_us": result.p99_us,
    }
