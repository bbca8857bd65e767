import pytest

from esdfs.errors import AlreadyExists
from esdfs.namenode.commands import Delete, MakeDirectory
from tests.unit.namenode.rest.world import World, directory, file


def test_making_a_directory_answers_it(world: World) -> None:
    world.reader.put({"/d": directory(6, 2)})
    world.engine.reply = [{"inode": 6, "existed": False}]
    answer = world.post("/directories", {"path": "/d"}, headers={"Esdfs-User": "ada"})
    assert (answer.status_code, answer.headers["Location"]) == (201, "/files/6")
    assert (answer.json["path"], answer.json["type"]) == ("/d", "directory")
    assert world.engine.executed().commands == [MakeDirectory("/d", False, 0o755, "ada", "users")]


@pytest.mark.parametrize("result", [{"inode": 6, "existed": True}, {}])
def test_making_one_that_exists_with_parents_is_200(world: World, result: dict[str, object]) -> None:
    world.reader.put({"/d": directory(6, 2)})
    world.engine.reply = [result]
    assert world.post("/directories", {"path": "/d", "parents": True}).status_code == 200


def test_what_exists_without_parents_is_a_conflict(world: World) -> None:
    world.engine.reply = AlreadyExists("/d exists already", path="/d")
    answer = world.post("/directories", {"path": "/d"})
    assert (answer.status_code, answer.json["code"], answer.json["path"]) == (409, "already-exists", "/d")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_listing_pages_by_name_and_tells_where_to_stay(world: World) -> None:
    names = {f"/d/f{i}": file(10 + i, 2) for i in range(5)}
    txid = world.reader.put({"/d": directory(6, 2), **names, "/d/f1/below": file(99, 2)})
    first = world.get("/directories/d", params={"limit": 2})
    assert [entry["path"] for entry in first.json["entries"]] == ["/d/f0", "/d/f1"]
    assert (first.json["next"], first.json["txid"], first.headers["Esdfs-Txid"]) == ("f1", txid, str(txid))
    world.reader.put({"/d": directory(6, 2)})
    pinned = {"limit": 3, "after": "f1", "as_of": txid}
    rest = world.get("/directories/d", params=pinned)
    assert [entry["path"] for entry in rest.json["entries"]] == ["/d/f2", "/d/f3", "/d/f4"]
    assert (rest.json["next"], rest.headers["Esdfs-Txid"]) == (None, str(txid))


@pytest.mark.parametrize("path", ["/directories/", "/directories//"])
def test_the_empty_path_is_the_root(world: World, path: str) -> None:
    world.reader.put({"/d": directory(6, 2)})
    answer = world.get(path)
    assert (answer.json["path"], [entry["path"] for entry in answer.json["entries"]]) == ("/", ["/d"])


@pytest.mark.parametrize("sent", ["d/e%20f", "/d/e%20f", "d/e%20f/", "d%2Fe%20f"])
def test_a_path_may_come_with_slashes_at_either_end_and_encoded(world: World, sent: str) -> None:
    world.reader.put({"/d": directory(6, 2), "/d/e f": directory(7, 2)})
    assert world.get(f"/directories/{sent}").json["path"] == "/d/e f"


def test_listing_a_file_says_that_it_is_none(world: World) -> None:
    world.reader.put({"/a": file(5, 2)})
    answer = world.get("/directories/a")
    assert (answer.status_code, answer.json["code"]) == (409, "not-a-directory")


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "ten", "1" * 30])
def test_a_page_size_out_of_bounds_is_refused(world: World, limit: str) -> None:
    answer = world.get("/directories/", params={"limit": limit})
    assert (answer.status_code, answer.json["field"]) == (400, "limit")


def test_removing_is_recursive_only_when_told(world: World) -> None:
    assert world.send("DELETE", "/directories/d").json == {"txid": 1}
    world.send("DELETE", "/directories/d", params={"recursive": "true"}, headers={"If-Match": '"7"'})
    plain, recursive = world.engine.calls
    assert plain.commands == [Delete("/d", only="directory")]  # type: ignore[union-attr]  # both are changes
    assert recursive.commands == [  # type: ignore[union-attr]
        Delete("/d", recursive=True, only="directory", if_version=7)
    ]
    assert world.send("DELETE", "/directories/d", params={"recursive": "perhaps"}).status_code == 400
