"""``DFSClient``: esdfs for Python programs."""

import getpass
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar

from esdfs.client.calls import Point, absolute
from esdfs.client.control import CONNECT_BUDGET_S, TIMEOUT_S, Control, split_urls
from esdfs.client.errors import IsADirectory
from esdfs.client.past import Past
from esdfs.client.values import (
    FileStatus,
    LocatedBlock,
    ReplicaAt,
    Usage,
)
from esdfs.client.values import Listing as Page
from esdfs.env import Clock, Rng
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import NotFound

if TYPE_CHECKING:
    from esdfs.client.checking import Checked
    from esdfs.client.data import DataPath
    from esdfs.client.reader import RemoteFile
    from esdfs.client.tree import Copied

LocalPath: TypeAlias = str | os.PathLike[str]
T = TypeVar("T")

Progress: TypeAlias = Callable[[int], None]

_PAGE: Final = 1000
_MODES: Final = frozenset({"r", "w", "x", "rb", "wb", "xb"})


class DFSClient(Past):
    """A cluster, for any number of threads; opens its connections when they are needed, also after a fork.

    Paths in the cluster are absolute. Errors are `esdfs.errors.EsdfsError`; where Python has a name for them
    they are that as well (``except FileNotFoundError``). Calls are repeated while that can help, changes
    exactly once, until ``timeout`` has passed.

    Args:
        url: NameNodes, comma-separated; None = ``$ESDFS_URL``.
        token: The cluster's token, if it has one.
        user: Who is recorded as asking; None = the login name.
        as_of: Read everything as it was then. Changes are refused.
        timeout: Seconds for each call with all its retries (bytes take longer).
        connect_timeout: Seconds to look for a first NameNode that answers.

    Raises:
        InvalidRequest: A URL is none.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        user: str | None = None,
        as_of: Point | None = None,
        *,
        timeout: float = TIMEOUT_S,
        connect_timeout: float = CONNECT_BUDGET_S,
        clock: Clock | None = None,
        rng: Rng | None = None,
    ) -> None:
        self._clock = clock or OsClock()
        self._rng = rng or OsRng()
        control = Control(
            split_urls(url if url is not None else os.environ.get("ESDFS_URL", "")),
            token=token,
            user=user or login_name(),
            clock=self._clock,
            rng=self._rng,
            timeout_s=timeout,
            connect_budget_s=connect_timeout,
        )
        super().__init__(control, as_of)
        self._opened: DataPath | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. Files that are still open for writing are lost."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        self.control.close()

    # --- the namespace ------------------------------------------------------------------------

    def stat(self, path: str, *, as_of: Point | None = None) -> FileStatus:
        """What is at ``path``. Raises `NotFound`."""
        return self.control.get("/files", FileStatus, path=path, as_of=self._moment(as_of))

    def exists(self, path: str, *, as_of: Point | None = None) -> bool:
        """Whether anything is at ``path``."""
        try:
            self.stat(path, as_of=as_of)
        except NotFound:
            return False
        return True

    def blocks(self, path: str, *, as_of: Point | None = None) -> list[LocatedBlock]:
        """A file's blocks and who has them."""
        found = self.control.get("/files", FileStatus, path=path, blocks="true", as_of=self._moment(as_of))
        return found.located or []

    def check_replicas(self, replicas: Iterable[ReplicaAt]) -> "Iterator[Checked]":
        """Have each of ``replicas`` read and verified by its DataNode, which sets bad ones aside.

        A replica that is not good, or not reached, is told and never raised.
        """
        return self._data().check_replicas(replicas)

    def list_directory(self, path: str, *, as_of: Point | None = None) -> list[FileStatus]:
        """A directory's entries by name, all as of one transaction. Raises `NotFound`, `NotADirectory`."""
        return list(self.scan_directory(path, as_of=as_of))

    def scan_directory(self, path: str, *, as_of: Point | None = None) -> Iterator[FileStatus]:
        """As `list_directory`, page by page: for directories that are too large for a list."""
        moment = self._moment(as_of)
        after: str | None = None
        while True:
            page = self.control.get(
                f"/directories{absolute(path)}", Page, limit=_PAGE, after=after, as_of=moment
            )
            yield from page.entries
            if page.next is None:
                return
            # The pages that follow show the directory as the first one did.
            after, moment = page.next, str(page.txid)

    def walk(
        self, path: str, *, as_of: Point | None = None
    ) -> Iterator[tuple[str, list[FileStatus], list[FileStatus]]]:
        """Each directory at and below ``path`` with its directories and its files, as ``os.walk``.

        All of it as of the transaction of the first look, whatever changes meanwhile.
        """
        moment = self._moment(as_of)
        top, txid = self.control.get_at("/files", FileStatus, path=path, as_of=moment)
        pending = [top.path]
        while pending:
            here = pending.pop()
            entries = self.list_directory(here, as_of=txid)
            directories = [entry for entry in entries if entry.is_directory]
            yield here, directories, [entry for entry in entries if not entry.is_directory]
            pending += [directory.path for directory in reversed(directories)]

    def du(self, path: str, *, as_of: Point | None = None) -> Usage:
        """How much is at and below ``path``."""
        top = self.stat(path, as_of=as_of)
        if not top.is_directory:
            return Usage(top.path, top.size_bytes, top.size_bytes * top.replication, 1, 0)
        size_bytes = stored_bytes = files = directories = 0
        for _, _, found in self.walk(path, as_of=as_of):
            directories += 1
            files += len(found)
            size_bytes += sum(file.size_bytes for file in found)
            stored_bytes += sum(file.size_bytes * file.replication for file in found)
        return Usage(top.path, size_bytes, stored_bytes, files, directories)

    def make_directory(self, path: str, *, parents: bool = False, mode: int = 0o755) -> FileStatus:
        """Make a directory; with ``parents`` also those above it, and an existing one is no error."""
        body = {"path": path, "parents": parents, "mode": f"{mode:04o}"}
        return self._change("POST", "/directories", FileStatus, body)

    def remove_directory(self, path: str, *, recursive: bool = False) -> None:
        """Remove a directory: an empty one, or with all below it. Raises `DirectoryNotEmpty`."""
        query = {"recursive": "true"} if recursive else {}
        self._change("DELETE", f"/directories{absolute(path)}", dict[str, Any], None, **query)

    def remove_file(self, path: str) -> None:
        """Remove a file; it stays in history. Raises `NotFound`, `IsADirectory`."""
        self.transact([{"kind": "delete", "path": path, "only": "file"}])

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> FileStatus:
        """Move a file or directory; with ``overwrite`` it may replace a file or an empty directory."""
        body = {"source": source, "target": target, "overwrite": overwrite}
        return self._change("POST", "/rename", FileStatus, body)

    def copy(
        self, source: str, target: str, *, overwrite: bool = False, recursive: bool = False
    ) -> FileStatus:
        """Copy within the cluster; no bytes move. A directory is copied whole, with ``recursive``."""
        found, now = self.control.get_at("/files", FileStatus, path=source)
        if not found.is_directory:
            command = {"kind": "copy", "source": source, "target": target, "overwrite": overwrite}
            self.transact([command])
            return self.stat(target)
        if not recursive:
            raise IsADirectory(f"{source} is a directory: copy it with -r (recursive=True)", path=source)
        body = {"path": source, "as_of": now, "target": target, "overwrite": overwrite}
        return self._change("POST", "/restore", FileStatus, body)

    def set_attributes(
        self,
        path: str,
        *,
        mode: int | None = None,
        owner: str | None = None,
        group: str | None = None,
        replication: int | None = None,
        mtime: datetime | None = None,
    ) -> FileStatus:
        """Change what is not None. ``replication`` is of files only, and carried out in the background."""
        given = {
            "mode": mode,
            "owner": owner,
            "group": group,
            "replication": replication,
            "mtime_us": None if mtime is None else round(mtime.timestamp() * 1_000_000),
        }
        changes = {name: value for name, value in given.items() if value is not None}
        self.transact([{"kind": "set-attributes", "path": path, **changes}])
        return self.stat(path)

    def touch(self, path: str) -> FileStatus:
        """Make an empty file, or set the time of what is there to now."""
        now = datetime.fromtimestamp(self._clock.wall_us() / 1_000_000, UTC)
        if self.exists(path):
            return self.set_attributes(path, mtime=now)
        return self.write_bytes(path, b"")

    def transact(self, commands: Sequence[Mapping[str, object]]) -> int:
        """Carry out commands (`POST /transactions`), all or none; returns their txid."""
        answer = self._change("POST", "/transactions", dict[str, Any], {"commands": list(commands)})
        return int(answer["txid"])

    # --- bytes --------------------------------------------------------------------------------

    def put_file(
        self,
        local_path: LocalPath,
        dfs_path: str,
        *,
        overwrite: bool = False,
        parents: bool = False,
        replication: int = 0,
        block_size_bytes: int = 0,
        compress: str = "never",
        progress: Progress | None = None,
    ) -> FileStatus:
        """Store a local file as ``dfs_path``. On return it is visible, and durable on its DataNodes.

        Args:
            local_path: A regular file, or anything that can be read to its end.
            dfs_path: The file's own path, not a directory to put it into.
            overwrite: Replace a file that is there; its version stays in history.
            parents: Make missing directories.
            replication: Copies; 0 = the cluster's default.
            block_size_bytes: 0 = the cluster's default.
            compress: ``never``, ``auto`` (where a sample shrinks) or ``always``.
            progress: Called with the bytes that just left, from any thread; negative when some go again.

        Raises:
            AlreadyExists: And ``overwrite`` is not set.
            NotEnoughDataNodes: Fewer copies could be made than the cluster demands; nothing is visible.
        """
        data = self._writing()
        options = data.options(overwrite, parents, replication, block_size_bytes, compress)
        return data.put_file(Path(local_path), dfs_path, options, progress)

    def put_stream(
        self,
        stream: IO[bytes],
        dfs_path: str,
        *,
        overwrite: bool = False,
        parents: bool = False,
        replication: int = 0,
        block_size_bytes: int = 0,
        compress: str = "never",
        progress: Progress | None = None,
    ) -> FileStatus:
        """As `put_file`, of what ``stream`` gives until its end."""
        data = self._writing()
        options = data.options(overwrite, parents, replication, block_size_bytes, compress)
        return data.put_stream(stream, dfs_path, options, progress)

    def put_tree(
        self,
        local_path: LocalPath,
        dfs_path: str,
        *,
        overwrite: bool = False,
        parents: bool = False,
        replication: int = 0,
        block_size_bytes: int = 0,
        compress: str = "never",
        progress: Progress | None = None,
    ) -> "Copied":
        """Make ``dfs_path`` a copy of a local directory; small files travel many at a time."""
        data = self._writing()
        options = data.options(overwrite, parents, replication, block_size_bytes, compress)
        return data.put_tree(Path(local_path), absolute(dfs_path), options, progress)

    def get_file(
        self,
        dfs_path: str,
        local_path: LocalPath,
        *,
        overwrite: bool = False,
        as_of: Point | None = None,
        progress: Progress | None = None,
    ) -> FileStatus:
        """Fetch a file, verified. It appears at ``local_path`` only when it is complete.

        Raises:
            AlreadyExists: ``local_path`` exists and ``overwrite`` is not set.
        """
        remote = self._remote(dfs_path, as_of)
        self._data().get_file(remote, Path(local_path), overwrite=overwrite, progress=progress)
        return remote.info

    def get_tree(
        self,
        dfs_path: str,
        local_path: LocalPath,
        *,
        overwrite: bool = False,
        as_of: Point | None = None,
        progress: Progress | None = None,
    ) -> "Copied":
        """Make a local directory a copy of ``dfs_path`` as of one transaction, whatever changes meanwhile."""
        return self._data().get_tree(
            absolute(dfs_path),
            Path(local_path),
            overwrite=overwrite,
            as_of=self._moment(as_of),
            progress=progress,
        )

    def open(
        self,
        path: str,
        mode: str = "rb",
        *,
        as_of: Point | None = None,
        encoding: str = "utf-8",
        newline: str | None = None,
        replication: int = 0,
        block_size_bytes: int = 0,
        compress: str = "never",
    ) -> IO[Any]:
        """A file as a Python file object.

        Reading (``rb``, ``r``) is seekable and sees one version. Writing (``wb``, ``xb``, ``w``, ``x``) ends
        with ``close``, which publishes the file, or with an exception in the ``with`` block, which aborts it:
        then nothing is visible.

        Raises:
            ValueError: Another mode. Files are not changed in place: write them anew.
        """
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(sorted(_MODES))}, not {mode!r}")
        text = "b" not in mode
        if mode[0] == "r":
            remote = self._remote(path, as_of)
            return self._data().open_for_reading(remote, text=text, encoding=encoding, newline=newline)
        data = self._writing()
        options = data.options(mode[0] == "w", False, replication, block_size_bytes, compress)
        return data.open_for_writing(path, options, text=text, encoding=encoding, newline=newline)

    def read_bytes(self, path: str, *, as_of: Point | None = None) -> bytes:
        """All of a file."""
        return b"".join(bytes(piece) for piece in self.read_pieces(path, as_of=as_of))

    def read_pieces(
        self, path: str, *, start: int = 0, length: int | None = None, as_of: Point | None = None
    ) -> Iterator[memoryview]:
        """A range of a file in pieces of at most 1 MiB, each valid until the next is asked for."""
        remote = self._remote(path, as_of)
        return remote.pieces(start, remote.size_bytes if length is None else length)

    def write_bytes(self, path: str, data: bytes, *, overwrite: bool = False) -> FileStatus:
        """Make a file of ``data``."""
        channel = self._writing()
        return channel.put_bytes(data, path, channel.options(overwrite, False, 0, 0, "never"))

    # --- means --------------------------------------------------------------------------------

    def _remote(self, path: str, as_of: Point | None) -> "RemoteFile":
        """A file as it is at one transaction, open for reading."""
        moment = self._moment(as_of)
        info, txid = self.control.get_at("/files", FileStatus, path=path, blocks="true", as_of=moment)
        if info.is_directory:
            raise IsADirectory(f"{path} is a directory", path=path)
        return self._data().remote(info, txid)

    def _data(self) -> "DataPath":
        if self._opened is None or self._opened.pid != os.getpid():
            from esdfs.client.data import DataPath  # noqa: PLC0415 - gRPC takes 0.1 s to import

            self._opened = DataPath(self.control, self._clock, self._rng)
        return self._opened

    def _writing(self) -> "DataPath":
        self._check_present()
        return self._data()


def login_name() -> str:
    """Whom to record; the environment may have no user at all."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "anonymous"
