"""Random commands against a plain dictionary that keeps every version of the tree.

At random past transactions, after restarts and after a rebuild from the journal, every listing and every
lookup must equal the model's.
"""

import random
from pathlib import Path

import pytest

from esdfs.errors import EsdfsError
from esdfs.namenode import commands as cmd
from esdfs.namenode.projection.digest import digest
from tests.unit.namenode.world import World

Tree = dict[str, int | None]
"""Path to a file's checksum, or None for a directory."""


class Model:
    """What the namespace must be, in the most obvious way."""

    def __init__(self, txid: int) -> None:
        self.now: Tree = {"/": None}
        self.past: dict[int, Tree] = {txid: dict(self.now)}

    def below(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        return [name for name in self.now if name.startswith(prefix) and name != path]

    def commit(self, txid: int) -> None:
        self.past[txid] = dict(self.now)

    def make_directory(self, path: str) -> None:
        while path not in self.now:
            self.now[path] = None
            path = parent_of(path)

    def write(self, path: str, crc32c: int) -> None:
        self.now[path] = crc32c

    def delete(self, path: str) -> None:
        for gone in [path, *self.below(path)]:
            del self.now[gone]

    def rename(self, source: str, target: str) -> None:
        moved = {target + path[len(source) :]: self.now[path] for path in [source, *self.below(source)]}
        self.delete(source)
        self.now |= moved

    def rewind(self, txid: int) -> None:
        self.now = dict(self.past[max((at for at in self.past if at <= txid), default=min(self.past))])

    def restore(self, path: str, txid: int, target: str) -> None:
        then = self.past[max(at for at in self.past if at <= txid)]
        self.make_directory(parent_of(target))
        for gone in [target, *self.below(target)]:
            self.now.pop(gone, None)
        for found, value in then.items():
            if found == path or found.startswith(path + "/"):
                self.now[target + found[len(path) :]] = value


def parent_of(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"


def random_path(rng: random.Random) -> str:
    return "/" + "/".join(rng.choice("abc") for _ in range(rng.randint(1, 3)))


def step(world: World, model: Model, rng: random.Random) -> None:
    """One random command, carried out by both when the real one accepts it."""
    path, other, crc32c = random_path(rng), random_path(rng), rng.randrange(1 << 32)
    kind = rng.choice(
        ["mkdir", "write", "write", "overwrite", "rename", "replace", "rm", "restore", "chmod", "rewind"]
    )
    as_of = rng.randint(1, world.txid)
    try:
        match kind:
            case "mkdir":
                world.run(cmd.MakeDirectory(path, parents=True))
                model.make_directory(path)
            case "write" | "overwrite":
                world.write(path, overwrite=kind == "overwrite", crc32c=crc32c)
                model.write(path, crc32c)
            case "rename" | "replace":
                world.run(cmd.Rename(path, other, overwrite=kind == "replace"))
                if path != other:
                    model.now.pop(other, None)
                    model.rename(path, other)
            case "rm":
                world.run(cmd.Delete(path, recursive=True))
                model.delete(path)
            case "rewind":
                world.run(cmd.Restore("/", as_of))
                model.rewind(as_of)
            case "restore":
                world.run(cmd.Restore(path, as_of, other))
                model.restore(path, as_of, other)
            case _:
                world.run(cmd.SetAttributes(path, mode=rng.randrange(0o777)))
    except EsdfsError:
        abandon_open_files(world)
    model.commit(world.txid)


def abandon_open_files(world: World) -> None:
    for file in world.metadata.open_files():
        world.run(cmd.AbortFile(file.inode, file.lease))


def read_tree(world: World, as_of: int | None) -> Tree:
    """The whole tree as readers see it, through listings; each entry also looked up by path and by id."""
    tree: Tree = {}
    with world.snapshot(as_of) as view:
        pending = ["/"]
        while pending:
            path = pending.pop()
            inode = view.resolve(path)
            assert view.by_id(inode.inode) == (path, inode)
            tree[path] = None if inode.is_directory else inode.crc32c
            if inode.is_directory:
                pending += [f"{path.rstrip('/')}/{name}" for name, _ in view.children(inode.inode)]
    return tree


def check(world: World, model: Model, rng: random.Random, moments: int) -> None:
    assert read_tree(world, None) == model.now
    for _ in range(moments):
        txid = rng.randint(min(model.past), world.txid)
        assert read_tree(world, txid) == model.past[max(at for at in model.past if at <= txid)]


@pytest.mark.parametrize("seed", range(8))
def test_every_past_transaction_reads_as_it_was(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    world = World(tmp_path)
    model = Model(world.txid)
    try:
        for round_number in range(4):
            for _ in range(60):
                step(world, model, rng)
            check(world, model, rng, moments=10)
            if round_number == 1:
                world.close()
                world.open()
                model.commit(world.txid)
                check(world, model, rng, moments=5)
        before = digest(world.store)
        world.store.clear()
        world.metadata.catch_up()
        assert digest(world.store) == before
        check(world, model, rng, moments=10)
    finally:
        world.close()


@pytest.mark.parametrize("seed", range(3))
def test_paged_listings_of_the_past_equal_whole_ones(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    world = World(tmp_path)
    names = [f"n{i:02}" for i in range(40)]
    try:
        for _ in range(150):
            name = rng.choice(names)
            with world.snapshot() as view:
                exists = any(found == name for found, _ in view.children(1))
            world.run(cmd.Delete(f"/{name}") if exists else cmd.MakeDirectory(f"/{name}"))
        for _ in range(20):
            with world.snapshot(rng.randint(5, world.txid)) as view:
                whole = view.children(1)
                paged, after = [], ""
                while page := view.children(1, after, rng.randint(1, 5)):
                    paged += page
                    after = page[-1][0]
                assert paged == whole
    finally:
        world.close()
