"""Nothing a DataNode says ends the NameNode: it is in bounds, or refused and of no effect."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from esdfs.errors import EsdfsError, InvalidRequest
from esdfs.namenode.blocks import bodies
from tests.unit.namenode.blocks.world import BLOCK_BYTES, World

I63, U64 = (1 << 63) - 1, (1 << 64) - 1
INTEGERS = (-(1 << 63), -1, 0, 1, 1 << 32, I63 - 1, I63, I63 + 1, U64)
FLOATS = (math.nan, math.inf, -math.inf, -1.0, -1e-300, -0.0, 0.0, 1e-300, 1e15, 1.8e308, I63)
TEXTS = ("", "a", "a" * 64, "a" * 255, "a" * 256, "a" * 5_000, "é" * 255, "\0", "a\n", "-x", "/", "..", " ")

TALL = {"storage_capacity": INTEGERS, "available_space": INTEGERS, "used_bytes": INTEGERS,
        "blocks_stored": INTEGERS}  # fmt: skip
VOLUME: dict[str, tuple[object, ...]] = {
    "volume_id": TEXTS,
    "failed_why": TEXTS,
    "capacity_bytes": INTEGERS,
    "available_bytes": INTEGERS,
    "used_bytes": INTEGERS,
    "fsync_p99_ms": FLOATS,
}
LOAD: dict[str, tuple[object, ...]] = {
    "streams": INTEGERS,
    "read_bytes_s": INTEGERS,
    "write_bytes_s": INTEGERS,
    "fsync_p99_ms": FLOATS,
    "read_p50_ms": FLOATS,
    "read_p99_ms": FLOATS,
    "store_p50_ms": FLOATS,
    "store_p99_ms": FLOATS,
}


def volumes(field: str, values: tuple[object, ...]) -> list[dict[str, Any]]:
    return [{"volumes": [{"volume_id": "v"} | {field: value}]} for value in values]


REGISTRATIONS: list[dict[str, Any]] = [
    {field: value}
    for field, values in {
        "node_id": TEXTS,
        "uuid": TEXTS,
        "hostname": TEXTS,
        "cluster_id": TEXTS,
        "local_socket": TEXTS,
        "rack": TEXTS,
        "incarnation": INTEGERS,
        "port": INTEGERS,
        "seq": INTEGERS,
        "highest_block_id": INTEGERS,
        **TALL,
    }.items()
    for value in values
] + [change for field, values in VOLUME.items() for change in volumes(field, values)]
HEARTBEATS: list[dict[str, Any]] = (
    [{field: value} for field, values in {"incarnation": INTEGERS, **TALL}.items() for value in values]
    + [change for field, values in VOLUME.items() for change in volumes(field, values)]
    + [{"load": {field: value}} for field, values in LOAD.items() for value in values]
    + [{"peers": [{"node_id": name, "reachable": False}]} for name in TEXTS]
    + [{"peers": [{"node_id": "dn-2", "reachable": True, "rtt_ms": value}]} for value in FLOATS]
    + [{"storage_capacity": 0, "used_bytes": I63}, {"storage_capacity": 1, "used_bytes": I63}]
)
KNOWN, UNKNOWN = 1, 9
ENTRIES: list[dict[str, Any]] = [
    {kind: [entry]}
    for value in INTEGERS
    for kind, *entry in (
        ("stored", value, 1, 1),
        ("stored", KNOWN, value, 1),
        ("stored", KNOWN, 1, value),
        ("stored", UNKNOWN, value, 1),
        ("removed", value, 1),
        ("removed", KNOWN, value),
        ("removed", UNKNOWN, value),
        ("corrupt", value, 1),
        ("corrupt", KNOWN, value),
        ("corrupt", UNKNOWN, value),
        ("failed_replications", value, 1, "dn-2"),
        ("failed_replications", KNOWN, value, "dn-2"),
    )
] + [{"failed_replications": [(KNOWN, 1, name)]} for name in TEXTS]
REPORTS = [
    page for entries in ENTRIES for page in (entries, entries | {"full": True, "first": True, "last": True})
] + [{field: value} for field in ("incarnation", "seq", "epoch") for value in INTEGERS]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> World:
    return ready(tmp_path_factory.mktemp("three"))


def ready(directory: Path) -> World:
    world = World(directory, inactive_after_ms=1_000_000_000, dead_after_ms=2_000_000_000)
    world.join("dn-1", "dn-2", "dn-3")
    for _ in range(3):
        world.write(1, 2)
    return world


def goes_on(world: World) -> None:
    """All that looks at what was said."""
    world.wait(2_000, "dn-3")
    world.manager.place(10, 2, set(), BLOCK_BYTES)
    world.heartbeat("dn-2")
    world.manager.locations(1)
    for said in (world.manager.status(), world.manager.balancer.status(), world.manager.recheck(begin=True)):
        assert msgspec.msgpack.encode(said)
    assert msgspec.json.encode(list(world.store.datanodes().values()))
    world.manager.unplaced.page((0, 0), 100)


@pytest.mark.parametrize("changes", REGISTRATIONS, ids=str)
def test_a_registration_at_the_edge_of_what_can_be_said(three: World, changes: dict[str, Any]) -> None:
    before = three.store.datanodes()
    try:
        three.register(**({"node_id": f"n-{len(before)}"} | changes))
    except InvalidRequest:
        assert three.store.datanodes().keys() == before.keys()
    except EsdfsError:
        pass
    goes_on(three)


@pytest.mark.parametrize("changes", HEARTBEATS, ids=str)
def test_a_heartbeat_at_the_edge_of_what_can_be_said(three: World, changes: dict[str, Any]) -> None:
    for node_id in ("dn-1", "dn-2"):
        with suppress(EsdfsError):
            three.heartbeat(node_id, **changes)
    goes_on(three)


@pytest.mark.parametrize("changes", REPORTS, ids=str)
def test_a_report_at_the_edge_of_what_can_be_said(three: World, changes: dict[str, Any]) -> None:
    with suppress(EsdfsError):
        three.report("dn-1", **changes)
    goes_on(three)


FIELDS = [
    (bodies.registration, {"node_id": "n", "uuid": "u", "incarnation": 1, "hostname": "h", "port": 1}, field)
    for field in ("port", "incarnation", "storage_capacity")
] + [(bodies.heartbeat, {"incarnation": 1}, "used_bytes"), (bodies.report, {"incarnation": 1}, "seq")]


@pytest.mark.parametrize(("decoder", "body", "field"), FIELDS)
def test_a_refusal_names_the_field(
    decoder: msgspec.msgpack.Decoder[Any], body: dict[str, Any], field: str
) -> None:
    assert bodies.decode(decoder, msgspec.msgpack.encode(body))
    with pytest.raises(InvalidRequest) as refused:
        bodies.decode(decoder, msgspec.msgpack.encode(body | {field: -1}))
    assert refused.value.details["field"] == field


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81\xa1\xff\x01", b"\x90"])
def test_what_is_no_body_at_all(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        bodies.decode(bodies.heartbeat, body)


def test_as_much_as_real_datanodes_say_fits() -> None:
    entries = [(I63, I63, 1 << 31)] * bodies.REPORT_ENTRIES_MAX
    page = bodies.decode(bodies.report, msgspec.msgpack.encode({"incarnation": 1, "stored": entries}))
    assert page.size() == bodies.REPORT_ENTRIES_MAX
    rack = ("/" + "r" * 64) * 4
    told = {"node_id": "n" * 63, "uuid": "u" * 36, "incarnation": 1, "hostname": "fe80::1%eth0", "port": 1}
    assert bodies.decode(bodies.registration, msgspec.msgpack.encode(told | {"rack": rack})).rack == rack
