import multiprocessing
import random
from pathlib import Path

import pytest

from esdfs.blocks import DataNodeStatus
from esdfs.errors import InsufficientStorage
from esdfs.namenode.blocks.locations import DataNodeRow, LocationsStore, open_reader
from esdfs.namenode.blocks.replicas import Replica


def row(number: int, **changes: object) -> DataNodeRow:
    values: dict[str, object] = {
        "number": number,
        "node_id": f"dn-{number}",
        "uuid": "u",
        "incarnation": 1,
        "hostname": "h",
        "port": 9,
    }
    return DataNodeRow(**(values | changes))  # type: ignore[arg-type]  # the fields are mixed


def read(directory: Path) -> tuple[list[Replica], dict[int, DataNodeRow]]:
    reader = open_reader(directory)
    try:
        return reader.replicas(5), reader.datanodes()
    finally:
        reader.close()


def test_another_process_reads_what_was_written(tmp_path: Path) -> None:
    store = LocationsStore(tmp_path)
    with store.write() as locations:
        locations.put(5, Replica(1, 7))
        locations.put(5, Replica(2, 7, corrupt=True))
    store.put_datanodes([row(1), row(2, status=DataNodeStatus.DEAD)])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        replicas, nodes = pool.apply(read, (tmp_path,))
    assert replicas == [Replica(1, 7), Replica(2, 7, corrupt=True)]
    assert nodes == {1: row(1), 2: row(2, status=DataNodeStatus.DEAD)}
    assert nodes[1].address == "h:9"
    store.close()


def test_a_datanodes_blocks_are_paged_in_order_and_follow_every_change(tmp_path: Path) -> None:
    store = LocationsStore(tmp_path)
    with store.write() as locations:
        for block_id in (9, 3, 300, 4):
            assert locations.put(block_id, Replica(1, 1))
        locations.put(3, Replica(2, 1))
        assert not locations.put(3, Replica(2, 1))
        assert locations.remove(4, 1)
        assert not locations.remove(4, 1)
    assert store.blocks_of(1, limit=2) == [3, 9]
    assert store.blocks_of(1, after=9, limit=9) == [300]
    assert store.blocks_of(7, limit=9) == []
    assert store.blocks(limit=9) == [3, 9, 300]
    store.close()


def test_a_pipelines_order_comes_before_what_was_reported_earlier(tmp_path: Path) -> None:
    store = LocationsStore(tmp_path)
    with store.write() as locations:
        locations.put(1, Replica(3, 1))
        locations.put(1, Replica(2, 1))
        locations.lead(1, [Replica(9, 1), Replica(2, 1)])
    assert [replica.number for replica in store.replicas(1)] == [9, 2, 3]
    assert store.blocks_of(9, limit=9) == [1]
    store.close()


def test_it_survives_a_process_and_not_a_reboot(tmp_path: Path) -> None:
    for boot, fresh, kept in (("a", True, []), ("a", False, [Replica(1, 1)]), ("b", True, [])):
        store = LocationsStore(tmp_path, boot=boot)
        assert store.fresh is fresh
        assert store.replicas(1) == kept
        with store.write() as locations:
            locations.put(1, Replica(1, 1))
        store.close()


def test_a_reader_pages_through_all_blocks_with_their_copies(tmp_path: Path) -> None:
    store = LocationsStore(tmp_path)
    with store.write() as locations:
        for block_id in (1, 2, 300, 1 << 40):
            locations.put(block_id, Replica(1, 1))
        locations.put(2, Replica(2, 1, corrupt=True))
    store.close()
    reader = open_reader(tmp_path)
    assert reader.page(0, 2) == [(1, [Replica(1, 1)]), (2, [Replica(1, 1), Replica(2, 1, corrupt=True)])]
    assert [block_id for block_id, _ in reader.page(2, 9)] == [300, 1 << 40]
    assert reader.page(1 << 40, 9) == []
    reader.close()


def put_many(store: LocationsStore, count: int, *, fail: bool = False) -> None:
    with store.write() as locations:
        for block_id in range(1, count + 1):
            locations.put(block_id, Replica(1, 1))
        if fail:
            raise ArithmeticError


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = LocationsStore(tmp_path)
    with pytest.raises(ArithmeticError):
        put_many(store, 1, fail=True)
    assert store.replicas(1) == []
    store.close()


def test_a_full_map_is_an_error_that_says_so(tmp_path: Path) -> None:
    store = LocationsStore(tmp_path, bytes_max=1 << 17)
    with pytest.raises(InsufficientStorage, match="cannot grow"):
        put_many(store, 100_000)
    store.close()


def test_a_block_with_two_copies_costs_less_than_100_bytes(tmp_path: Path) -> None:
    store = LocationsStore(tmp_path)
    count = 100_000
    for start in range(0, count, 100):
        with store.write() as locations:
            for block_id in range(start, start + 100):
                # Multiplied by a prime: ids come in no order, as in the report of a hashed directory.
                locations.put(1 + block_id * 7919 % count, Replica(block_id % 5, 1))
                locations.put(1 + block_id * 7919 % count, Replica(5 + block_id % 5, 1))
    assert store.used_bytes() < 100 * count
    store.close()


def test_a_generation_beyond_all_that_can_be_is_kept_as_a_wrong_one(tmp_path: Path) -> None:
    store = LocationsStore(tmp_path)
    with store.write() as locations:
        locations.put(1, Replica(1, 1 << 63, corrupt=True))
    (held,) = store.replicas(1)
    assert held == Replica(1, (1 << 32) - 1, corrupt=True)
    store.close()


@pytest.mark.parametrize("seed", range(20))
def test_many_copies_at_once_are_what_they_are_one_by_one(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    stores = [LocationsStore(tmp_path / name) for name in ("once", "singly")]
    together, singly = stores
    for _ in range(8):
        number = rng.randint(1, 3)
        ids = rng.sample(range(1, 60), 20)
        corrupt = rng.sample(ids, 2)
        copies = [(block_id, rng.randint(1, 2)) for block_id in ids]
        for store in stores:
            with store.write() as locations:
                for block_id in corrupt:
                    locations.put(block_id, Replica(number, 1, corrupt=True))
        with together.write() as locations:
            news = locations.put_all(number, *zip(*copies, strict=True))
        with singly.write() as locations:
            expected = [i for i, generation in copies if locations.put(i, Replica(number, generation))]
        assert sorted(news) == sorted(expected)
    every = together.blocks(limit=99)
    assert together.located() == len(every)
    assert together.replicas_of(every) == singly.replicas_of(singly.blocks(limit=99))
    for number in (1, 2, 3):
        assert together.blocks_of(number, limit=99) == singly.blocks_of(number, limit=99)
    for store in stores:
        store.close()
