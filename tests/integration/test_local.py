"""`esdfs local`: started, killed, restarted, stopped, as its users do."""

from pathlib import Path

from tests.cluster import Cluster, cluster


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_cluster_keeps_its_data_and_addresses_over_kills_restarts_and_a_stop() -> None:
    with cluster("--datanodes", "2") as live, live.client() as dfs:
        first = live.info
        pids = [node["pid"] for node in first["namenodes"] + first["datanodes"]]
        assert all(map(alive, pids))
        dfs.write_bytes("/f", b"kept")

        second = live.run("local", "up", "--dir", str(live.dir))
        assert second.returncode == 1
        assert b"a cluster runs in" in second.stderr

        live.kill("leader")
        assert not alive(pids[0])
        stopped = {node["id"]: node["pid"] for node in _status(live)["namenodes"]}
        assert stopped == {"nn-1": None}
        assert live.run("ls", "/").returncode == 3
        live.restart("nn-1")
        assert live.cli("cat", "/f").stdout == b"kept"

        live.kill("dn-1", "STOP")
        live.kill("dn-1", "CONT")
        live.restart("dn-2")
        live.down()
        nodes = _status(live)
        assert [node["pid"] for node in nodes["namenodes"] + nodes["datanodes"]] == [None] * 3
        live.up("--datanodes", "3")
        assert [node["address"] for node in live.info["datanodes"][:2]] == [
            node["address"] for node in first["datanodes"]
        ]
        assert live.info["urls"] == first["urls"]
        assert dfs.read_bytes("/f") == b"kept"


def _status(live: Cluster) -> dict[str, list[dict[str, int | str | None]]]:
    (row,) = live.rows("local", "status", "--dir", str(live.dir))
    return row


def test_what_cannot_start_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    with cluster("--datanodes", "1") as live:
        live.down()
        address = live.info["datanodes"][0]["dir"]
        (Path(address) / "datanode.toml").write_text("nonsense = 1\n")
        failed = live.run("local", "up", "--dir", str(live.dir))
        assert failed.returncode == 1
        assert b"dn-1 ended; its log is" in failed.stderr
        assert b"nonsense" in failed.stderr, "the end of the log says what was wrong"
        nodes = _status(live)
        assert [node["pid"] for node in nodes["namenodes"] + nodes["datanodes"]] == [None, None]
    refused = live.run("local", "up", "--dir", str(tmp_path / "new"), "--set", "nn.nonsense=1")
    assert refused.returncode == 1
    assert not (tmp_path / "new" / "cluster.json").exists()
