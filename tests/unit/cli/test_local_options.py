"""Settings and journals as `local up` is told them."""

import pytest

from esdfs.cli.local_options import journal_urls, parse_settings
from esdfs.errors import InvalidRequest

SERVER = "postgresql+psycopg://esdfs:secret@db/meta?connect_timeout=3"


def test_settings_are_of_all_namenodes_of_datanodes_or_of_one_namenode() -> None:
    given = ["nn.a=1", "nn-2.a=2", "dn.b=x=y", "nn-2.peers.nn-1=h:1", "nn-2.peers.nn-3=h:3"]
    assert parse_settings(given) == {
        "nn": {"a": "1"},
        "nn-2": {"a": "2", "peers": {"nn-1": "h:1", "nn-3": "h:3"}},
        "dn": {"b": "x=y"},
    }


@pytest.mark.parametrize("setting", ["a=1", "nn.a", "xx.a=1", "nn-0.a=1", "nn-1=3"])
def test_a_setting_written_otherwise_is_refused(setting: str) -> None:
    with pytest.raises(InvalidRequest, match="KEY=VALUE"):
        parse_settings([setting])


def test_namenodes_at_one_url_get_a_database_each() -> None:
    assert journal_urls(SERVER, 2) == [SERVER.replace("meta", f"meta_nn_{n}") for n in (1, 2)]


def test_a_database_for_one_namenode_is_the_one_that_is_named() -> None:
    assert journal_urls(SERVER, 1) == [SERVER]
    assert journal_urls(f"sqlite, {SERVER},sqlite", 3) == ["", SERVER, ""]


def test_sqlite_needs_no_name() -> None:
    assert journal_urls("sqlite", 3) == ["", "", ""]


@pytest.mark.parametrize("given", ["sqlite,sqlite", "sqlite,,sqlite", "postgresql://db", "mysql://db/meta"])
def test_journals_that_cannot_be_told_apart_are_refused(given: str) -> None:
    with pytest.raises(InvalidRequest):
        journal_urls(given, 3)
