"""A NameNode that is put back from an older copy: what only DataNodes know is kept apart."""

import shutil

from esdfs.namenode.config import load
from tests.cluster import QUICK, Cluster, cluster, eventually

FILES = 12


def lost(number: int) -> bytes:
    return bytes([number]) * 3000


def new(number: int) -> bytes:
    return bytes([100 + number]) * 3000


def went_back(live: Cluster) -> bool:
    doctor = live.run("doctor").stdout.decode()
    return "this one's journal went back in time (then stop it and run esdfs namenode force-stand" in doctor


def test_new_blocks_never_have_the_ids_of_blocks_that_a_lost_journal_gave_out() -> None:
    with cluster("--block-size", "64K", "--datanodes", "4", settings=QUICK) as live:
        home = load(live.dir / "nn-1").path
        copy = home.with_name("copy")
        with live.client() as dfs:
            dfs.write_bytes("/kept", b"kept")
            live.kill("nn-1", "TERM")
            shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*.sock"))
            for _ in range(3):  # DataNodes obey the latest of these epochs, and no earlier one
                live.restart("nn-1")
            for number in range(FILES):
                dfs.write_bytes(f"/lost-{number}", lost(number))
            highest = max(int(dfs.blocks(f"/lost-{number}")[0].block_id) for number in range(FILES))
            live.kill("nn-1")
            shutil.rmtree(home)
            copy.rename(home)
            live.restart("nn-1")

            for number in range(FILES):
                dfs.write_bytes(f"/new-{number}", new(number))
            ids = [int(dfs.blocks(f"/new-{number}")[0].block_id) for number in range(FILES)]
            assert min(ids) > highest
            eventually(
                lambda: live.rest("GET", "/cluster").body["alarm_count"] == 2 * FILES, what="every alarm"
            )
            eventually(lambda: went_back(live), what="word of the lost epochs")
            live.kill("nn-1")
            alone = ("namenode", "force-standalone", "--dir", str(home), "--i-know-the-others-are-dead")
            live.cli(*alone)
            live.restart("nn-1")
            for node in ("dn-1", "dn-2", "dn-3", "dn-4"):
                live.restart(node)
            eventually(
                lambda: live.rest("GET", "/cluster").body["alarm_count"] == 2 * FILES,
                what="every alarm after a restart",
            )
            assert not went_back(live)
            for number in range(FILES):
                assert dfs.read_bytes(f"/new-{number}") == new(number)
            assert dfs.read_bytes("/kept") == b"kept"
            told = live.run("fsck", "--replicas").stdout.decode()
            assert told.count("the journal passed its id over, and keeps it") == 2 * FILES
            assert "0 orphan" in told
            held = [
                path.name
                for node in live.info["datanodes"]
                for path in live.volume(node["id"]).rglob("*_1.data")
            ]
            assert sum(int(name.split("_")[0]) <= highest for name in held) == 2 * FILES + 2
