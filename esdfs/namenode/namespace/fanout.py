"""Restores that are one event and more work than one record may hold up others for. Pure over ``Tables``.

The event's own record takes the first steps; ``WorkContinued`` records take the rest, a bounded number each.
What they change belongs to the transaction that began it: nobody can read that state before all of it is
there, and then nobody can tell how it came about.
"""

from typing import Final

from msgspec.structs import replace

from esdfs.namenode import events as ev
from esdfs.namenode.namespace import copies
from esdfs.namenode.namespace.inodes import WorkItem
from esdfs.namenode.namespace.view import ABOVE_ROOT, INODE_MAX, Tables, path_of

FIRST_STEPS: Final = 500
"""Taken by the event's own record; part of its meaning: never change it."""


def link_tree(tables: Tables, event: ev.TreeLinked, txid: int) -> None:
    """Begin to give a past directory, and all below it, new inodes."""
    past = tables.source(event.source_txid)
    place = past.place_of(event.source_inode)
    assert place is not None, f"txid {txid} links inode {event.source_inode}, which was not there"
    source = past.child(*place)
    assert source is not None, f"txid {txid} links inode {event.source_inode}, which was not there"
    top = replace(source, version=txid, inode=event.inode)
    if event.replaced_inode:
        tables.put_entry(event.parent, event.name, top)
    else:
        tables.add_entry(event.parent, event.name, top)
    tables.used_inodes(event.inode + 1)
    tables.begin_work(event.inode)
    tables.add_step(txid, WorkItem(event.source_txid, event.source_inode, event.inode, ""))
    continue_work(tables, txid, FIRST_STEPS)


def rewind(tables: Tables, event: ev.NamespaceRewound, txid: int) -> None:
    """Begin to make every entry what it was."""
    tables.begin_work(0)
    # The root itself can be read at once; what is in it, when all is there.
    tables.rewind_entry(ABOVE_ROOT, "", tables.source(event.to_txid).child(ABOVE_ROOT, ""))
    tables.add_step(txid, WorkItem(event.to_txid, event.to_txid, INODE_MAX, ""))
    continue_work(tables, txid, FIRST_STEPS)


def continue_work(tables: Tables, began_txid: int, steps_max: int) -> None:
    """Take up to ``steps_max`` steps of what the transaction ``began_txid`` began."""
    work = tables.work(began_txid)
    if work is None:
        return  # two leaders may both have asked for the last steps
    with tables.acting_for(began_txid):
        left = steps_max
        while left > 0:
            first = tables.first_step(began_txid)
            if first is None:
                tables.end_work(began_txid)
                return
            number, step = first
            take = _link_children if work.top else _rewind_changes
            rest, taken = take(tables, began_txid, step, left)
            tables.put_step(began_txid, number, rest)
            left -= taken
        if tables.first_step(began_txid) is None:
            tables.end_work(began_txid)


def _link_children(
    tables: Tables, began_txid: int, step: WorkItem, limit: int
) -> tuple[WorkItem | None, int]:
    children = tables.source(step.source_txid).children(step.source, after=step.after, limit=limit)
    for name, inode in children:
        linked = replace(inode, version=began_txid, inode=tables.next_inode())
        copies.link(tables, linked)
        tables.add_entry(step.target, name, linked)
        tables.used_inodes(linked.inode + 1)
        if inode.is_directory:
            tables.add_step(began_txid, WorkItem(step.source_txid, inode.inode, linked.inode, ""))
    if len(children) < limit:
        return None, len(children) + 1
    return WorkItem(step.source_txid, step.source, step.target, children[-1][0]), limit


def _rewind_changes(
    tables: Tables, began_txid: int, step: WorkItem, limit: int
) -> tuple[WorkItem | None, int]:
    then = tables.source(step.source_txid)
    changes = tables.changes(began_txid - 1, after=(step.source, step.target, step.after), limit=limit)
    was_there: dict[int, bool] = {ABOVE_ROOT: True}
    for _, parent, name in changes:
        if parent not in was_there:
            was_there[parent] = path_of(then, parent) is not None
        if was_there[parent]:
            was = then.child(parent, name)
            tables.rewind_entry(parent, name, was)
            if was is not None:
                copies.linked(tables, was)
            continue
        # The directory goes, or is gone, with all below it; but what came into it from elsewhere goes back.
        now = tables.named(parent, name)
        if now is not None and path_of(then, now) is not None:
            tables.rewind_entry(parent, name, None)
    if len(changes) < limit:
        return None, len(changes) + 1
    return WorkItem(step.source_txid, *changes[-1]), limit
