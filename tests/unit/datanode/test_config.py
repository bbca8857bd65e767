import msgspec
import pytest

from esdfs.datanode.config import DataNodeConfig
from esdfs.datanode.main import advertised_host

ANYWHERE = "0.0.0.0"  # noqa: S104 - what is tested; nothing is bound
GOOD = {"node_id": "dn-1", "volumes": ["/a"], "namenodes": ["http://h:1"]}


def config(**changes: object) -> DataNodeConfig:
    return msgspec.convert({**GOOD, **changes}, DataNodeConfig)


def test_a_good_configuration_has_no_problems() -> None:
    assert config().validate() == []


def test_all_problems_are_told_at_once() -> None:
    problems = config(
        node_id="a/b",
        volumes=["/a", "/a/"],
        namenodes=["h:1", "h:1"],
        port=70000,
        durability="maybe",
        log_level="LOUD",
        heartbeat_interval_ms=1,
        host="",
    ).validate()
    for word in ("node_id", "twice", "http URL", "port", "durability", "log_level", "heartbeat", "host"):
        assert any(word in problem for problem in problems), word
    assert config(volumes=[]).validate() == ["volumes: name at least one directory"]


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="volume_list"):
        config(volume_list=[])


def test_a_wildcard_is_not_advertised() -> None:
    assert advertised_host(config()) == "127.0.0.1"
    assert advertised_host(config(host=ANYWHERE)) not in ("", ANYWHERE)
    assert advertised_host(config(host=ANYWHERE, advertise_host="me")) == "me"
