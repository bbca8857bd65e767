"""What is told in a hurry is what a thorough look tells."""

import random

import pytest

from esdfs.blocks import DataNodeStatus
from esdfs.ids import Nanos
from esdfs.namenode.blocks.datanodes import DataNode, DataNodeTable
from esdfs.namenode.blocks.health import examine, is_whole
from esdfs.namenode.blocks.locations import DataNodeRow
from esdfs.namenode.blocks.replicas import Replica
from esdfs.namenode.namespace.inodes import BlockRecord
from tests.unit.namenode.blocks.world import policy


def table(rng: random.Random) -> DataNodeTable:
    nodes = DataNodeTable(policy())
    statuses = [DataNodeStatus.ACTIVE] * 4 + [*DataNodeStatus]
    racks = rng.randint(1, 3)
    rows = [
        DataNodeRow(
            number=number,
            node_id=f"dn-{number}",
            uuid="",
            incarnation=1,
            hostname=f"host {rng.randrange(4)}",
            port=1,
            status=rng.choice(statuses),
            rack=f"/{rng.randrange(racks)}",
        )
        for number in range(1, 7)
    ]
    nodes.restore(rows, Nanos(0))
    for node in nodes:
        node.registered = rng.random() < 0.9
    return nodes


def whole(record: BlockRecord, replicas: list[Replica], nodes: DataNodeTable) -> bool:
    domain_of = {node.number: nodes.domain(node.row) for node in nodes if node.serves}
    several = len(nodes.domains) > 1
    return is_whole(record, replicas, domain_of, 2, several)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_whole_needs_nothing(seed: int) -> None:
    rng = random.Random(seed)
    seen = 0
    for _ in range(2_000):
        nodes = table(rng)
        record = BlockRecord(1, 2, 10, rng.choice([0, 1, 2, 3]), True)
        replicas = [
            Replica(number, rng.choice([2] * 9 + [1]), rng.random() < 0.05)
            for number in rng.sample(range(1, 8), rng.randint(0, 4))
        ]
        if not whole(record, replicas, nodes):
            continue
        seen += 1
        health = examine(
            record,
            replicas,
            nodes,
            default_target=2,
            leaving=lambda _number: False,
            expected=lambda _number: False,
        )
        assert health.level is None
        assert len(health.good) == health.target
        assert not health.stale
        assert not health.corrupt
        assert not health.draining
    assert seen > 30


def test_what_is_as_it_should_be_is_whole() -> None:
    nodes = DataNodeTable(policy())
    for number, rack in ((1, "/a"), (2, "/a"), (3, "/b")):
        row = DataNodeRow(
            number=number, node_id=f"dn-{number}", uuid="", incarnation=1, hostname="", port=1, rack=rack
        )
        nodes._add(DataNode(row, Nanos(0), registered=True))
    record = BlockRecord(1, 2, 10, 0, True)

    assert whole(record, [Replica(1, 2), Replica(3, 2)], nodes)
    assert not whole(record, [Replica(1, 2), Replica(2, 2)], nodes)
    assert whole(record._replace(replication=1), [Replica(1, 2)], nodes)
    assert not whole(record._replace(complete=False), [Replica(1, 2), Replica(3, 2)], nodes)
