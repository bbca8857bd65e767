"""Whole directories, many small files at a time: one transaction creates up to 64, another publishes them."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from esdfs.blocks import MIB
from esdfs.client.errors import NotADirectory
from esdfs.client.pipeline import PipelineFailed, Progress, write_blocks
from esdfs.client.reader import ReaderMeans, RemoteFile
from esdfs.client.sources import Bytes
from esdfs.client.transfers import get_local, mode_of, put_local
from esdfs.client.values import FileStatus, Listing, NewBlock, Opened, WrittenBlock
from esdfs.client.writer import WriteOptions, WriterMeans
from esdfs.errors import EsdfsError, InvalidRequest, NotFound

BATCH_FILES_MAX: Final = 64
BATCH_BYTES_MAX: Final = 16 * MIB
SMALL_BYTES_MAX: Final = MIB
WRITERS: Final = 4
READERS: Final = 8
_DIRECTORIES_MAX: Final = 200
_PAGE: Final = 1000

T = TypeVar("T")


class Copied(NamedTuple):
    """What a tree copy did."""

    files: int
    size_bytes: int


class _Local(NamedTuple):
    source: Path
    path: str
    size_bytes: int
    mode: str


class _Ready(NamedTuple):
    """A small file with its bytes read."""

    local: _Local
    data: bytes
    lease: str


# --- to the cluster -------------------------------------------------------------------------------


def put_tree(
    means: WriterMeans,
    source: Path,
    path: str,
    options: WriteOptions,
    progress: Progress | None = None,
) -> Copied:
    """Make ``path`` a copy of the local directory ``source``; directories that exist are filled up.

    Symbolic links to files are followed, those to directories and special files refused.

    Raises:
        ParentNotFound: The directory above ``path`` is missing, and ``parents`` is not set.
        AlreadyExists: A file of that name exists and ``overwrite`` is not set. Batches that were published
            before stay.
    """
    directories: list[str] = []
    files: list[_Local] = []
    _scan(source, path, directories, files)
    _make_top(means, path, parents=options.parents)
    for start in range(0, len(directories), _DIRECTORIES_MAX):
        commands: list[dict[str, object]] = [
            {"kind": "make-directory", "path": directory, "parents": True}
            for directory in directories[start : start + _DIRECTORIES_MAX]
        ]
        transact(means, commands)
    jobs: Iterator[Callable[[], object]] = _jobs(means, files, options, progress)
    _run_all(jobs, WRITERS)
    return Copied(len(files), sum(file.size_bytes for file in files))


def _make_top(means: WriterMeans, path: str, *, parents: bool) -> None:
    try:
        found = means.control.get("/files", FileStatus, path=path)
    except NotFound:
        transact(means, [{"kind": "make-directory", "path": path, "parents": parents}])
        return
    if not found.is_directory:
        raise NotADirectory(f"{path} is a file", path=path)


def _scan(source: Path, path: str, directories: list[str], files: list[_Local]) -> None:
    with os.scandir(source) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        below = f"{path.rstrip('/')}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            directories.append(below)
            _scan(Path(entry.path), below, directories, files)
        elif entry.is_file():
            status = entry.stat()
            files.append(_Local(Path(entry.path), below, status.st_size, mode_of(status)))
        else:
            raise InvalidRequest(
                f"{entry.path} is neither a file nor a directory nor a link to a file: move it away first"
            )


def _jobs(
    means: WriterMeans, files: Sequence[_Local], options: WriteOptions, progress: Progress | None
) -> Iterator[Callable[[], object]]:
    batch: list[_Local] = []
    batch_bytes = 0
    for file in files:
        if file.size_bytes > SMALL_BYTES_MAX:
            yield lambda file=file: put_local(means, file.source, file.path, options, progress)  # type: ignore[misc]  # mypy knows no default arguments of lambdas
            continue
        if len(batch) == BATCH_FILES_MAX or batch_bytes + file.size_bytes > BATCH_BYTES_MAX:
            yield lambda batch=batch: _put_batch(means, batch, options, progress)  # type: ignore[misc]  # as above
            batch, batch_bytes = [], 0
        batch.append(file)
        batch_bytes += file.size_bytes
    if batch:
        yield lambda: _put_batch(means, batch, options, progress)


def _put_batch(
    means: WriterMeans, files: Sequence[_Local], options: WriteOptions, progress: Progress | None
) -> None:
    ready = [_Ready(file, file.source.read_bytes(), means.control.new_uuid()) for file in files]
    opened = [
        msgspec.convert(result, Opened)
        for result in transact(means, [_create(one, options) for one in ready])
    ]
    open_ids = {one.file_id: one.lease for one in opened}
    try:
        written = _write_batch(means, ready, opened, options)
        done = [(one, told, written.get(told.file_id)) for one, told in zip(ready, opened, strict=True)]
        failed = [(one, told) for one, told, blocks in done if blocks is None]
        if failed:
            transact(means, [_abort(told.file_id, told.lease) for _, told in failed])
            for _, told in failed:
                del open_ids[told.file_id]
        completed = [_complete(told, blocks) for _, told, blocks in done if blocks is not None]
        if completed:
            transact(means, completed)
        open_ids.clear()
    except BaseException:
        _give_up(means, open_ids)
        raise
    if progress is not None:
        progress(sum(len(one.data) for one, _, blocks in done if blocks is not None))
    for one, _ in failed:
        # Its pipeline broke, or it is more than one block: the careful way, block by block.
        put_local(means, one.local.source, one.local.path, options, progress)


def _write_batch(
    means: WriterMeans, ready: Sequence[_Ready], opened: Sequence[Opened], options: WriteOptions
) -> dict[str, list[WrittenBlock]]:
    """The blocks of each file that was written, by file id; files that were not are left out."""
    written: dict[str, list[WrittenBlock]] = {}
    by_pipeline: dict[tuple[str, ...], list[tuple[str, NewBlock, Bytes]]] = {}
    for one, told in zip(ready, opened, strict=True):
        if not one.data:
            written[told.file_id] = []
        elif told.blocks and len(one.data) <= told.block_size_bytes:
            block = told.blocks[0]
            nodes = tuple(target.node_id for target in block.targets)
            by_pipeline.setdefault(nodes, []).append((told.file_id, block, Bytes(one.data)))
    never = threading.Event()
    for group in by_pipeline.values():
        outcomes = write_blocks(
            means.channels,
            [(block, source) for _, block, source in group],
            compress=options.compress,
            cancelled=never,
        )
        for (file_id, _, _), outcome in zip(group, outcomes, strict=True):
            if not isinstance(outcome, PipelineFailed):
                written[file_id] = [outcome]
    return written


def _create(one: _Ready, options: WriteOptions) -> dict[str, object]:
    return {
        "kind": "create-file",
        "path": one.local.path,
        "lease": one.lease,
        "overwrite": options.overwrite,
        "replication": options.replication,
        "block_size_bytes": options.block_size_bytes,
        "mode": int(options.mode or one.local.mode, 8),
        "blocks": 1 if one.data else 0,
    }


def _complete(told: Opened, blocks: list[WrittenBlock]) -> dict[str, object]:
    return {
        "kind": "complete-file",
        "file_id": int(told.file_id),
        "lease": told.lease,
        "blocks": msgspec.to_builtins(blocks),
        "crc32c": blocks[0].crc32c if blocks else 0,
    }


def _abort(file_id: str, lease: str) -> dict[str, object]:
    return {"kind": "abort-file", "file_id": int(file_id), "lease": lease}


def _give_up(means: WriterMeans, open_ids: dict[str, str]) -> None:
    if not open_ids:
        return
    try:
        transact(means, [_abort(file_id, lease) for file_id, lease in open_ids.items()])
    except EsdfsError:
        # They end with their leases; the caller is about to raise the reason for giving up.
        return


def transact(means: WriterMeans, commands: Sequence[dict[str, object]]) -> list[dict[str, Any]]:
    """All commands or none; their results."""
    answer = means.control.change("POST", "/transactions", dict[str, Any], {"commands": commands})
    results: list[dict[str, Any]] = answer["results"]
    return results


# --- from the cluster -----------------------------------------------------------------------------


def get_tree(
    means: ReaderMeans,
    path: str,
    target: Path,
    *,
    overwrite: bool,
    as_of: str | None = None,
    progress: Progress | None = None,
) -> Copied:
    """Make the local directory ``target`` a copy of ``path`` at one transaction: now or ``as_of``."""
    files = 0
    size_bytes = 0
    first = means.control.get(f"/directories{path}", Listing, limit=_PAGE, as_of=as_of)
    # Whatever is changed while we copy: all of it is read as of this transaction.
    pinned = str(first.txid)

    def jobs() -> Iterator[Callable[[], object]]:
        nonlocal files, size_bytes
        pending = [(path, target)]
        while pending:
            directory, local = pending.pop()
            local.mkdir(exist_ok=True, parents=directory == path)
            for entry in list_all(means, directory, pinned):
                below = local / entry.name
                if entry.is_directory:
                    pending.append((entry.path, below))
                    continue
                files += 1
                size_bytes += entry.size_bytes
                yield lambda entry=entry, below=below: get_one(entry, below)  # type: ignore[misc]  # mypy knows no default arguments of lambdas

    def get_one(entry: FileStatus, below: Path) -> None:
        info = means.control.get(f"/files/{entry.file_id}", FileStatus, blocks="true", as_of=pinned)
        remote = RemoteFile(means, info, first.txid)
        get_local(remote, below, overwrite=overwrite, rng=means.rng, progress=progress)

    _run_all(jobs(), READERS)
    return Copied(files, size_bytes)


def list_all(means: ReaderMeans, path: str, as_of: str) -> Iterator[FileStatus]:
    """All entries of a directory, page by page."""
    after: str | None = None
    while True:
        page = means.control.get(f"/directories{path}", Listing, limit=_PAGE, after=after, as_of=as_of)
        yield from page.entries
        if page.next is None:
            return
        after = page.next


def _run_all(jobs: Iterable[Callable[[], T]], workers: int) -> None:
    """Run all ``jobs``, ``workers`` at a time; after the first failure no further one is begun."""
    with ThreadPoolExecutor(workers, "esdfs-tree") as pool:
        running: set[Future[T]] = set()
        try:
            for job in jobs:
                running.add(pool.submit(job))
                if len(running) >= 2 * workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
