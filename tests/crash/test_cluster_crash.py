"""kill -9 of NameNode and DataNodes, again and again, while several clients write.

What was acknowledged is there afterwards, whole and at its last acknowledged version; what was not
is either whole or absent; the journal proves itself.
"""

import random
import threading
import time
from collections.abc import Iterator

import pytest

from esdfs.client import DFSClient
from esdfs.errors import EsdfsError
from tests.cluster import QUICK, Cluster, cluster, eventually

ROUNDS = 10
WRITERS = 3
BUDGET_S = 75.0
SIZES = (10, 70_000, 300_000, 1_300_000)


@pytest.fixture
def live() -> Iterator[Cluster]:
    with cluster("--block-size", "256K", settings=QUICK) as started:
        yield started


class Writer(threading.Thread):
    """Makes, replaces, renames and removes files of its own, and remembers what it was promised.

    Attributes:
        promised: path → content of every change that was acknowledged; None = removed.
        unsure: Paths whose last change was not acknowledged, with all contents they may have.
    """

    def __init__(self, number: int, url: str, stop: threading.Event) -> None:
        super().__init__(name=f"writer-{number}")
        self.home = f"/w{number}"
        self.promised: dict[str, bytes | None] = {}
        self.unsure: dict[str, set[bytes | None]] = {}
        self.done = 0
        self.failed = 0
        self.error: BaseException | None = None
        self._url = url
        self._halt = stop
        self._chance = random.Random(number)

    def run(self) -> None:
        try:
            with DFSClient(self._url, timeout=60, connect_timeout=60) as dfs:
                dfs.make_directory(self.home, parents=True)
                while not self._halt.is_set():
                    self._change(dfs)
        except BaseException as error:  # noqa: BLE001 - the test fails by it
            self.error = error

    def _change(self, dfs: DFSClient) -> None:
        path = f"{self.home}/f{self._chance.randrange(12)}"
        before = self._possible(path)
        if before == {None} or self._chance.random() < 0.7:
            content = self._chance.randbytes(self._chance.choice(SIZES))
            self._try({path: content}, lambda: dfs.write_bytes(path, content, overwrite=True))
        elif len(before) == 1 and self._chance.random() < 0.6:
            target = f"{self.home}/r{self._chance.randrange(4)}"
            (content_before,) = before
            self._try({path: None, target: content_before}, lambda: dfs.rename(path, target, overwrite=True))
        elif None not in before:
            self._try({path: None}, lambda: dfs.remove_file(path))

    def _possible(self, path: str) -> set[bytes | None]:
        return self.unsure.get(path, {self.promised.get(path)})

    def _try(self, result: dict[str, bytes | None], change) -> None:  # type: ignore[no-untyped-def]  # any callable
        before = {path: self._possible(path) for path in result}
        try:
            change()
        except EsdfsError:
            self.failed += 1
            for path, content in result.items():
                self.unsure[path] = before[path] | {content}
        else:
            self.done += 1
            for path, content in result.items():
                self.promised[path] = content
                self.unsure.pop(path, None)


def test_everything_acknowledged_survives_repeated_kills(live: Cluster) -> None:
    stop = threading.Event()
    writers = [Writer(number, live.url, stop) for number in range(WRITERS)]
    chance = random.Random(7)
    deadline = time.monotonic() + BUDGET_S
    for writer in writers:
        writer.start()
    rounds = 0
    try:
        while rounds < ROUNDS and time.monotonic() < deadline:
            done = sum(writer.done for writer in writers)
            eventually(
                lambda done=done: (
                    sum(writer.done for writer in writers) >= done + 3  # type: ignore[misc]  # binds now
                    or any(writer.error for writer in writers)
                ),
                what="progress between kills",
            )
            # Two DataNodes at once would take both copies of a block: fewer than promised to survive.
            victim = "nn-1" if rounds % 2 == 0 else chance.choice(["dn-1", "dn-2", "dn-3"])
            live.kill(victim)
            live.restart(victim)
            rounds += 1
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert [writer.error for writer in writers] == [None] * WRITERS
    assert rounds >= 4, "the machine was too slow to test anything"
    assert sum(writer.done for writer in writers) > 3 * rounds

    with live.client() as dfs:
        for writer in writers:
            assert_kept(dfs, writer)
        live.kill("nn-1")
        live.restart("nn-1")
        for writer in writers:
            assert_kept(dfs, writer)
    live.cli("journal", "verify")
    live.cli("journal", "verify", "--db", f"sqlite:///{live.dir / 'nn-1' / 'journal.sqlite'}")


def assert_kept(dfs: DFSClient, writer: Writer) -> None:
    there = {status.path for status in dfs.list_directory(writer.home)}
    for path in writer.promised.keys() | writer.unsure.keys() | there:
        found = dfs.read_bytes(path) if path in there else None
        possible = writer.unsure.get(path, {writer.promised.get(path)})
        assert found in possible, f"{path}: {None if found is None else len(found)} bytes nobody was promised"
