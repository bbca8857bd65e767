"""``DFSClient``: esdfs for Python programs."""

import getpass
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar

from esdfs.client.changes import Change, Cursor, Cursors, Feed, Moved
from esdfs.client.control import CONNECT_BUDGET_S, TIMEOUT_S, Control, split_urls
from esdfs.client.errors import IsADirectory
from esdfs.client.values import (
    Difference,
    FileStatus,
    LocatedBlock,
    Retention,
    Snapshot,
    SnapshotMade,
    Snapshots,
    Usage,
    Version,
    Versions,
)
from esdfs.client.values import Listing as Page
from esdfs.env import Clock, Rng
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from esdfs.client.data import DataPath
    from esdfs.client.reader import RemoteFile
    from esdfs.client.tree import Copied

Point: TypeAlias = str | int | datetime
"""A moment of the past: a txid, an ISO time, a duration ago (``2h``), ``@`` and a snapshot's name, or an
aware datetime."""

LocalPath: TypeAlias = str | os.PathLike[str]
T = TypeVar("T")

Progress: TypeAlias = Callable[[int], None]

_PAGE: Final = 1000
_MODES: Final = frozenset({"r", "w", "x", "rb", "wb", "xb"})


class DFSClient:
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
        self.as_of = point(as_of)
        self.control = Control(
            split_urls(url if url is not None else os.environ.get("ESDFS_URL", "")),
            token=token,
            user=user or login_name(),
            clock=self._clock,
            rng=self._rng,
            timeout_s=timeout,
            connect_budget_s=connect_timeout,
        )
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

    def list_directory(self, path: str, *, as_of: Point | None = None) -> list[FileStatus]:
        """A directory's entries by name, all as of one transaction. Raises `NotFound`, `NotADirectory`."""
        return list(self.scan_directory(path, as_of=as_of))

    def scan_directory(self, path: str, *, as_of: Point | None = None) -> Iterator[FileStatus]:
        """As `list_directory`, page by page: for directories that are too large for a list."""
        moment = self._moment(as_of)
        after: str | None = None
        while True:
            page = self.control.get(
                f"/directories{_absolute(path)}", Page, limit=_PAGE, after=after, as_of=moment
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
        self._change("DELETE", f"/directories{_absolute(path)}", dict[str, Any], None, **query)

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

    # --- history ------------------------------------------------------------------------------

    def history(self, path: str, *, limit: int = 1000) -> list[Version]:
        """Every kept version of what the path names or last named, newest first."""
        return self.control.get("/history", Versions, path=path, limit=limit).versions

    def restore(
        self, path: str, as_of: Point, target: str | None = None, *, overwrite: bool = True
    ) -> FileStatus:
        """Bring back a file or directory as it was, at its own path or at ``target``; no bytes move."""
        body = {"path": path, "as_of": point(as_of), "target": target or path, "overwrite": overwrite}
        return self._change("POST", "/restore", FileStatus, body)

    # --- the journal --------------------------------------------------------------------------

    def changes(
        self,
        from_txid: int | None = None,
        path: str | None = None,
        kinds: Sequence[str] = (),
        cursor: str | None = None,
        *,
        follow: bool = True,
    ) -> Iterator[Change]:
        """What changed, in order, without a gap, whoever leads meanwhile.

        Args:
            from_txid: Where to begin; None = after ``cursor``, else with the next change from now on (with
                ``follow``) or the oldest one kept.
            path: Only what matters to it and to all below it, also what was done to a directory above.
            kinds: Only these (``renamed``, ``file-completed``, …).
            cursor: A named reader: say what was dealt with by `move_cursor`. Until then it comes again.
            follow: Go on for ever; else end with what is the newest change now.

        Raises:
            Compacted: What comes next is no longer kept; its details say from where it is.
            NotFound: No such cursor: `move_cursor` makes it.
        """
        return self.feed(from_txid, path, kinds, cursor, follow=follow).changes(follow=follow)

    def feed(
        self,
        from_txid: int | None = None,
        path: str | None = None,
        kinds: Sequence[str] = (),
        cursor: str | None = None,
        *,
        follow: bool = True,
    ) -> Feed:
        """As `changes`, page by page, with the journal's head as a sign of life."""
        if from_txid is None and cursor is not None:
            found = [one for one in self.cursors() if one.name == cursor]
            if not found:
                raise NotFound(f"no cursor is named {cursor}: move_cursor makes it", cursor=cursor)
            from_txid = found[0].txid + 1
        if from_txid is None:
            where = self.control.get("/cursors", Cursors)
            from_txid = where.head + 1 if follow else where.oldest
        return Feed(self.control, from_txid, path=path or "", kinds=kinds)

    def cursors(self) -> list[Cursor]:
        """The named readers of the journal, and how far each is."""
        return self.control.get("/cursors", Cursors).cursors

    def move_cursor(self, name: str, txid: int, *, reset: bool = False) -> Moved:
        """Everything up to ``txid`` is dealt with; makes the cursor when there is none.

        At most one move a second is journaled: the answer says what is, and what will be.

        Args:
            name: Of the reader.
            txid: A lower one than before changes nothing,
            reset: unless this is set.
        """
        body = {"txid": txid, "reset": reset}
        return self._change("PUT", f"/cursors/{name}", Moved, body)

    def drop_cursor(self, name: str) -> None:
        """Forget a named reader. Raises `NotFound`."""
        self._change("DELETE", f"/cursors/{name}", dict[str, Any], None)

    def snapshots(self) -> list[Snapshot]:
        """Every snapshot, by name."""
        return self.control.get("/snapshots", Snapshots).snapshots

    def create_snapshot(self, name: str, path: str = "/", *, as_of: Point | None = None) -> SnapshotMade:
        """Keep what is at and below ``path`` readable as ``@name``, as it is or was, whatever the window.

        No bytes move. Raises `AlreadyExists`, and `Compacted` for what can no longer be read.
        """
        body = {"name": name, "path": _absolute(path), "as_of": point(as_of)}
        return self._change("POST", "/snapshots", SnapshotMade, body)

    def delete_snapshot(self, name: str) -> None:
        """Let go of a snapshot; what only it kept is forgotten soon. Raises `NotFound`."""
        self._change("DELETE", f"/snapshots/{name}", dict[str, Any], None)

    def retention(self) -> Retention:
        """How much history is kept, and how much there is."""
        return self.control.get("/retention", Retention)

    def retention_report(self, depth: int = 1) -> dict[str, Any]:
        """What history costs; see `GET /retention/report`. Seconds per million inodes: mind ``timeout``."""
        return self.control.get_patiently("/retention/report", dict[str, Any], depth=depth)

    def set_retention(self, *, window_s: int | None = None, records_max: int | None = None) -> Retention:
        """Keep history of this age and of so many transactions (0 = without limit, None = as it is).

        What is beyond the shorter of the two is forgotten soon, and for ever, unless a snapshot shows it.
        """
        body = {"window_s": window_s, "records_max": records_max}
        return self._change("PUT", "/retention", Retention, body)

    def diff(self, before: Point, after: Point | None = None, path: str = "/") -> Difference:
        """The net effect of going from one moment to another (None = now), at and below ``path``.

        Either moment may be the earlier one. A rename is one line, whatever lies below; what came or went
        with a directory is told whole. Raises `Compacted`, `FutureTxid`.
        """
        query = {"from": point(before), "to": self._moment(after), "path": _absolute(path)}
        return self.control.get("/diff", Difference, **query)

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
        return data.put_tree(Path(local_path), _absolute(dfs_path), options, progress)

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
            _absolute(dfs_path),
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

    def _moment(self, as_of: Point | None) -> str | None:
        return self.as_of if as_of is None else point(as_of)

    def _change(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: Mapping[str, object] | None,
        **query: str,
    ) -> T:
        self._check_present()
        return self.control.change(method, path, kind, body, **query)

    def _check_present(self) -> None:
        if self.as_of is not None:
            raise InvalidRequest(f"this client reads as of {self.as_of}: change things with another one")

    def _data(self) -> "DataPath":
        if self._opened is None or self._opened.pid != os.getpid():
            from esdfs.client.data import DataPath  # noqa: PLC0415 - gRPC takes 0.1 s to import

            self._opened = DataPath(self.control, self._clock, self._rng)
        return self._opened

    def _writing(self) -> "DataPath":
        self._check_present()
        return self._data()


def point(as_of: Point | None) -> str | None:
    """A moment as the NameNode takes it."""
    if isinstance(as_of, datetime):
        if as_of.tzinfo is None:
            raise InvalidRequest("as_of needs a datetime with a time zone")
        return as_of.astimezone(UTC).isoformat()
    return None if as_of is None else str(as_of)


def login_name() -> str:
    """Whom to record; the environment may have no user at all."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "anonymous"


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidRequest(f"paths in the cluster are absolute: {path!r} does not start with '/'")
    return path
