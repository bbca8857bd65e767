"""The process that keeps the index: it follows the committed journal, so that the engine never has to.

It dies with the engine, which starts it again when it ends. ``python -m esdfs.namenode.audit.indexer DIR
PARENT_PID`` is the program.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from esdfs.env_os import die_with
from esdfs.errors import Compacted, EsdfsError
from esdfs.namenode.audit.building import Builder
from esdfs.namenode.audit.index import IndexStore
from esdfs.namenode.audit.reading import Projection
from esdfs.namenode.audit.records import Journal, Records
from esdfs.namenode.audit.rows import IndexMeta, read_meta, write_meta
from esdfs.namenode.children import Child

_NICENESS: Final = 5
_PAGE_RECORDS: Final = 500
_BEATS_S: Final = (0.02, 0.05, 0.1, 0.2)
_RESTART_S: Final = (1.0, 5.0, 30.0)
_STOP_S: Final = 2.0
_TELL_EVERY_RECORDS: Final = 100_000

_log = structlog.get_logger(__name__)


class Indexing:
    """One NameNode's index, brought up to date step by step."""

    def __init__(
        self,
        store: IndexStore,
        journal: Journal,
        projection: Projection,
        directory: Path,
        *,
        storage_id: str,
    ) -> None:
        self._store, self._projection = store, projection
        self._records = Records(directory, journal)
        self._last_txid = -1
        self._require_ours(journal, storage_id)

    def _require_ours(self, journal: Journal, storage_id: str) -> None:
        """Begin anew unless what is indexed is a beginning of what the journal holds."""
        with self._store.write() as rows:
            meta = read_meta(rows)
        last = journal.chains([meta.last_txid]).get(meta.last_txid, meta.chain)
        is_ours = meta.storage_id == storage_id and last == meta.chain
        if not is_ours or meta.last_txid > self._projection.applied_txid():
            self._store.clear()
            with self._store.write() as rows:
                write_meta(rows, IndexMeta(storage_id=storage_id))

    def step(self) -> int:
        """Index some more; returns how many records. 0 = nothing is left to do now.

        Raises:
            EsdfsError: The journal or the disk failed; what was indexed before stays.
        """
        if self._projection.applied_txid() == self._last_txid:
            return 0
        with self._store.write() as rows, self._projection.snapshot() as view:
            builder = Builder(rows, view)
            first = builder.meta.last_txid + 1
            if first > view.settled_txid:
                return 0
            limit = min(_PAGE_RECORDS, view.settled_txid - first + 1)
            try:
                entries = self._records.read(first, limit)
            except Compacted:
                # They came as a checkpoint: this node never had them.
                first = self._records.oldest_txid()
                limit = min(_PAGE_RECORDS, view.settled_txid - first + 1)
                entries = self._records.read(first, limit) if limit > 0 else []
            builder.add(entries)
            self._last_txid = builder.meta.last_txid
            return len(entries)


class IndexerProcess:
    """The engine's side: has the program running, whatever happens to it."""

    def __init__(self, directory: Path) -> None:
        self._command = [sys.executable, "-m", __name__, str(directory), str(os.getpid())]
        self._process: Child | None = None

    async def keep(self) -> None:
        """Start it, and start it again, for ever. Cancelling ends it."""
        failed = 0
        try:
            while True:
                self._process = await Child.start(self._command)
                status = await self._process.wait()
                delay_s = _RESTART_S[min(failed, len(_RESTART_S) - 1)]
                failed += 1
                _log.error("the indexer ended", status=status, again_in_s=delay_s)
                await asyncio.sleep(delay_s)
        finally:
            if self._process is not None:
                await self._process.end(within_s=_STOP_S)


def follow(step: Callable[[], int], wait: Callable[[float], object]) -> None:
    """Index for ever. Errors that pass are logged and outlived."""
    idle = done = 0
    while True:
        try:
            count = step()
        except EsdfsError as error:
            _log.warning("not indexed", why=error.message)
            count, idle = 0, len(_BEATS_S)
        if done // _TELL_EVERY_RECORDS != (done + count) // _TELL_EVERY_RECORDS:
            _log.info("indexed", records=done + count)
        done += count
        idle = 0 if count else idle + 1
        if not count:
            wait(_BEATS_S[min(idle, len(_BEATS_S)) - 1])


def main() -> None:
    """Serve the engine that started this process."""
    from esdfs.journal.sql import open_reader as open_journal  # noqa: PLC0415 - the engine imports this module
    from esdfs.namenode.config import load  # noqa: PLC0415 - as above
    from esdfs.namenode.projection.lmdb import open_reader  # noqa: PLC0415 - as above
    from esdfs.telemetry import configure_logging  # noqa: PLC0415 - as above

    directory, parent = sys.argv[1:]
    die_with(int(parent))
    os.nice(_NICENESS)
    configure_logging()
    config = load(Path(directory))
    journal = open_journal(config.database_url)
    identity = journal.identity()
    assert identity is not None, "an engine runs on a journal that was formatted"
    store = IndexStore(config.path, bytes_max=config.projection_bytes_max)
    projection = open_reader(config.path)
    indexing = Indexing(store, journal, projection, config.path, storage_id=identity.storage_id)
    follow(indexing.step, threading.Event().wait)


if __name__ == "__main__":
    main()
