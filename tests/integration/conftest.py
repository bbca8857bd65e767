"""One cluster for each module of tests that only use it."""

import itertools
from collections.abc import Iterator

import pytest

from esdfs.client import DFSClient
from tests.cluster import Cluster, cluster

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def live() -> Iterator[Cluster]:
    """A NameNode and three DataNodes, blocks of 1 MiB so that small files have several."""
    with cluster("--block-size", "1M") as started:
        yield started


@pytest.fixture
def dfs(live: Cluster) -> Iterator[DFSClient]:
    with live.client() as client:
        yield client


@pytest.fixture
def home(dfs: DFSClient) -> str:
    """An empty directory of the test's own."""
    path = f"/test-{next(_numbers)}"
    dfs.make_directory(path)
    return path
