"""How DataNodes and alarms are told."""

from typing import Any

import pytest

from esdfs.cli.conditions import ALARMS_SHOWN, alarm_lines, alarmed, load, of_datanodes

WELL: dict[str, Any] = {
    "node_id": "dn-1",
    "status": "ACTIVE",
    "status_why": "registered again",
    "slow": False,
    "failed_volumes": 0,
    "slow_volumes": 0,
    "volumes": [{}, {}],
    "peers": [{"node_id": "dn-2", "reachable": True}],
    "admin": "in-service",
    "admin_until": None,
    "progress": None,
}
PROGRESS = {"blocks_left": 3, "unreadable": 0, "unreadable_first": [], "files_open": 1, "ready": False}
STUCK = PROGRESS | {"unreadable": 2, "unreadable_first": ["7", "9"]}


@pytest.mark.parametrize(
    ("rates", "p99s_ms", "told"),
    [
        ((0, 0), (0, 0, 0), ("0/0", "-/-/-")),
        ((12 << 20, 3500), (3.4, 40, 9), ("12M/3.4K", "3/40/9ms")),
        ((5, 6), (0, 0, 0.2), ("5/6", "-/-/0ms")),
    ],
)
def test_load_is_told_in_two_words(
    rates: tuple[int, int], p99s_ms: tuple[float, float, float], told: tuple[str, str]
) -> None:
    names = ("read_p99_ms", "store_p99_ms", "fsync_p99_ms")
    said = {"read_bytes_s": rates[0], "write_bytes_s": rates[1], **dict(zip(names, p99s_ms, strict=True))}
    assert load(said) == told


def test_of_those_in_service_and_well_nothing_is_told() -> None:
    assert list(of_datanodes([WELL])) == []


@pytest.mark.parametrize(
    ("change", "text", "troubles"),
    [
        ({"status": "DEAD", "status_why": "no heartbeat"}, "DEAD: no heartbeat", True),
        ({"slow": True}, "far slower than the others", True),
        ({"failed_volumes": 1}, "1 of 2 disks failed", True),
        (
            {"failed_volumes": 1, "volumes": [{"failed_why": "/a: no such device"}, {"failed_why": ""}]},
            "1 of 2 disks failed (/a: no such device)",
            True,
        ),
        (
            {"admin": "decommissioning", "progress": PROGRESS},
            "decommissioning, 3 blocks to copy, 1 files open",
            False,
        ),
        (
            {"admin": "decommissioning", "progress": STUCK},
            (
                "decommissioning, 3 blocks to copy"
                " (2 of them nobody can read: 7, 9; esdfs fsck names their files), 1 files open"
            ),
            True,
        ),
        (
            {"status": "MAINTENANCE", "admin": "maintenance", "progress": PROGRESS | {"ready": True}},
            "maintenance, may be stopped",
            False,
        ),
    ],
)
def test_everything_else_is_told_with_its_progress(change: dict[str, Any], text: str, troubles: bool) -> None:
    assert list(of_datanodes([WELL | change])) == [("dn-1", text, troubles)]


def test_the_first_alarms_are_told_and_the_others_counted() -> None:
    alarms = [{"block_id": str(n), "generation": 1, "node_id": "dn-1", "why": "why"} for n in range(40)]
    lines = list(alarm_lines(alarms, 40))
    assert len(lines) == ALARMS_SHOWN + 1
    assert lines[0] == "block 0 generation 1 on dn-1: why"
    assert lines[-1] == "and 20 more: esdfs fsck --replicas lists them all"
    assert alarmed(1).startswith("1 replica is ahead of the journal: ")
    assert alarmed(2).startswith("2 replicas are ahead of the journal: ")
