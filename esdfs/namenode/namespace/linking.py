"""New names for what exists: files copied, missing directories made. Pure.

No bytes move: blocks are immutable, so a second inode may name them.
"""

from msgspec.structs import replace

from esdfs.errors import AlreadyExists, InvalidRequest, IsADirectory, NotADirectory
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.events import Event
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import normalise, split
from esdfs.namenode.namespace.view import Present, resolve, resolve_id
from esdfs.namenode.namespace.writing import check_target


def missing_directories(
    view: Present, names: list[str], owner: str, group: str, mode: int
) -> tuple[tuple[Event, ...], int]:
    """Events that make what is missing of a directory path, and its inode when they have happened.

    Raises:
        NotADirectory: A component is a file.
    """
    here, depth = 1, 0
    while depth < len(names):
        found = view.child_id(here, names[depth])
        if found is None:
            break
        here, is_directory = found
        depth += 1
        if not is_directory:
            path = "/" + "/".join(names[:depth])
            kind = AlreadyExists if depth == len(names) else NotADirectory
            raise kind(f"{path} is a file", path=path)
    events = []
    next_inode = view.next_inode()
    for name in names[depth:]:
        events.append(ev.DirectoryMade(here, name, next_inode, mode, owner, group))
        here = next_inode
        next_inode += 1
    return tuple(events), here


def copy(view: Present, command: cmd.Copy, principal: str, now_us: int) -> tuple[Event, ...]:
    """A second file over the same blocks."""
    source_path, target_path = normalise(command.source), normalise(command.target)
    source = resolve(view, source_path)
    if source.is_directory:
        raise IsADirectory(f"{source_path} is a directory: copy its files", path=source_path)
    if source_path == target_path:
        raise InvalidRequest(f"{source_path} and its copy are the same path", path=target_path)
    if target_path == "/":
        raise IsADirectory("/ is a directory", path="/")
    names, last = split(target_path)
    parent = resolve_id(view, names)
    existing = view.child(parent, last)
    check_target(existing, target_path, overwrite=command.overwrite)
    replaced = 0 if existing is None else existing.inode
    linked = file_linked(source, parent, last, view.next_inode(), now_us, replaced)
    return (replace(linked, owner=principal),)


def file_linked(
    source: Inode, parent: int, name: str, inode: int, mtime_us: int, replaced: int
) -> ev.FileLinked:
    """A new inode over the blocks of ``source``."""
    return ev.FileLinked(
        inode,
        parent,
        name,
        source.mode,
        source.owner,
        source.group,
        source.replication,
        source.block_size_bytes,
        source.size_bytes,
        mtime_us,
        source.crc32c,
        source.blocks,
        source.inode,
        source.version,
        replaced,
    )
