"""Verdicts on clusters that are well, and on those that are not."""

from typing import Any

import pytest

from esdfs.cli.doctor import FAIL, OK, WARN, environment, health, votes

WELL: dict[str, Any] = {
    "leader": "nn-1",
    "namenodes": [{}, {}, {}],
    "datanodes": {"ACTIVE": 3, "DEAD": 0},
    "blocks": {"missing": 0, "corrupt": 0, "under_replicated": 0},
    "replication": 2,
    "min_replication": 2,
    "safe_mode": False,
    "read_only": False,
    "capacity_bytes": 100,
    "available_bytes": 50,
}
ALARM = {"block_id": "9", "generation": 1, "node_id": "dn-1", "why": "it was never allocated"}


def test_a_cluster_that_is_well_gets_no_complaint() -> None:
    assert {verdict.verdict for verdict in health(WELL)} == {OK}


@pytest.mark.parametrize(
    ("change", "verdict", "text"),
    [
        ({"leader": None}, FAIL, "nothing can be changed"),
        ({"namenodes": [{}]}, WARN, "no failover"),
        ({"namenodes": [{}, {}]}, WARN, "every one of them must be up"),
        ({"namenodes": [{}, {"kind": "observer"}]}, WARN, "no failover"),
        ({"datanodes": {"ACTIVE": 1}}, FAIL, "nothing can be written"),
        ({"datanodes": {"ACTIVE": 2}}, WARN, "losing one"),
        ({"datanodes": {"ACTIVE": 2}, "replication": 3}, WARN, "under-replicated"),
        ({"datanodes": {"ACTIVE": 3, "DEAD": 1}}, WARN, "1 dead"),
        ({"blocks": {"missing": 2}}, FAIL, "2 missing"),
        ({"blocks": {"under_replicated": 2}}, WARN, "too few copies"),
        ({"alarms": [ALARM], "alarm_count": 2}, FAIL, "2 replicas are ahead of the journal"),
        ({"safe_mode": True}, WARN, "safe mode"),
        ({"copying_stopped": "3 of 6 DataNodes were lost at once"}, FAIL, "nothing is copied: 3 of 6"),
        ({"read_only": True}, FAIL, "read-only"),
        ({"available_bytes": 5}, WARN, "5 % left"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_trouble_is_named(change: dict[str, Any], verdict: str, text: str) -> None:
    found = list(health(WELL | change))
    assert [v for v in found if v.verdict == verdict and text in v.text], found


def test_a_voter_that_is_down_is_named() -> None:
    voters = [{"node_id": name, "up": name != "nn-3"} for name in ("nn-1", "nn-2", "nn-3")]
    told = {"voters": voters, "up": 2, "survives": 0, "observers": []}
    text = "survives the loss of none of 3 voters; 2 of 3 are up; down: nn-3"
    assert [(verdict.verdict, verdict.text) for verdict in votes(told)] == [(WARN, text)]
    assert list(votes({})) == []


def test_this_environment_can_run_esdfs() -> None:
    assert FAIL not in {verdict.verdict for verdict in environment()}
