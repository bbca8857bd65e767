"""Rolling upgrades on real processes: an older cluster's journal, and older nodes beside newer ones."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from esdfs.client import DFSClient
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Entry, Identity, Vote
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.migrate import upgrade
from esdfs.journal.sql import open_journal, open_reader
from esdfs.namenode.config import NameNodeConfig, save
from esdfs.namenode.events import Kind
from esdfs.namenode.upcasters import LEVEL_NEWEST
from tests.cluster import Cluster, cluster, eventually
from tests.integration.test_failover import ask, followers, leader

GOLDEN = Path(__file__).parents[1] / "golden" / "cluster_v1.json"
BYTES = {"client_id", "payload", "chain"}


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads(GOLDEN.read_text())


@pytest.fixture
def home() -> Iterator[Path]:
    """A short directory: Unix sockets live in it."""
    directory = Path(tempfile.mkdtemp(prefix="esdfs-"))
    yield directory
    shutil.rmtree(directory)


def imported(golden: Any, home: Path, journal_url: str = "") -> NameNodeConfig:
    """A NameNode's directory, as the older release left it."""
    config = NameNodeConfig(
        node_id="nn-1", dir=str(home), journal_url=journal_url, rest_port=free_port(), grpc_port=free_port()
    )
    rows = [{k: bytes.fromhex(v) if k in BYTES else v for k, v in row.items()} for row in golden["rows"]]
    entries = msgspec.convert(rows, list[Entry])
    identity = Identity(**golden["identity"])
    upgrade(config.database_url)
    with closing(open_journal(config.database_url)) as journal:
        journal.format(identity, entries[:1])
        journal.append(entries[1:])
        journal.remember_vote(Vote(**golden["vote"]))
    with closing(AckFloor(home / FLOOR_FILE, identity)) as floor:
        floor.write(entries[-1].position)
    save(config)
    return config


def free_port() -> int:
    from esdfs.cli import local_layout  # noqa: PLC0415 - only for its ports
    from esdfs.env_os import OsRng  # noqa: PLC0415 - see above

    return local_layout.free_port(OsRng())


class Node:
    """`esdfs namenode run`, and what it says."""

    def __init__(self, config: NameNodeConfig) -> None:
        self.url = f"http://{config.rest_host}:{config.rest_port}"
        self.log = config.path / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                esdfs("namenode", "run", "--dir", config.dir), stdout=subprocess.PIPE, stderr=log
            )

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        assert self.process.wait(30) == 0, self.log.read_text()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def get(self, path: str) -> Any:
        return ask(self.url, "GET", path).json()


def esdfs(*args: str) -> list[str]:
    return [sys.executable, "-m", "esdfs.cli.app", *args]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(esdfs(*args), capture_output=True, text=True, check=False, timeout=60)


def reigns(url: str) -> list[tuple[int, str, int]]:
    """(version, release, feature level) of every leader's first record."""
    records = ask(url, "GET", "/journal?from=1&limit=1000&consistency=stale").json()["records"]
    found = [record for record in records if record["kind"] == "leader-changed"]
    return [(r["version"], r["event"]["release"], r["event"]["feature_level"]) for r in found]


def level_of(url: str) -> Any:
    return ask(url, "GET", "/cluster").json()["feature_level"]


# --- an older cluster's journal ---


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_an_older_clusters_journal_is_served_and_keeps_its_shapes_until_the_upgrade_is_finalized(
    golden: Any, home: Path, database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgres" else ""
    config = imported(golden, home, url)
    replayed = run("journal", "replay", "--db", config.database_url, "--json")
    assert json.loads(replayed.stdout)["digest"] == golden["digest"], replayed.stderr

    with Node(config) as node, DFSClient(node.url) as dfs:
        found = [entry.path for _, directories, files in dfs.walk("/") for entry in [*directories, *files]]
        assert sorted(found) == golden["paths"]
        dfs.make_directory("/written/at/level-1", parents=True)
        assert node.get("/quorum/feature-level") == {
            "level": 1,
            "next": LEVEL_NEWEST,
            "nodes": [
                {"node_id": "nn-1", "kind": "voter", "oldest": 1, "newest": LEVEL_NEWEST, "holds_back": ""}
            ],
        }
        with closing(open_reader(config.database_url)) as reader:
            after = reader.read(Txid(len(golden["rows"])), limit=100)
        assert after[0].kind == Kind.LEADER_CHANGED
        assert {entry.version for entry in after} == {1}

        done = run("--url", node.url, "upgrade", "finalize")
        assert f"feature level {LEVEL_NEWEST}" in done.stdout, done.stderr
        assert level_of(node.url) == LEVEL_NEWEST
        again = run("--url", node.url, "upgrade", "finalize", "--json")
        assert json.loads(again.stdout)["level"] == LEVEL_NEWEST
    with Node(config) as node:
        assert [version for version, _, _ in reigns(node.url)] == [1] * (len(reigns(node.url)) - 1) + [2]
        assert reigns(node.url)[-1][2] == LEVEL_NEWEST
        proven = run("--url", node.url, "journal", "replay")
        assert "the living namespace: equal" in proven.stdout, proven.stderr


def test_a_record_of_an_unknown_kind_stops_the_node_and_the_replay_and_is_kept(
    golden: Any, home: Path
) -> None:
    config = imported(golden, home)
    with closing(open_journal(config.database_url)) as journal:
        head = journal.head()
        (future,) = seal(head, Epoch(head.epoch), [Draft(golden["rows"][-1]["ts_us"], 250, 1, b"?")])
        journal.append([future])

    started = run("namenode", "run", "--dir", config.dir)
    named = f"journal record {future.txid}: record of kind 250 version 1 is unknown to this program: upgrade"
    assert started.returncode != 0
    assert named in started.stderr
    replayed = run("journal", "replay", "--dir", config.dir)
    assert replayed.returncode != 0
    assert named in replayed.stderr
    verified = run("journal", "verify", "--dir", config.dir, "--json")
    assert json.loads(verified.stdout)["last_txid"] == future.txid, verified.stderr


# --- older nodes beside newer ones ---


def hold(trio: Cluster, node: str, level: int) -> None:
    """Let a node be a release that reads levels up to ``level`` (0 = this one), from its next start on."""
    file = trio.dir / node / "namenode.toml"
    file.write_text(re.sub(r"feature_level_max = \d+", f"feature_level_max = {level}", file.read_text()))


def replace(trio: Cluster, node: str) -> None:
    """Stop a node and start it as this release."""
    trio.kill(node, "TERM")
    hold(trio, node, 0)
    trio.restart(node)


def digests(trio: Cluster) -> set[tuple[int, str]]:
    found = [ask(url, "GET", "/journal/digest?consistency=stale").json() for url in trio.info["urls"]]
    return {(each["txid"], each["digest"]) for each in found}


def test_three_nodes_are_upgraded_one_by_one_and_an_older_one_is_kept_out_afterwards() -> None:
    with cluster("--namenodes", "3", "--datanodes", "2", "--set", "nn.feature_level_max=1") as trio:
        made = 0

        def work() -> None:
            nonlocal made
            made += 1
            with trio.client() as dfs:
                dfs.make_directory(f"/d{made}")
                dfs.write_bytes(f"/d{made}/f", b"x" * 1000)

        def node_at(url: str) -> str:
            return next(str(node["id"]) for node in trio.info["namenodes"] if node["rest"] == url)

        work()
        last = leader(trio)["id"]
        for url in followers(trio):
            replace(trio, node_at(url))
            work()
        refused = trio.run("upgrade", "finalize")
        assert refused.returncode == 1
        assert f"{last}: it reads feature levels up to 1: upgrade it" in refused.stderr.decode()
        assert f"{last} " in trio.cli("upgrade", "status").stdout.decode()
        replace(trio, last)  # it hands leadership over as it stops
        work()
        assert {version for version, _, _ in reigns(leader(trio)["rest"])} == {1}
        assert level_of(leader(trio)["rest"]) == 1

        # An old program that comes back in the moment the level rises: the leader last heard of a new one.
        late = node_at(followers(trio)[0])
        trio.kill(late, "KILL")
        hold(trio, late, 1)
        told = json.loads(trio.cli("upgrade", "finalize", "--json").stdout)
        assert told["level"] == LEVEL_NEWEST
        work()
        spawned = subprocess.run(
            esdfs("namenode", "run", "--dir", str(trio.dir / late)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert spawned.returncode == 70
        beyond = (
            f"the cluster is at feature level {LEVEL_NEWEST}, and this node reads levels up to 1: upgrade"
        )
        assert beyond in spawned.stderr
        # From then on it does not even start, says so in one line, and has lost nothing.
        refused_start = run("namenode", "run", "--dir", str(trio.dir / late))
        assert refused_start.returncode == 1
        assert "upgrade this node" in refused_start.stderr
        assert run("journal", "verify", "--dir", str(trio.dir / late)).returncode == 0
        work()

        hold(trio, late, 0)
        trio.restart(late)
        killed = leader(trio)["id"]
        trio.kill(killed, "KILL")
        work()
        trio.restart(killed)
        assert reigns(leader(trio)["rest"])[-1][0] == 2
        eventually(lambda: len(digests(trio)) == 1, within_s=30)
        with trio.client() as dfs:
            assert [dfs.read_bytes(f"/d{n}/f") for n in range(1, made + 1)] == [b"x" * 1000] * made


def test_a_new_cluster_begins_at_the_newest_level_and_an_older_node_cannot_be_formatted_into_it(
    home: Path,
) -> None:
    assert (
        run(
            "namenode", "format", "--dir", str(home / "nn"), "--feature-level", str(LEVEL_NEWEST + 1)
        ).returncode
        == 1
    )
    assert not (home / "nn" / "namenode.toml").exists()
    assert run("namenode", "format", "--dir", str(home / "nn")).returncode == 0
    with closing(open_reader(f"sqlite:///{home / 'nn' / 'journal.sqlite'}")) as reader:
        first, second = reader.read(Txid(0), limit=10)
    assert (first.kind, first.version) == (Kind.CLUSTER_FORMATTED, 2)
    assert second.kind == Kind.VOTERS_CHANGED, "a cluster of one, too, says who votes"
