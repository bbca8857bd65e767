"""`namenode.toml`: written, read again, and refused with what is wrong."""

from pathlib import Path

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
