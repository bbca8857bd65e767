"""A journal leaves its cluster: exported, proven without it, brought back in either database, and served."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from esdfs.client import DFSClient
from esdfs.journal.engines import parse
from esdfs.journal.entry import Head
from esdfs.journal.sql import open_reader
from esdfs.namenode.config import NameNodeConfig, load, save
from tests.cluster import Cluster, cluster, eventually
from tests.integration.test_upgrade import Node, free_port, run


@pytest.fixture
def home() -> Iterator[Path]:
    """A short directory: Unix sockets live in it."""
    directory = Path(tempfile.mkdtemp(prefix="esdfs-"))
    yield directory
    shutil.rmtree(directory)


def head(url: str) -> Head:
    with closing(open_reader(url)) as reader:
        return reader.head()


def tree(url: str) -> list[tuple[str, str, int]]:
    with DFSClient(url) as dfs:
        return sorted(
            (entry.path, entry.crc32c, entry.txid)
            for _, below, files in dfs.walk("/")
            for entry in [*below, *files]
        )


def told(*args: str) -> dict[str, Any]:
    done = run(*args, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def work(live: Cluster) -> int:
    """Some history, with checkpoints in it; returns the last txid."""
    with live.client() as dfs:
        dfs.make_directory("/people/ann", parents=True)
        for number in range(5):
            dfs.write_bytes(f"/people/ann/secret-{number}", b"x" * number)
        for first in range(0, 2_000, 500):
            dfs.transact([{"kind": "make-directory", "path": f"/d{n}"} for n in range(first, first + 500)])
            for n in range(60):
                dfs.make_directory(f"/d{first}/{n}")
        dfs.remove_directory("/d0", recursive=True)
        dfs.restore("/d0", dfs.stat("/d1500/59").txid)
        return int(dfs.control.get("/journal/head", dict[str, Any])["last_txid"])


def test_what_left_the_cluster_is_proven_without_it_and_goes_on_elsewhere(
    home: Path, postgres_url: str
) -> None:
    with cluster("--datanodes", "2", "--set", "nn.checkpoint_every_records=100") as live:
        work(live)
        over_rest, on_disk = home / "rest.esdfsj", home / "disk.esdfsj"
        eventually(
            lambda: live.rest("GET", "/journal/anchors").body["statements"], what="a signed checkpoint"
        )
        key = live.cli("journal", "pubkey").stdout.decode().strip()
        live.cli("journal", "export", str(over_rest))
        (home / "anchors").write_bytes(live.cli("journal", "anchors").stdout)
        was = tree(live.url)
        live.down()
        own = str(live.dir / "nn-1")
        exported = told("journal", "export", str(on_disk), "--dir", own)
        hidden = told("journal", "export", str(home / "hidden.esdfsj"), "--dir", own, "--redact")
        journal = head(load(Path(own)).database_url)
        from_disk = told("journal", "replay", "--dir", own)

    assert (exported["last_txid"], exported["chain"]) == (journal.last_txid, journal.chain.hex())
    proven = told(
        "journal", "verify", "--offline", str(on_disk), "--pubkey", key, "--anchor", str(home / "anchors")
    )
    assert proven["records"] == journal.last_txid
    assert proven["digests"], "a checkpoint's digest was compared"
    assert proven["not_proven"] == []
    assert (
        told("journal", "verify", "--offline", str(over_rest), "--pubkey", key)["key_id"] == proven["key_id"]
    )

    from_file = told("journal", "replay", str(on_disk))
    assert from_file | {"compared": ""} == from_disk | {"compared": ""}
    assert {each["path"]: each["directories"] for each in from_file["top"]}["/d500"] == 60

    changed = bytearray(on_disk.read_bytes())
    changed[len(changed) // 2] ^= 1
    (home / "changed.esdfsj").write_bytes(changed)
    refused = run("journal", "verify", "--offline", str(home / "changed.esdfsj"), "--pubkey", key)
    assert refused.returncode == 1
    assert "journal record" in refused.stderr

    redacted = (home / "hidden.esdfsj").read_bytes()
    shown = told("journal", "verify", "--offline", str(home / "hidden.esdfsj"), "--pubkey", key)
    assert shown["redacted"]
    assert shown["chain"] == exported["chain"]
    assert b"secret" not in redacted
    told_of_hidden = told("journal", "replay", str(home / "hidden.esdfsj"))
    sizes = ("files", "directories", "size_bytes")
    assert [told_of_hidden[name] for name in sizes] == [from_file[name] for name in sizes]
    assert "secret-1" in Path(hidden["names"]).read_text()

    # SQLite -> PostgreSQL -> SQLite, and a NameNode on the last of them.
    told("journal", "import", str(on_disk), "--db", postgres_url)
    assert head(postgres_url) == journal
    again = run("journal", "import", str(on_disk), "--db", postgres_url)
    assert again.returncode == 1
    assert "empty one" in again.stderr
    told("journal", "export", str(home / "back.esdfsj"), "--db", postgres_url)
    told("journal", "import", str(home / "back.esdfsj"), "--dir", str(home / "nn"))
    config = load(home / "nn")
    assert parse(config.database_url).get_backend_name() == "sqlite"
    save(_at_free_ports(config))
    with Node(load(home / "nn")) as node:
        assert tree(node.url) == was
        with DFSClient(node.url) as dfs:
            dfs.make_directory("/goes-on")
    refused = run("journal", "import", str(home / "hidden.esdfsj"), "--dir", str(home / "other"))
    assert "redacted" in refused.stderr


def _at_free_ports(config: NameNodeConfig) -> NameNodeConfig:

    return replace(config, rest_port=free_port(), grpc_port=free_port())
