"""Many callers at once: each is answered by the one leader, and each change happens once."""

from concurrent.futures import ThreadPoolExecutor

import urllib3

from esdfs.client import DFSClient
from tests.cluster import Cluster

CALLERS = 16
EACH = 25


def test_callers_that_meet_a_batch_on_its_way_are_not_sent_elsewhere(
    live: Cluster, dfs: DFSClient, home: str
) -> None:
    """A redirect of a lone leader to itself would still end well for most clients, and cost each a round."""
    url = live.url

    def make(caller: int) -> list[int]:
        with urllib3.PoolManager(retries=False) as pool:
            return [
                pool.request(
                    "POST", f"{url}/directories", json={"path": f"{home}/d{caller}-{number}"}, redirect=False
                ).status
                for number in range(EACH)
            ]

    with ThreadPoolExecutor(CALLERS) as callers:
        statuses = [status for made in callers.map(make, range(CALLERS)) for status in made]

    assert statuses == [201] * (CALLERS * EACH)
    assert len(list(dfs.list_directory(home))) == CALLERS * EACH
