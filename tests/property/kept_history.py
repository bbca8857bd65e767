"""A file system in the most obvious way: dictionaries of whole trees, one for every version."""

from bisect import bisect_right
from typing import NamedTuple


class Node(NamedTuple):
    """What is at a path: ``data`` is None for a directory."""

    mode: int
    data: bytes | None


Tree = dict[str, Node]
DIRECTORY = Node(0o755, None)


class Pin(NamedTuple):
    """A snapshot: the tree as it was, below ``path`` only."""

    txid: int
    path: str
    tree: Tree


def parent_of(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"


def below(tree: Tree, path: str) -> Tree:
    """What is at a path, and all below it."""
    prefix = path.rstrip("/") + "/"
    return {name: node for name, node in tree.items() if name == path or name.startswith(prefix)}


class Model:
    """What the namespace must be.

    Attributes:
        oldest: Where the window begins.
        rewound: The newest transaction that made the whole namespace what it was.
    """

    def __init__(self, txid: int) -> None:
        self.now: Tree = {"/": Node(0o755, None)}
        self.pins: dict[str, Pin] = {}
        self.oldest = 1
        self.rewound = 0
        self._txids = [txid]
        self._trees = [dict(self.now)]

    def commit(self, txid: int) -> None:
        """The present is what transaction ``txid`` left."""
        assert txid >= self._txids[-1]
        if txid == self._txids[-1]:
            self._trees[-1] = dict(self.now)
        elif self.now != self._trees[-1]:
            self._txids.append(txid)
            self._trees.append(dict(self.now))

    def at(self, txid: int) -> Tree:
        """The whole tree after ``txid``, which is in the window."""
        return self._trees[max(0, bisect_right(self._txids, txid) - 1)]

    def readable(self, txid: int) -> Tree | None:
        """The whole tree after ``txid``, if all of it can be read."""
        if txid >= self.oldest:
            return self.at(txid)
        return next((pin.tree for pin in self.pins.values() if pin.txid == txid and pin.path == "/"), None)

    def part(self, txid: int, path: str) -> Tree | None:
        """What was at ``path`` and below, if all of that can be read."""
        whole = self.readable(txid)
        if whole is not None:
            return below(whole, path)
        for pin in self.pins.values():
            if pin.txid == txid and (path == pin.path or path.startswith(pin.path + "/")):
                return below(pin.tree, path)
        return None

    def move_horizon(self, oldest: int) -> None:
        self.oldest = max(self.oldest, oldest)
        first = max(0, bisect_right(self._txids, self.oldest) - 1)
        del self._txids[:first], self._trees[:first]

    def pin(self, name: str, txid: int, path: str) -> None:
        tree = self.part(txid, path)
        assert tree is not None, f"snapshot {name} was made of what cannot be read"
        self.pins[name] = Pin(txid, path, tree)

    def referenced(self) -> set[bytes]:
        """The contents that the window and the snapshots show."""
        trees = [*self._trees, *(pin.tree for pin in self.pins.values())]
        return {node.data for tree in trees for node in tree.values() if node.data}

    # --- commands -----------------------------------------------------------------------------

    def make_directory(self, path: str) -> None:
        while path not in self.now:
            self.now[path] = DIRECTORY
            path = parent_of(path)

    def write(self, path: str, data: bytes) -> None:
        self.now[path] = Node(0o644, data)

    def delete(self, path: str) -> None:
        for gone in below(self.now, path):
            del self.now[gone]

    def rename(self, source: str, target: str) -> None:
        if source == target:
            return
        moved = {target + path[len(source) :]: node for path, node in below(self.now, source).items()}
        self.delete(source)
        self.delete(target)
        self.now |= moved

    def copy(self, source: str, target: str) -> None:
        self.now[target] = self.now[source]

    def set_mode(self, path: str, mode: int) -> None:
        self.now[path] = self.now[path]._replace(mode=mode)

    def restore(self, path: str, txid: int, target: str) -> None:
        then = self.part(txid, path)
        assert then is not None, f"{path} was restored from txid {txid}, which cannot be read"
        self.make_directory(parent_of(target))
        self.delete(target)
        self.now |= {target + found[len(path) :]: node for found, node in then.items()}

    def restore_all(self, txid: int, *, rewound: bool) -> None:
        then = self.readable(txid)
        assert then is not None, f"all was restored from txid {txid}, which cannot be read"
        root = self.now["/"]
        self.now = dict(then)
        if not rewound:
            self.now["/"] = root
