"""What another policy would have made of a real cluster's history."""

import hashlib
from pathlib import Path

from tests.cluster import cluster

POLICY = """
[quota."/logs"]
max_bytes = 100
[retention]
records = 3
"""


NOTHING = hashlib.sha256(b"").hexdigest()


def contents(directory: Path) -> dict[str, str]:
    return {
        str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(directory.rglob("*"))
        if file.is_file()
    }


def test_a_policy_is_judged_over_rest_and_on_a_directory_that_stays_as_it_is(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    with cluster("--datanodes", "2") as alone, alone.client() as client:
        client.make_directory("/logs")
        client.write_bytes("/logs/a", b"a" * 90)
        before = int(alone.rest("GET", "/journal/head").body["last_txid"])
        client.write_bytes("/logs/b", b"b" * 20)
        client.remove_file("/logs/a")
        for n in range(4):
            client.make_directory(f"/d{n}")
        client.restore("/logs/a", before)
        (told,) = alone.rows("journal", "replay", "--policy", str(policy))
        (quota,) = told["quotas"]
        assert (quota["refused"], quota["first"]["path"], quota["first"]["over_bytes"]) == (2, "/logs/b", 10)
        assert (quota["size_bytes"], quota["peak_bytes"]) == (110, 110)
        (refused,) = told["refused_restores"]
        assert (refused["path"], told["restores"]) == ("/logs/a", 1)
        text = alone.cli("journal", "replay", "--policy", str(policy)).stdout.decode()
        assert "/logs: first refused at txid" in text
        assert "1 of 1 restores" in text
        (earlier,) = alone.rows("journal", "replay", "--policy", str(policy), "--to", str(before))
        assert (earlier["txid"], earlier["quotas"][0]["refused"]) == (before, 0)

        alone.down()
        home = alone.dir / "nn-1"
        untouched = contents(home)
        (again,) = alone.rows("journal", "replay", "--policy", str(policy), "--dir", str(home))
        after = contents(home)
        # A reader of a journal that nobody has open makes SQLite's index and an empty log: nothing else.
        made = {name: after.pop(name) for name in set(after) - set(untouched)}
        assert after == untouched
        assert set(made) <= {"journal.sqlite-shm", "journal.sqlite-wal"}
        assert made.get("journal.sqlite-wal", NOTHING) == NOTHING
        assert again["quotas"] == told["quotas"]
        assert again["refused_restores"] == told["refused_restores"]

        exported = str(tmp_path / "journal.esdfsj")
        alone.cli("journal", "export", exported, "--dir", str(home))
        (of_file,) = alone.rows("journal", "replay", exported, "--policy", str(policy))
        assert of_file == again
        both = alone.run("journal", "replay", exported, "--policy", str(policy), "--dir", str(home))
        assert b"leave --db and --dir out" in both.stderr

        policy.write_text("[quota]\nlogs = 5\n")
        wrong = alone.run("journal", "replay", "--policy", str(policy))
        assert wrong.returncode == 1, wrong
        assert b"quota" in wrong.stderr
