"""A cluster whose journal is in PostgreSQL does what one on SQLite does."""

import psycopg

from tests.cluster import cluster


def test_files_survive_a_kill_and_every_record_is_in_the_database(postgres_url: str) -> None:
    with cluster("--journal", postgres_url, "--datanodes", "2") as live, live.client() as dfs:
        dfs.make_directory("/d")
        dfs.write_bytes("/d/f", b"x" * 100_000)
        head = live.rest("GET", "/journal/head").body["last_txid"]
        live.kill("nn-1")
        live.restart("nn-1")
        assert dfs.read_bytes("/d/f") == b"x" * 100_000
        dfs.rename("/d/f", "/d/g")
        live.cli("journal", "verify", "--db", postgres_url)
        assert not (live.dir / "nn-1" / "journal.sqlite").exists()
        with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
            (count,) = connection.execute("SELECT count(*) FROM journal").fetchone() or (0,)
        # The first record of the restarted NameNode's epoch, then the rename.
        assert count == head + 2
        assert live.cli("db", "current", "--db", postgres_url).stdout.strip()
        live.down()
