"""Random histories: whatever changed below a path is in its feed, and in the audit of what it was."""

import random
from pathlib import Path
from typing import Final

import pytest

from esdfs.errors import EsdfsError
from esdfs.namenode import commands as cmd
from esdfs.namenode.audit.changes import STRUCTURAL, Change
from esdfs.namenode.audit.questions import changes_at
from esdfs.namenode.commands import Command
from esdfs.namenode.events import Kind
from tests.unit.namenode.audit.world import Audited
from tests.unit.namenode.world import World

STEPS: Final = 120
NAMES: Final = ("a", "b", "ab")
NOT_VISIBLE: Final = {int(Kind.FILE_OPENED), int(Kind.BLOCKS_ALLOCATED), int(Kind.FILE_ABORTED)}

Tree = dict[str, tuple[int, int]]


class Player:
    """Does things at random to a small tree, so that paths meet again."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._dice = world, random.Random(seed)

    def path(self) -> str:
        return "/" + "/".join(self._dice.choice(NAMES) for _ in range(self._dice.randint(1, 3)))

    def step(self) -> None:
        try:
            match self._dice.randrange(8):
                case 0:
                    self._world.write(self.path(), self._dice.randrange(1, 9), overwrite=True)
                case 1:
                    opened = self._world.run(cmd.CreateFile(self.path(), "lease", overwrite=True, blocks=1))
                    self._world.run(cmd.AbortFile(opened["inode"], "lease"))
                case 2:
                    self._world.run(*(self._command() for _ in range(3)))
                case _:
                    self._world.run(self._command())
        except EsdfsError:
            pass  # refused: what is there does not allow it

    def _command(self) -> Command:
        dice, path = self._dice, self.path()
        match dice.randrange(9):
            case 0 | 1:
                return cmd.MakeDirectory(path, parents=True)
            case 2 | 3:
                return cmd.Rename(path, self.path(), overwrite=True)
            case 4:
                return cmd.Delete(path, recursive=True)
            case 5:
                return cmd.SetAttributes(path, mode=dice.randrange(0o1000))
            case 6:
                return cmd.Copy(path, self.path(), overwrite=True)
            case 7:
                then = dice.randint(max(3, self._world.txid - 40), self._world.txid)
                return cmd.Restore(path, then, self.path(), overwrite=True)
            case _:
                if dice.randrange(4):
                    return cmd.MakeDirectory(path, parents=True)
                return cmd.Restore("/", dice.randint(max(3, self._world.txid - 40), self._world.txid))


def trees(world: World, first: int) -> dict[int, Tree]:
    """By txid, every path with (inode, version) after it."""
    found: dict[int, Tree] = {}
    for txid in range(first, world.txid + 1):
        with world.snapshot(txid) as view:
            paths: dict[int, str] = {}
            tree: Tree = {}
            for parent, name, inode in view.walk(view.resolve("/")):
                above = "" if parent is None else paths[parent]
                paths[inode.inode] = path = "" if parent is None else f"{above}/{name}"
                tree[path or "/"] = (inode.inode, inode.version)
            found[txid] = tree
    return found


def below(tree: Tree, prefix: str) -> Tree:
    return {
        path: what for path, what in tree.items() if prefix in {"/", path} or path.startswith(f"{prefix}/")
    }


@pytest.mark.parametrize("seed", range(12))
def test_whatever_changed_below_a_path_is_in_its_feed_and_in_the_audit_of_it(
    tmp_path: Path, seed: int
) -> None:
    world = World(tmp_path)
    audited = Audited(world)
    player = Player(world, seed)
    first = world.txid
    for number in range(STEPS):
        player.step()
        if number == STEPS // 2:
            audited.index()  # one half on disk, the other in the reader's memory
    states = trees(world, first)
    prefixes = {"/", *(path for tree in states.values() for path in tree)}
    for prefix in sorted(prefixes)[:: 1 + len(prefixes) // 12]:
        feed: dict[int, list[Change]] = {}
        for txid, change in audited.feed(prefix, first=first + 1):
            feed.setdefault(txid, []).append(change)
        for txid in range(first + 1, world.txid + 1):
            changed = below(states[txid], prefix) != below(states[txid - 1], prefix)
            assert not changed or txid in feed, f"{prefix}: txid {txid} is missing in the feed"
            assert changed or all(may_show_nothing(audited, txid, one) for one in feed.get(txid, []))
    audits(audited, states, first)
    world.close()
    audited.journal.close()


def may_show_nothing(audited: Audited, txid: int, change: Change) -> bool:
    """Whether a change may be of a path although nothing there looks different after its record."""
    with audited.rows() as (rows, _):
        is_one_of_several = len(changes_at(rows, txid)) > 1
    is_above = change.replaces_tree or change.kind in STRUCTURAL
    return is_one_of_several or is_above or change.kind in NOT_VISIBLE


def audits(audited: Audited, states: dict[int, Tree], first: int) -> None:
    """The audit of a living path has every record that made a new version of what is there."""
    newest = states[max(states)]
    for path, (inode, _) in sorted(newest.items()):
        if path == "/":
            continue
        told = {txid for txid, _, _ in audited.look(path).entries}
        versions = {
            version
            for txid, tree in states.items()
            for where, (number, version) in tree.items()
            if number == inode and version > first and txid >= version
        }
        assert versions <= told, f"{path}: {sorted(versions - told)} missing in the audit"
