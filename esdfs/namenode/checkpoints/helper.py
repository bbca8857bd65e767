"""The helper process: reads or writes a whole projection, so that the engine never does.

One job at a time, one JSON object a line. The engine starts it and asks; it dies with the engine. Its
priority is lower: what the engine has to do comes first.

``python -m esdfs.namenode.checkpoints.helper DIR BYTES_MAX PARENT_PID`` is the program.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from esdfs.env_os import OsClock, die_with
from esdfs.errors import EsdfsError, JournalUnavailable, from_code
from esdfs.ids import Txid
from esdfs.namenode.checkpoints import making
from esdfs.namenode.checkpoints.archive import Archive
from esdfs.namenode.checkpoints.files import CheckpointFiles
from esdfs.namenode.checkpoints.image import VoterOf
from esdfs.namenode.children import Child
from esdfs.namenode.projection.lmdb import ProjectionLoader, open_reader

_NICENESS: Final = 5  # with 10, a busy machine starves it for a minute
_STOP_S: Final = 2.0


class TakeImage(msgspec.Struct, frozen=True, tag="image"):
    """Make a checkpoint of the state as it is now, which must be that at ``txid``."""

    txid: int
    cluster_id: str
    voters_txid: int
    voters: tuple[VoterOf, ...]


class LoadImage(msgspec.Struct, frozen=True, tag="load"):
    """Put the checkpoint at ``txid`` in the place of the projection. Nobody else writes that meanwhile."""

    txid: int


class ArchiveRecords(msgspec.Struct, frozen=True, tag="archive"):
    """Seal records after ``after`` up to ``until`` into a segment."""

    journal_url: str
    cluster_id: str
    after: int
    until: int


Job: TypeAlias = TakeImage | LoadImage | ArchiveRecords


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The state that was asked for stays readable to the helper, whatever is committed from now on."""


class Progressed(msgspec.Struct, frozen=True, tag="progress"):
    """So far."""

    done: int
    total: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The job is done; hashes are in hexadecimal and empty where there is none."""

    duration_ms: int
    size_bytes: int = 0
    sha256: str = ""
    state_digest: str = ""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job is not done, and nothing is left of it."""

    code: str
    message: str


Told: TypeAlias = Opened | Progressed | Done | Failed

_encode: Final = msgspec.json.Encoder().encode
_job: Final = msgspec.json.Decoder(Job).decode
_told: Final = msgspec.json.Decoder(Told).decode


class Helper:
    """The engine's side. In one event loop; started at its first job, and again when it died.

    Args:
        directory: The NameNode's.
        bytes_max: As for ``ProjectionStore``.
    """

    def __init__(self, directory: Path, *, bytes_max: int) -> None:
        self._command = [sys.executable, "-m", __name__, str(directory), str(bytes_max), str(os.getpid())]
        self._process: Child | None = None
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process's id; None when there is none."""
        return None if self._process is None else self._process.pid

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way; another one would wait."""
        return self._lock.locked()

    async def start(self) -> None:
        """Have the process started, so that the first job waits less."""
        async with self._lock:
            await self._started()

    async def run(self, job: Job, told: Callable[[Opened | Progressed], None]) -> Done:
        """Have ``job`` done; ``told`` hears what comes before its end.

        Raises:
            EsdfsError: It was not done. A helper that died is `JournalUnavailable`.
        """
        async with self._lock:
            process = await self._started()
            assert process.stdout is not None, "it is piped"
            try:
                process.tell(_encode(job) + b"\n")
                while line := await process.stdout.readline():
                    match _told(line):
                        case Done() as done:
                            return done
                        case Failed(code, message):
                            raise from_code(code, message, {})
                        case before:
                            told(before)
            except OSError:
                pass
            except asyncio.CancelledError:
                process.kill()  # its answers are nobody's any more
                raise
            process.kill()
            await process.wait()  # so that the next job starts another
            raise JournalUnavailable("the helper process ended in the middle of its job")

    async def stop(self) -> None:
        """End the process; a job under way is given up."""
        process, self._process = self._process, None
        if process is not None:
            await process.end(within_s=_STOP_S)

    async def _started(self) -> Child:
        if self._process is None or self._process.returncode is not None:
            self._process = await Child.start(self._command, piped=True)
        return self._process


# --- the program ----------------------------------------------------------------------------------


class _Program:
    """Reads jobs, tells what became of them."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        self._directory, self._bytes_max = directory, bytes_max
        self._files = CheckpointFiles(directory)

    def serve(self) -> None:
        """Until nobody asks any more."""
        clock = OsClock()
        for line in sys.stdin.buffer:
            began_ns = clock.monotonic_ns()
            try:
                done = self._do(_job(line))
                duration_ms = (clock.monotonic_ns() - began_ns) // 1_000_000
                self._tell(msgspec.structs.replace(done, duration_ms=duration_ms))
            except EsdfsError as error:
                self._tell(Failed(error.code, error.message))

    def _do(self, job: Job) -> Done:
        match job:
            case TakeImage():
                return self._take(job)
            case LoadImage(txid):
                target = ProjectionLoader(self._directory, bytes_max=self._bytes_max)
                try:
                    making.load(target, self._files.path(txid), lambda *far: self._tell(Progressed(*far)))
                finally:
                    target.close()
                return Done(0)
            case ArchiveRecords(url, cluster_id, after, until):
                from esdfs.journal import sql  # noqa: PLC0415 - SQLAlchemy, for those who compact

                with closing(sql.open_reader(url)) as journal:
                    Archive(self._directory).seal(journal, cluster_id, Txid(after), Txid(until))
                return Done(0)

    def _take(self, job: TakeImage) -> Done:
        reader = open_reader(self._directory)
        try:
            with reader.image() as image:
                if image.meta.applied_txid != job.txid:
                    raise JournalUnavailable(
                        f"the projection is at txid {image.meta.applied_txid}, no longer at {job.txid}"
                    )
                self._tell(Opened())
                made = making.make(self._files, image, job.cluster_id, job.voters_txid, job.voters)
        finally:
            reader.close()
        return Done(0, made.size_bytes, made.sha256.hex(), made.state_digest.hex())

    def _tell(self, what: Any) -> None:
        sys.stdout.buffer.write(_encode(what) + b"\n")
        sys.stdout.buffer.flush()


def main() -> None:
    """Serve the engine that started this process."""
    directory, bytes_max, parent = sys.argv[1:]
    die_with(int(parent))
    os.nice(_NICENESS)
    _Program(Path(directory), int(bytes_max)).serve()


if __name__ == "__main__":
    main()
