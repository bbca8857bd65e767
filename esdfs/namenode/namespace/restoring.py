"""Bringing back what was: a file, a directory with all below it, the whole namespace. No bytes move. Pure."""

from itertools import islice
from typing import Final

from esdfs.errors import AlreadyExists, InvalidRequest, Restoring, TooLarge, UpgradeNeeded
from esdfs.ids import ROOT
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.events import Event
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.keeping import require_all
from esdfs.namenode.namespace.linking import file_linked, missing_directories
from esdfs.namenode.namespace.paths import normalise, split
from esdfs.namenode.namespace.view import Present, View, resolve
from esdfs.namenode.namespace.walk import walk_subtree

LEVEL_TREES: Final = 3
"""The feature level from which a subtree of any size is one event."""

SUBTREE_INODES_MAX: Final = 10_000
"""Below that level a restored subtree is linked within one record; a larger one would hold up others."""

ROOT_ENTRIES_MAX: Final = 1_000
"""Of a namespace brought back from a pin older than the history kept: its top is linked in one record."""


def restore(view: Present, command: cmd.Restore, principal: str) -> tuple[Event, ...]:
    """Link what ``path`` was at ``as_of``, under its own or another name, in the place of what is there now.

    Raises:
        Restoring: ``as_of`` names a state that a restore under way is still putting together.
    """
    source_path = normalise(command.path)
    target_path = normalise(command.target) if command.target else source_path
    past = view.past(command.as_of)
    if any(began_txid <= command.as_of for began_txid, _ in view.unfinished()):
        raise Restoring(f"the state after txid {command.as_of} is still being put together")
    if target_path == "/":
        if source_path != "/":
            raise InvalidRequest("the root directory can only become what it was itself", path="/")
        return _whole(view, past, command)
    source = resolve(past, source_path)
    require_all(past, source)
    names, last = split(target_path)
    made, parent = missing_directories(view, names, principal, "users", 0o755)
    first = view.next_inode() + len(made)
    existing = None if made else view.child(parent, last)
    if existing is not None and not command.overwrite:
        raise AlreadyExists(f"{target_path} exists already: ask to replace it", path=target_path)
    replaced = 0 if existing is None else existing.inode
    if not source.is_directory:
        return (*made, file_linked(source, parent, last, first, source.mtime_us, replaced))
    if view.feature_level() >= LEVEL_TREES:
        return (*made, ev.TreeLinked(parent, last, first, source.inode, command.as_of, replaced))
    return (*made, _subtree(past, source, command, parent, last, first, existing))


def _subtree(
    past: View,
    source: Inode,
    command: cmd.Restore,
    parent: int,
    name: str,
    first: int,
    existing: Inode | None,
) -> Event:
    if existing is not None:
        raise AlreadyExists(
            f"{command.target or command.path} exists now: restore the directory to another path, remove it "
            "first, or finish the upgrade (esdfs upgrade finalize)",
            path=command.target or command.path,
        )
    count = sum(1 for _ in islice(walk_subtree(past, source), SUBTREE_INODES_MAX + 1))
    if count > SUBTREE_INODES_MAX:
        raise TooLarge(
            f"{command.path} had more than {SUBTREE_INODES_MAX} files and directories: restore its "
            "subdirectories one by one, or finish the upgrade (esdfs upgrade finalize)",
            path=command.path,
        )
    return ev.SubtreeLinked(parent, name, source.inode, command.as_of, first, count)


def _whole(view: Present, past: View, command: cmd.Restore) -> tuple[Event, ...]:
    if view.feature_level() < LEVEL_TREES:
        raise UpgradeNeeded(
            f"the whole namespace can be restored from feature level {LEVEL_TREES} on: esdfs upgrade finalize"
        )
    if view.unfinished():
        raise Restoring("another restore is under way: ask again when it is done")
    if command.as_of >= view.oldest_txid():
        return (ev.NamespaceRewound(command.as_of),)
    # Pinned, but what changed since is no longer known: everything at the top is replaced.
    now = view.children(ROOT, after="", limit=ROOT_ENTRIES_MAX + 1)
    then = past.children(ROOT, after="", limit=ROOT_ENTRIES_MAX + 1)
    if max(len(now), len(then)) > ROOT_ENTRIES_MAX:
        raise TooLarge(
            f"/ has or had more than {ROOT_ENTRIES_MAX} entries: restore them one by one", path="/"
        )
    present = {name: inode.inode for name, inode in now}
    events: list[Event] = []
    # From the highest down: what is linked below the first directory counts up from above all of them.
    number = view.next_inode() + len(then)
    for name, inode in then:
        number -= 1
        replaced = present.pop(name, 0)
        if inode.is_directory:
            events.append(ev.TreeLinked(ROOT, name, number, inode.inode, command.as_of, replaced))
        else:
            events.append(file_linked(inode, ROOT, name, number, inode.mtime_us, replaced))
    directories = {name for name, inode in now if inode.is_directory}
    events += [
        ev.Deleted(inode, ROOT, name, name in directories, name in directories)
        for name, inode in sorted(present.items())
    ]
    return tuple(events)
