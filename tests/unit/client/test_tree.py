"""Directories as wholes."""

import random
from pathlib import Path

import pytest

from esdfs.blocks import MIB
from esdfs.client.tree import BATCH_FILES_MAX, get_tree, put_tree
from esdfs.client.writer import WriteOptions
from esdfs.errors import InvalidRequest
from tests.datanodes import Process
from tests.unit.client.conftest import World

PLAIN = WriteOptions()


def plant(root: Path, count: int) -> dict[str, bytes]:
    contents = {f"d{n % 3}/f{n}": random.Random(n).randbytes(n * 11) for n in range(count)}
    contents["big"] = random.Random(7).randbytes(2 * MIB + 5)
    for name, data in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "empty").mkdir()
    return contents


def harvest(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_tree_arrives_in_batches_and_comes_back(world: World, tmp_path: Path) -> None:
    contents = plant(tmp_path / "in", 150)
    steps: list[int] = []
    copied = put_tree(world.writing, tmp_path / "in", "/t", PLAIN, steps.append)
    size_bytes = sum(map(len, contents.values()))
    assert copied == (151, size_bytes)
    assert sum(steps) == size_bytes
    transactions = [r for r in world.server.requests if r.path == "/transactions"]
    assert len(transactions) < 12
    assert max(len(r.body["commands"]) for r in transactions) == BATCH_FILES_MAX
    got = get_tree(world.reading, "/t", tmp_path / "out", overwrite=False)
    assert got == copied
    assert harvest(tmp_path / "out") == contents
    assert (tmp_path / "out" / "empty").is_dir()


def test_files_of_a_broken_pipeline_are_written_one_by_one(
    world: World, tmp_path: Path, fresh_nodes: list[Process]
) -> None:
    contents = plant(tmp_path / "in", 5)
    fresh_nodes[0].kill()
    put_tree(world.writing, tmp_path / "in", "/t", PLAIN)
    assert {path.removeprefix("/t/"): world.content(path) for path in world.namespace.files} == contents
    assert world.namespace.open == {}


def test_a_batch_that_is_refused_leaves_none_of_it(world: World, tmp_path: Path) -> None:
    plant(tmp_path / "in", 5)
    put_tree(world.writing, tmp_path / "in", "/t", PLAIN)
    before = dict(world.namespace.files)
    (tmp_path / "in" / "d0" / "f0").write_bytes(b"changed")
    with pytest.raises(FileExistsError):
        put_tree(world.writing, tmp_path / "in", "/t", PLAIN)
    assert world.namespace.files == before
    put_tree(world.writing, tmp_path / "in", "/t", WriteOptions(overwrite=True))
    assert world.content("/t/d0/f0") == b"changed"


def test_what_is_neither_file_nor_directory_is_refused_before_anything_is_sent(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "dangling").symlink_to("nowhere")
    with pytest.raises(InvalidRequest, match="dangling"):
        put_tree(world.writing, tmp_path / "in", "/t", PLAIN)
    assert world.server.requests == []


def test_all_reads_of_a_tree_are_at_one_transaction(world: World, tmp_path: Path) -> None:
    plant(tmp_path / "in", 3)
    put_tree(world.writing, tmp_path / "in", "/t", PLAIN)
    world.server.requests.clear()
    get_tree(world.reading, "/t", tmp_path / "out", overwrite=False)
    first, *others = world.server.requests
    assert "as_of" not in first.query
    assert {request.query["as_of"] for request in others} == {"7"}
