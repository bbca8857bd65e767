"""Files in and out of a real cluster, by each of the ways there are."""

import random
from pathlib import Path
from urllib.parse import quote

import pytest

from esdfs.blocks import MIB
from esdfs.checksum import crc32c
from esdfs.client import DFSClient
from tests.cluster import Cluster

SEVERAL_BLOCKS = random.Random(1).randbytes(3 * MIB + 4321)


@pytest.mark.parametrize("size", [0, 1, 65_536, MIB, MIB + 1, len(SEVERAL_BLOCKS)])
def test_the_python_client_gets_back_what_it_put(
    dfs: DFSClient, home: str, tmp_path: Path, size: int
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(SEVERAL_BLOCKS[:size])
    status = dfs.put_file(source, f"{home}/f")
    assert (status.size_bytes, status.crc32c) == (size, f"{crc32c(SEVERAL_BLOCKS[:size]):08x}")
    dfs.get_file(f"{home}/f", target)
    assert target.read_bytes() == SEVERAL_BLOCKS[:size]


def test_the_command_line_gets_back_what_it_put(live: Cluster, home: str, tmp_path: Path) -> None:
    source, target = tmp_path / "a b %+#é", tmp_path / "out"
    source.write_bytes(SEVERAL_BLOCKS)
    live.cli("put", str(source), f"{home}/")
    live.cli("get", f"{home}/{source.name}", str(target))
    assert target.read_bytes() == SEVERAL_BLOCKS
    assert live.cli("cat", f"{home}/{source.name}").stdout == SEVERAL_BLOCKS


def test_a_file_from_standard_input_goes_to_standard_output(live: Cluster, home: str) -> None:
    live.cli("put", "-", f"{home}/f", stdin=SEVERAL_BLOCKS)
    assert live.cli("get", f"{home}/f", "-").stdout == SEVERAL_BLOCKS


def test_a_tree_comes_back_as_it_was(live: Cluster, home: str, tmp_path: Path) -> None:
    tree, back = tmp_path / "tree", tmp_path / "back"
    contents = {f"d{n % 7}/e{n % 3}/f{n}": random.Random(n).randbytes(n * 700) for n in range(120)}
    contents["d0/empty"] = b""
    for name, content in contents.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    (tree / "nothing here").mkdir()
    live.cli("put", "-r", str(tree), f"{home}/tree")
    live.cli("get", "-r", f"{home}/tree", str(back))
    found = {p.relative_to(back).as_posix(): p.read_bytes() for p in back.rglob("*") if p.is_file()}
    assert found == contents
    assert (back / "nothing here").is_dir()


def test_any_range_of_a_file_is_what_it_was(dfs: DFSClient, home: str) -> None:
    dfs.write_bytes(f"{home}/f", SEVERAL_BLOCKS)
    chance = random.Random(2)
    edges = [
        0,
        1,
        65_535,
        65_536,
        MIB - 1,
        MIB,
        MIB + 1,
        2 * MIB,
        len(SEVERAL_BLOCKS) - 1,
        len(SEVERAL_BLOCKS),
    ]
    with dfs.open(f"{home}/f") as file:
        for _ in range(60):
            start, end = sorted(chance.sample(edges, 2))
            file.seek(start)
            assert file.read(end - start) == SEVERAL_BLOCKS[start:end], (start, end)


def test_an_overwrite_shows_the_old_file_until_the_new_one_is_whole(dfs: DFSClient, home: str) -> None:
    dfs.write_bytes(f"{home}/f", b"old")
    with dfs.open(f"{home}/f", "wb") as file:
        file.write(b"new" * MIB)
        assert dfs.read_bytes(f"{home}/f") == b"old"
    assert dfs.read_bytes(f"{home}/f") == b"new" * MIB


def test_an_exception_while_writing_leaves_nothing_visible(dfs: DFSClient, home: str) -> None:
    def fail_half_way() -> None:
        with dfs.open(f"{home}/f", "wb") as file:
            file.write(SEVERAL_BLOCKS)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert dfs.list_directory(home) == []
    dfs.write_bytes(f"{home}/f", b"the path is free")


def test_compressible_data_is_stored_smaller_and_comes_back_the_same(
    dfs: DFSClient, home: str, tmp_path: Path
) -> None:
    text = b"".join(b"line %d of a log that says the same all day\n" % n for n in range(60_000))
    (tmp_path / "log").write_bytes(text)
    dfs.put_file(tmp_path / "log", f"{home}/log", compress="auto")
    blocks = dfs.blocks(f"{home}/log")
    assert sum(block.stored_bytes for block in blocks) < len(text) / 4
    assert dfs.read_bytes(f"{home}/log") == text
    assert dfs.open(f"{home}/log").read() == text


def test_each_block_is_on_two_nodes_and_both_copies_are_whole(
    live: Cluster, dfs: DFSClient, home: str
) -> None:
    dfs.write_bytes(f"{home}/f", SEVERAL_BLOCKS)
    blocks = dfs.blocks(f"{home}/f")
    assert [block.offset for block in blocks] == [0, MIB, 2 * MIB, 3 * MIB]
    for block in blocks:
        replicas = live.replicas(block.block_id)
        assert set(replicas) == {location.node_id for location in block.locations}
        assert len(replicas) == 2
        part = SEVERAL_BLOCKS[block.offset : block.offset + block.length_bytes]
        assert [file.read_bytes() == part for file in replicas.values()] == [True, True]


def test_the_rest_interface_carries_a_file_from_upload_to_deletion(
    live: Cluster, dfs: DFSClient, home: str
) -> None:
    made = live.rest("POST", "/files/upload", {"path": f"{home}/f", "blocks": 1})
    assert made.status == 201
    assert len(made.body["blocks"][0]["targets"]) == 2
    assert live.rest("GET", f"/files?path={home}/f").status == 404, "nothing is visible before it is complete"
    lease = {"lease": made.body["lease"]}
    assert live.rest("POST", f"/files/{made.body['file_id']}/abort", lease).status == 200

    status = dfs.write_bytes(f"{home}/f", b"content")
    got = live.rest("GET", f"/files/download/{status.file_id}")
    assert got.status == 200
    assert [len(block["locations"]) for block in got.body["blocks"]] == [2]
    assert got.headers["ETag"]
    assert live.rest("DELETE", f"/files/{status.file_id}").status == 200
    assert live.rest("GET", f"/files?path={home}/f").status == 404


def test_names_of_any_script_work_everywhere(live: Cluster, dfs: DFSClient, home: str) -> None:
    names = ("naïve", "文件", "пробел и %2F", "a+b&c=d?e#f", "-dash", "~", "quote'\"", "emoji🙂")
    for name in names:
        path = f"{home}/{name}"
        dfs.write_bytes(path, name.encode())
        assert dfs.read_bytes(path) == name.encode()
        assert live.rest("GET", f"/files?path={quote(path, safe='')}").body["path"] == path
        assert live.rest("GET", f"/directories{quote(home)}?after={quote(name)}&limit=1").status == 200
    assert {row["path"] for row in live.rows("ls", home)} == {f"{home}/{name}" for name in names}
    assert live.cli("cat", *(f"{home}/{name}" for name in names)).stdout == "".join(names).encode()


def test_a_large_directory_is_listed_whole_and_in_order(dfs: DFSClient, home: str) -> None:
    commands = [{"kind": "make-directory", "path": f"{home}/{n:05}", "parents": False} for n in range(2500)]
    for start in range(0, len(commands), 500):
        dfs.transact(commands[start : start + 500])
    assert [s.path for s in dfs.list_directory(home)] == [command["path"] for command in commands]
