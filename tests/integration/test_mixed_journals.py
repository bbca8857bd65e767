"""Several NameNodes on PostgreSQL, and on PostgreSQL and SQLite: a killed leader loses nothing."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from esdfs.errors import JournalError
from esdfs.journal.databases import create_if_absent
from esdfs.namenode.config import load
from tests import postgres
from tests.cluster import Cluster, cluster, eventually

OTHERS = 20


def leader(live: Cluster) -> str:
    with live.client() as dfs:
        return str(dfs.control.get("/cluster", dict[str, Any])["leader"])


def database_of(live: Cluster, node: str) -> str:
    return load(live.dir / node).database_url


@pytest.mark.parametrize("journals", ["{0}", "sqlite,{1},sqlite"], ids=["postgresql", "mixed"])
def test_a_killed_leader_loses_nothing_whatever_keeps_the_journals(
    postgres_server: Any, journals: str
) -> None:
    url = postgres.create_database(postgres_server, "several")
    journal = journals.format(url, url)
    with cluster("--namenodes", "3", "--datanodes", "2", "--journal", journal) as live:
        with live.client() as dfs:
            dfs.write_bytes("/before", b"x" * 100_000)
            killed = leader(live)
            live.kill(killed)
            for number in range(OTHERS):
                dfs.make_directory(f"/d-{number}")
            live.restart(killed)
            assert dfs.read_bytes("/before") == b"x" * 100_000
            assert len(dfs.list_directory("/")) == OTHERS + 1
        eventually(lambda: len(set(live.digests())) == 1, within_s=30)
        urls = [database_of(live, node["id"]) for node in live.info["namenodes"]]
        assert len(set(urls)) == 3
        for each in urls:
            live.cli("journal", "verify", "--db", each)
        live.down()


def test_a_role_that_may_make_no_database_is_told_which_one_it_needs(
    postgres_server: Any, tmp_path: Path
) -> None:
    url = postgres.create_database(postgres_server, "poor")
    name = url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(f"{name}_role")))
    poor = url.replace("://postgres:", f"://{name}_role:")
    with pytest.raises(AssertionError, match=f"make the database {name}_nn_1"):
        Cluster(tmp_path / "c", "--namenodes", "3", "--journal", poor)


def test_a_server_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be reached"):
        create_if_absent("postgresql://127.0.0.1:9/x?connect_timeout=1")
