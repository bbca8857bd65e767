"""The past beside the present: lookups, listings, restores and the disk that many versions take.

`./dev bench history --files 1000000` is the full proof: so many files, three versions each.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

from bench.making import Making
from bench.serving import ask, fresh_config, row, running, until
from esdfs.blocks import Block
from esdfs.ids import ROOT
from esdfs.journal.verify import verify
from esdfs.namenode import events as ev
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.projection.lmdb import ProjectionReader, ProjectionStore, open_reader
from esdfs.namenode.projection.rebuild import catch_up
from esdfs.namenode.rest import answers
from esdfs.namenode.rest.answers import Listing

VERSIONS: Final = 3
IN_DIRECTORY: Final = 1_000
IN_TRANSACTION: Final = 64
"""Files whose opening, and then whose completion, is one record: as `put -r` writes them."""
ALONE_FILES: Final = 20_000
"""Written one by one: each opening and each completion is a record of its own."""
LOOKUPS: Final = 20_000
LISTINGS: Final = 50


def run(files: int = 100_000) -> Iterator[dict[str, Any]]:
    """Rows; the journal and the namespace are made under ``$TMPDIR``."""
    with tempfile.TemporaryDirectory(prefix="esdfs-b-") as directory:
        made = _Made(Path(directory) / "nn", files, IN_TRANSACTION)
        yield from made.at_rest()
        with open_reading(made.config.path) as reader:
            yield from _lookups(reader, made)
            yield from _listings(reader, made)
        yield from _served(made)
        alone = _Made(Path(directory) / "alone", ALONE_FILES, 1)
        yield from alone.proven_and_replayed("a record an event")


class _Made:
    """A NameNode's directory with a journal of files, each written three times.

    Attributes:
        middle_txid: When every file was in its first version.
        tops: Directories, each with a tenth of all files.
    """

    def __init__(self, path: Path, files: int, in_transaction: int) -> None:
        self.config = fresh_config(path)
        self._making = Making(self.config)
        self.journal = self._making.journal
        self.directories = max(10, files // IN_DIRECTORY)
        self.paths: list[str] = []
        self._inode, self._block = int(ROOT), 0
        self._fill(files, in_transaction)

    def _fill(self, files: int, in_transaction: int) -> None:
        parents: list[tuple[str, int]] = []
        for top in range(10):
            above = self._directory(ROOT, f"top-{top}")
            for number in range(self.directories // 10):
                name = f"directory-{number:05}"
                parents.append((f"/top-{top}/{name}", self._directory(above, name)))
        names = [
            (path, parent, f"file-{number:05}.dat")
            for path, parent in parents
            for number in range(files // len(parents))
        ]
        self.files = len(names)
        self.per_top = self.files // 10
        self.paths = [f"{path}/{name}" for path, _, name in names]
        self.list_path = parents[0][0]
        held = [0] * len(names)
        for version in range(VERSIONS):
            for first in range(0, len(names), in_transaction):
                some = range(first, min(first + in_transaction, len(names)))
                written = [self._written(*names[index][1:], held[index]) for index in some]
                self._making.record([opened for opened, _ in written])
                self._making.record([completed for _, completed in written])
                for index, (opened, _) in zip(some, written, strict=True):
                    held[index] = opened.inode
            last_txid = self._making.flush()
            if version == 0:
                self.middle_txid = last_txid

    def _directory(self, parent: int, name: str) -> int:
        self._inode += 1
        self._making.record([ev.DirectoryMade(parent, name, self._inode, 0o755, "ann", "users")])
        return self._inode

    def _written(self, parent: int, name: str, replaced: int) -> tuple[ev.FileOpened, ev.FileCompleted]:
        self._inode += 1
        self._block += 1
        allocated = (ev.AllocatedBlock(self._block, 1, (1, 2)),)
        inode, size = self._inode, 1_000_000 + self._block
        opened = ev.FileOpened(
            *(parent, name, inode, 0o644, "ann", "users", 2, 1 << 27),
            lease="5f2c1c4e9d1b4a6f",
            overwrite=replaced > 0,
            blocks=allocated,
        )
        block = ev.CompletedBlock(Block(self._block, 1, size, size, self._block, compressed=False), (1, 2))
        return opened, ev.FileCompleted(
            inode, parent, name, size, self._making.now_us, (block,), self._block, replaced
        )

    @property
    def events(self) -> int:
        """How many are in the journal."""
        return self._making.events

    def proven_and_replayed(self, how: str) -> Iterator[dict[str, Any]]:
        """How fast the journal is proven and replayed; the projection is there then."""
        started = time.perf_counter()
        verify(self.journal)
        rate = self.events / (time.perf_counter() - started)
        yield row(f"verify, {how}", rate, "events/s", 250_000, "target")
        store = ProjectionStore(self.config.path, bytes_max=1 << 36)
        gc.collect()
        gc.freeze()  # the names of all files, which a NameNode does not have in its memory
        started = time.perf_counter()
        catch_up(store, self.journal)
        rate = self.events / (time.perf_counter() - started)
        yield row(f"replay, {how}", rate, "events/s", 120_000, "target")
        store.close()

    def at_rest(self) -> Iterator[dict[str, Any]]:
        """The same, and what both take on the disk."""
        yield from self.proven_and_replayed(f"{IN_TRANSACTION} events a record")
        self._making.close()
        journal_bytes = sum(file.stat().st_size for file in self.config.path.glob("journal.sqlite*"))
        store_bytes = (self.config.path / "namespace.mdb" / "data.mdb").stat().st_blocks * 512
        yield row("disk per event, journal", journal_bytes / self.events, "bytes", None, "")
        both = (journal_bytes + store_bytes) / self.events
        yield row("disk per event, journal and namespace with its history", both, "bytes", 500, "target")


def _lookups(reader: ProjectionReader, made: _Made) -> Iterator[dict[str, Any]]:
    chance = Random(1)
    wanted = [chance.choice(made.paths) for _ in range(LOOKUPS)]

    def look(as_of: int | None) -> float:
        with reader.snapshot(as_of) as view:
            return _timed(lambda: [view.resolve(path) for path in wanted]) / LOOKUPS * 1e6

    look(None)
    now, then = median(look(None) for _ in range(5)), median(look(made.middle_txid) for _ in range(5))
    yield row("lookup of the present, depth 3", now, "us", None, "")
    yield row("lookup of the past, two versions ago", then, "us", now, "the same in the present")


def _listings(reader: ProjectionReader, made: _Made) -> Iterator[dict[str, Any]]:
    def list_it(as_of: int | None) -> float:
        with reader.snapshot(as_of) as view:
            directory = view.resolve(made.list_path)
            return _timed(lambda: answered(view.children(directory.inode, limit=1000))) * 1000

    def answered(found: list[tuple[str, Inode]]) -> bytes:
        entries = [answers.status(f"{made.list_path}/{name}", entry) for name, entry in found]
        return answers.encode(Listing(made.list_path, entries, None, 1))

    now = median(list_it(None) for _ in range(LISTINGS))
    then = median(list_it(made.middle_txid) for _ in range(LISTINGS))
    yield row("listing of 1,000 entries of the present, answered in process", now, "ms", None, "")
    yield row("listing of 1,000 entries of the past, answered in process", then, "ms", 3, "target")


def _served(made: _Made) -> Iterator[dict[str, Any]]:
    """What a client sees of a NameNode that has all of this."""
    with running(made.config) as url:
        for name, suffix in (("present", ""), ("past", f"&as_of={made.middle_txid}")):
            target = f"/directories{made.list_path}?limit=1000{suffix}"
            ms = median(_timed(partial(ask, url, "GET", target)) for _ in range(LISTINGS)) * 1000
            yield row(f"listing of 1,000 entries of the {name} over REST", ms, "ms", None, "")
        body = {"path": "/top-1", "as_of": str(made.middle_txid), "target": "/back"}
        started = time.perf_counter()
        ask(url, "POST", "/restore", body)
        answered = time.perf_counter()
        until(lambda: ask(url, "GET", "/directories/back?limit=1")["entries"])
        readable = time.perf_counter()
        number = f"{made.per_top:,}"
        yield row(
            f"restore of {number} files, until answered", (answered - started) * 1000, "ms", 50, "target"
        )
        yield row(f"restore of {number} files, until read", (readable - started) * 1000, "ms", None, "")
        last = ask(url, "GET", "/journal/head")["last_txid"]
        started = time.perf_counter()
        ask(url, "DELETE", "/directories/top-2?recursive=true")
        ask(url, "POST", "/restore", {"path": "/", "as_of": str(last)})
        yield row(
            "undoing the removal of a tenth of all", (time.perf_counter() - started) * 1000, "ms", None, ""
        )


@contextmanager
def open_reading(path: Path) -> Iterator[ProjectionReader]:
    """The projection in ``path``."""
    with closing(open_reader(path)) as reader:
        yield reader


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
