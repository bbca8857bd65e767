"""Walking a subtree in one fixed order: depth first, by name. Pure."""

from collections.abc import Iterator

from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.view import View

_PAGE = 1000


def walk_subtree(view: View, top: Inode) -> Iterator[tuple[int | None, str, Inode]]:
    """(parent inode, name, inode) of ``top`` (with parent None) and everything below it."""
    yield None, "", top
    if top.is_directory:
        yield from _below(view, top.inode)


def _below(view: View, top: int) -> Iterator[tuple[int, str, Inode]]:
    # A stack of half-read directories: depth is bounded by paths, not by Python's recursion.
    stack = [_children(view, top)]
    while stack:
        for parent, name, inode in stack[-1]:
            yield parent, name, inode
            if inode.is_directory:
                stack.append(_children(view, inode.inode))
                break
        else:
            stack.pop()


def _children(view: View, directory: int) -> Iterator[tuple[int, str, Inode]]:
    after = ""
    while entries := view.children(directory, after=after, limit=_PAGE):
        for name, inode in entries:
            yield directory, name, inode
        after = entries[-1][0]
