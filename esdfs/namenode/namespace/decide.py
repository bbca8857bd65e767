"""Commands to events, or a typed refusal. Pure: reads a view, changes nothing.

Everything non-deterministic is fixed here and written into the event: ids come from the view's counters,
targets from ``Situation.place``, time from the record. A refusal is never journaled.
"""

from typing import Any, NamedTuple, Protocol, assert_never

from esdfs.blocks import BLOCK_BYTES_MAX, BLOCK_BYTES_MIN
from esdfs.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    InvalidRequest,
    IsADirectory,
    LeaseLost,
    MoveIntoItself,
    NotADirectory,
    NotFound,
    PreconditionFailed,
)
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.commands import Command
from esdfs.namenode.events import Event
from esdfs.namenode.namespace import copies, cursors, datanode_states, keeping, linking, restoring, writing
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import normalise, split
from esdfs.namenode.namespace.view import Present, path_of, resolve, resolve_id

REPLICATION_MAX = 32


class Situation(Protocol):
    """What a decision needs beside the namespace."""

    @property
    def principal(self) -> str:
        """Who asks."""
        ...

    @property
    def now_us(self) -> int:
        """The leader's wall clock."""
        ...

    def place(
        self, count: int, *, replication: int, exclude: list[str], block_size_bytes: int
    ) -> list[tuple[int, ...]]:
        """DataNode numbers for ``count`` new blocks, pipeline order.

        Raises:
            NotEnoughDataNodes: Fewer live ones than copies must be kept.
        """
        ...

    @property
    def foreign_below(self) -> int:
        """DataNodes hold blocks below this id that the journal never gave out; 0 = none do."""
        ...

    def serving(self) -> frozenset[int]:
        """Numbers of the DataNodes that take new blocks now."""
        ...

    def may_take_over(self, inode: int) -> bool:
        """Whether the soft limit of this open file's lease has passed."""
        ...


class Decided(NamedTuple):
    """What will have happened.

    Attributes:
        unchanged: The answer when there are no events.
    """

    events: tuple[Event, ...]
    unchanged: dict[str, Any]


def decide(view: Present, command: Command, situation: Situation) -> Decided:
    """The events that carry out ``command``, in order.

    Raises:
        EsdfsError: Why not; the namespace stays as it is.
    """
    match command:
        case cmd.MakeDirectory():
            return _make_directory(view, command, situation)
        case cmd.CreateFile():
            return _create_file(view, command, situation)
        case cmd.AddBlocks():
            events = writing.add_blocks(view, command, situation.place, situation.foreign_below)
            return Decided(events, {"blocks": []})
        case cmd.CompleteFile():
            return Decided(writing.complete(view, command, situation.now_us), {})
        case cmd.AbortFile():
            return Decided(writing.abort(view, command), {})
        case cmd.Rename():
            return _rename(view, command)
        case cmd.Delete():
            return _delete(view, command)
        case cmd.SetAttributes():
            return _set_attributes(view, command)
        case cmd.Restore():
            return Decided(restoring.restore(view, command, situation.principal), {})
        case cmd.MoveCursor():
            return Decided(*cursors.move(view, command, situation.principal, situation.now_us))
        case cmd.DropCursor():
            return Decided(cursors.drop(view, command), {})
        case cmd.SetDataNodeState():
            return Decided(*datanode_states.set_state(view, command, situation.now_us, situation.serving))
        case cmd.Copy():
            return Decided(linking.copy(view, command, situation.principal, situation.now_us), {})
        case cmd.SetRetention():
            return _set_retention(view, command)
        case cmd.CreateSnapshot():
            return Decided(keeping.create_snapshot(view, command), {})
        case cmd.DeleteSnapshot():
            return Decided(keeping.delete_snapshot(view, command), {})
        case _:
            assert_never(command)


def _set_retention(view: Present, command: cmd.SetRetention) -> Decided:
    now = view.retention()
    unchanged = {"window_s": now.window_s, "records_max": now.records_max}
    return Decided(keeping.set_retention(view, command), unchanged)


def _make_directory(view: Present, command: cmd.MakeDirectory, situation: Situation) -> Decided:
    path = normalise(command.path)
    _check_mode(command.mode)
    if path == "/":
        if command.parents:
            return Decided((), {"inode": 1, "existed": True})
        raise AlreadyExists("the root directory always exists", path=path)
    names, last = split(path)
    owner = command.owner or situation.principal
    group = command.group or "users"
    if not command.parents:
        parent = resolve_id(view, names)
        _check_free(view, parent, last, path)
        made = ev.DirectoryMade(parent, last, view.next_inode(), command.mode, owner, group)
        return Decided((made,), {})
    events, parent = linking.missing_directories(view, [*names, last], owner, group, command.mode)
    return Decided(events, {"inode": parent, "existed": True})


def _check_free(view: Present, parent: int, name: str, path: str) -> None:
    found = view.child_id(parent, name)
    if found is not None:
        kind = "a directory" if found[1] else "a file"
        raise AlreadyExists(f"{path} exists already and is {kind}", path=path)


def _create_file(view: Present, command: cmd.CreateFile, situation: Situation) -> Decided:
    path = normalise(command.path)
    if path == "/":
        raise IsADirectory("/ is a directory", path=path)
    _check_mode(command.mode)
    if not 1 <= len(command.lease) <= 128:
        raise InvalidRequest("lease must be a token of 1 to 128 characters")
    cluster = view.cluster()
    replication = command.replication or cluster.replication
    _check_replication(replication)
    if replication < cluster.min_replication and not cluster.allow_degraded:
        raise InvalidRequest(
            f"replication {replication} is below the cluster's minimum of {cluster.min_replication} copies"
        )
    block_size_bytes = command.block_size_bytes or cluster.block_size_bytes
    if not BLOCK_BYTES_MIN <= block_size_bytes <= BLOCK_BYTES_MAX:
        raise InvalidRequest(f"block size must be between {BLOCK_BYTES_MIN} and {BLOCK_BYTES_MAX} bytes")
    names, last = split(path)
    owner, group = command.owner or situation.principal, command.group or "users"
    events: tuple[Event, ...] = ()
    if command.parents:
        events, parent = linking.missing_directories(view, names, owner, group, 0o755)
    else:
        parent = resolve_id(view, names)
    existing = view.child(parent, last)
    check_version(existing, command.if_version, path)
    writing.check_target(existing, path, overwrite=command.overwrite)
    events += writing.take_over(view, parent, last, path, situation.may_take_over)
    targets = situation.place(
        command.blocks,
        replication=replication,
        exclude=command.exclude,
        block_size_bytes=block_size_bytes,
    )
    made = sum(isinstance(event, ev.DirectoryMade) for event in events)
    opened = ev.FileOpened(
        parent,
        last,
        view.next_inode() + made,
        command.mode,
        owner,
        group,
        replication,
        block_size_bytes,
        command.lease,
        command.overwrite,
        writing.allocate(view, targets, situation.foreign_below),
    )
    return Decided((*events, opened), {})


def _rename(view: Present, command: cmd.Rename) -> Decided:
    source_path, target_path = normalise(command.source), normalise(command.target)
    if source_path == "/":
        raise InvalidRequest("the root directory cannot be moved", path="/")
    source_names, source_last = split(source_path)
    source_parent = resolve_id(view, source_names)
    source = view.child(source_parent, source_last)
    if source is None:
        raise NotFound(f"no such file or directory: {source_path}", path=source_path)
    check_version(source, command.if_version, source_path)
    if source_path == target_path:
        return Decided((), {"inode": source.inode})
    if source.is_directory and target_path.startswith(source_path + "/"):
        raise MoveIntoItself(f"cannot move {source_path} into itself ({target_path})", path=target_path)
    if target_path == "/":
        raise AlreadyExists("the root directory cannot be replaced", path="/")
    target_names, target_last = split(target_path)
    target_parent = resolve_id(view, target_names)
    target = view.child(target_parent, target_last)
    if target is not None:
        _check_replaceable(view, source, target, target_path, overwrite=command.overwrite)
    replaced = 0 if target is None else target.inode
    event = ev.Renamed(source.inode, source_parent, source_last, target_parent, target_last, replaced)
    return Decided((event,), {})


def _check_replaceable(view: Present, source: Inode, target: Inode, path: str, *, overwrite: bool) -> None:
    """POSIX rename's rule, and an explicit wish."""
    if not overwrite:
        raise AlreadyExists(f"{path} exists already: ask to overwrite it", path=path)
    if target.is_directory:
        if not source.is_directory:
            raise IsADirectory(f"{path} is a directory and cannot be replaced by a file", path=path)
        if view.children(target.inode, after="", limit=1):
            raise DirectoryNotEmpty(f"{path} is not empty", path=path)
    elif source.is_directory:
        raise NotADirectory(f"{path} is a file and cannot be replaced by a directory", path=path)


def _delete(view: Present, command: cmd.Delete) -> Decided:
    path, inode = _target(view, command.path, command.file_id)
    if path == "/":
        raise InvalidRequest("the root directory cannot be removed", path="/")
    check_version(inode, command.if_version, path)
    match command.only:
        case "file" if inode.is_directory:
            raise IsADirectory(f"{path} is a directory", path=path)
        case "directory" if not inode.is_directory:
            raise NotADirectory(f"{path} is not a directory", path=path)
        case "" | "file" | "directory":
            pass
        case _:
            raise InvalidRequest("only must be 'file', 'directory' or empty")
    full = inode.is_directory and bool(view.children(inode.inode, after="", limit=1))
    if full and not command.recursive:
        raise DirectoryNotEmpty(f"{path} is not empty: remove it recursively", path=path)
    place = view.place_of(inode.inode)
    assert place is not None, f"{path} has no place"
    parent, name = place
    return Decided((ev.Deleted(inode.inode, parent, name, inode.is_directory, full),), {})


def _set_attributes(view: Present, command: cmd.SetAttributes) -> Decided:
    path, inode = _target(view, command.path, command.file_id)
    check_version(inode, command.if_version, path)
    if command.mode is not None:
        _check_mode(command.mode)
    if command.replication is not None:
        if inode.is_directory:
            raise IsADirectory(f"{path} is a directory: replication is set on files", path=path)
        _check_replication(command.replication)
        if command.replication < view.cluster().min_replication:
            raise InvalidRequest(
                f"replication must be at least the cluster's minimum of {view.cluster().min_replication}"
            )
    for what, text in (("owner", command.owner), ("group", command.group)):
        if text is not None and not 1 <= len(text) <= 255:
            raise InvalidRequest(f"{what} must have 1 to 255 characters")
    if command.mtime_us is not None and not 0 <= command.mtime_us < 1 << 63:
        raise InvalidRequest("mtime is out of range")
    wanted = {
        name: value
        for name in ("mode", "owner", "group", "replication", "mtime_us")
        if (value := getattr(command, name)) is not None and value != getattr(inode, name)
    }
    if command.replication == inode.replication and copies.would_change(view, inode):
        wanted["replication"] = inode.replication
    if not wanted:
        return Decided((), {"inode": inode.inode})
    place = view.place_of(inode.inode)
    assert place is not None, f"{path} has no place"
    event = ev.AttributesSet(
        inode.inode,
        *place,
        wanted.get("mode"),
        wanted.get("owner"),
        wanted.get("group"),
        wanted.get("replication"),
        wanted.get("mtime_us"),
    )
    return Decided((event,), {})


def _target(view: Present, path: str, file_id: int) -> tuple[str, Inode]:
    """What a command names, by path or by id."""
    if path:
        path = normalise(path)
        return path, resolve(view, path)
    found = path_of(view, file_id) if file_id else None
    if found is None:
        if file_id and view.open_file(file_id) is not None:
            raise LeaseLost(f"file {file_id} is still being written: complete or abort it")
        raise NotFound(f"no file or directory has id {file_id}", file_id=str(file_id))
    return found, resolve(view, found)


def check_version(inode: Inode | None, wanted: int, path: str) -> None:
    """``If-Match``: the version a caller decided upon must still be the present one."""
    if wanted and (inode is None or inode.version != wanted):
        now = "does not exist" if inode is None else f"is at version {inode.version}"
        raise PreconditionFailed(f"{path} {now}, not at version {wanted}: read it again", path=path)


def _check_mode(mode: int) -> None:
    if not 0 <= mode <= 0o7777:
        raise InvalidRequest(f"mode must be between 0 and 07777, not {mode:o}")


def _check_replication(replication: int) -> None:
    if not 1 <= replication <= REPLICATION_MAX:
        raise InvalidRequest(f"replication must be between 1 and {REPLICATION_MAX}")
