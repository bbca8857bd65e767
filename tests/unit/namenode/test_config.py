"""`namenode.toml`: written, read again, and refused with what is wrong."""

from pathlib import Path
from typing import Any

import pytest

from esdfs.errors import InvalidRequest
from esdfs.namenode.config import NameNodeConfig, load, save


@pytest.mark.parametrize("peers", [{}, {"nn-2": "10.0.0.2:8871", 'odd "name"': "[::1]:1"}])
def test_settings_are_read_as_they_were_written(tmp_path: Path, peers: dict[str, str]) -> None:
    config = NameNodeConfig(
        node_id="nn-1", dir=str(tmp_path), journal_url="postgresql://ü:p\\q@h/d", peer_addresses=peers
    )
    save(config)
    assert load(tmp_path) == config


@pytest.mark.parametrize("address", ["", "host", "host:0", "host:port", "http://host:1", ":1"])
def test_a_peer_address_that_is_none_is_named(tmp_path: Path, address: str) -> None:
    save(NameNodeConfig(node_id="nn-1", dir=str(tmp_path), peer_addresses={"nn-2": address}))
    with pytest.raises(InvalidRequest, match="peer_addresses: nn-2 must be host:port"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"dead_after_ms": 8_000, "inactive_after_ms": 10_000},
            "dead_after_ms (8000) must be above inactive_after_ms (10000)",
        ),
        (
            {"inactive_after_ms": 10_000, "heartbeat_interval_ms": 6_000},
            "inactive_after_ms (10000) must be at least 2 × heartbeat_interval_ms (6000)",
        ),
        (
            {"lease_hard_ms": 1_000, "lease_soft_ms": 2_000},
            "lease_hard_ms (1000) must not be below lease_soft_ms (2000)",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_shown_with_their_values(
    settings: dict[str, Any], problem: str
) -> None:
    assert NameNodeConfig(node_id="nn-1", dir="d", **settings).validate() == [problem]
