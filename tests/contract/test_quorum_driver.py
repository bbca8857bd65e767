"""Quorum nodes on real SQLite journals, over a network in memory."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import URL

from esdfs.errors import JournalUnavailable, NewerRelease, NotLeader, OutcomeUnknown
from esdfs.ids import NodeId, Txid
from esdfs.journal.engines import parse, reader_engine, writer_engine
from esdfs.journal.entry import Entry
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.sql import SqlJournal, open_journal
from tests.drivers import FAST, Network, Node, draft, format_disk, until, voters

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
TRIO = (A, B, C)


class Cluster:
    def __init__(self, directory: Path, ids: Sequence[NodeId], config: QuorumConfig) -> None:
        self.directory, self.config = directory, config
        self.network = Network()
        self.nodes: dict[NodeId, Node] = {}
        self.ids = ids
        for node_id in ids:
            if not (directory / node_id).exists():
                format_disk(directory / node_id, node_id, voters(*ids))

    async def start(self, node_id: NodeId, opened: Callable[[str], SqlJournal] = open_journal) -> Node:
        end = self.network.of(node_id)
        node = Node(self.directory / node_id, end, config=self.config, opened=opened)
        self.nodes[node_id] = node
        self.network.drivers[node_id] = node.driver
        await node.driver.start()
        return node

    async def stop(self, node_id: NodeId) -> None:
        node = self.nodes.pop(node_id)
        await node.driver.stop()
        del self.network.drivers[node_id]
        node.close()

    async def leader(self, among: Iterable[Node] | None = None) -> Node:
        """The active leader, once there is one."""
        pool = list(self.nodes.values() if among is None else among)
        await until(lambda: any(node.driver.is_active for node in pool), "a leader is active")
        return next(node for node in pool if node.driver.is_active)

    def others(self, node: Node) -> list[Node]:
        return [other for other in self.nodes.values() if other is not node]

    async def settled(self) -> list[Entry]:
        """The journal of all nodes, once they hold the same and no leader has news."""

        def equal() -> bool:
            ends = {node.last for node in self.nodes.values()}
            commits = {node.driver.commit_txid for node in self.nodes.values()}
            durable = {node.driver.node.durable_txid for node in self.nodes.values()}
            return len(ends) == 1 and commits == durable == {end.txid for end in ends}

        await until(equal, "all journals are equal")
        journals = [node.stored() for node in self.nodes.values()]
        assert all(journal == journals[0] for journal in journals)
        return journals[0]


@asynccontextmanager
async def running(
    directory: Path, ids: Sequence[NodeId] = TRIO, config: QuorumConfig = FAST
) -> AsyncIterator[Cluster]:
    cluster = Cluster(directory, ids, config)
    try:
        for node_id in ids:
            await cluster.start(node_id)
        yield cluster
    finally:
        for node_id in list(cluster.nodes):
            await cluster.stop(node_id)


def test_what_the_leader_commits_is_on_every_disk(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as cluster:
            leader = await cluster.leader()
            entries = await asyncio.gather(*(leader.write(f"w{number}") for number in range(50)))
            journal = await cluster.settled()
            assert set(entries) <= set(journal)
            for node in cluster.nodes.values():
                assert node.committed() == [f"w{number}" for number in range(50)]
                assert node.floor.position == node.last

    asyncio.run(story())


def test_a_lone_voter_leads_and_commits(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, [A]) as cluster:
            leader = await cluster.leader()
            await leader.write("alone")
            assert leader.committed() == ["alone"]
            assert await leader.driver.read_index() == leader.driver.commit_txid

    asyncio.run(story())


def test_only_the_leader_takes_records_and_answers_reads(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as cluster:
            leader = await cluster.leader()
            entry = await leader.write("x")
            assert await leader.driver.read_index() >= entry.txid
            assert leader.driver.head.last_txid == entry.txid
            for node in cluster.others(leader):
                with pytest.raises(NotLeader):
                    node.driver.propose([draft("y")])
                with pytest.raises(NotLeader):
                    await node.driver.read_index()

    asyncio.run(story())


def test_many_reads_share_rounds(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as cluster:
            leader = await cluster.leader()
            await leader.write("x")
            sent = cluster.network.sent
            await asyncio.gather(*(leader.driver.read_index() for _ in range(500)))
            assert cluster.network.sent - sent < 100

    asyncio.run(story())


def test_a_restarted_cluster_has_what_it_committed(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as cluster:
            leader = await cluster.leader()
            for number in range(10):
                await leader.write(f"before {number}")
            epoch = leader.driver.epoch
        async with running(tmp_path) as cluster:
            leader = await cluster.leader()
            assert leader.driver.epoch > epoch
            await leader.write("after")
            await cluster.settled()
            for node in cluster.nodes.values():
                assert node.committed() == [*(f"before {number}" for number in range(10)), "after"]
        assert all((tmp_path / node_id / "incarnation").read_text() == "2\n" for node_id in TRIO)

    asyncio.run(story())


def test_a_leader_cut_off_says_that_it_does_not_know_and_later_drops_what_it_wrote(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as cluster:
            old = await cluster.leader()
            await old.write("shared")
            cluster.network.cut.add(old.node_id)
            (lost,) = old.driver.propose([draft("lost")])
            with pytest.raises(OutcomeUnknown):
                await old.driver.committed(lost.txid, lost.epoch)
            new = await cluster.leader(cluster.others(old))
            await new.write("kept")
            assert lost in old.stored()
            cluster.network.cut.clear()
            journal = await cluster.settled()
            assert lost not in journal
            assert old.committed() == ["shared", "kept"]
            assert old.floor.position == old.last

    asyncio.run(story())


def test_a_node_far_behind_is_served_from_the_journal(tmp_path: Path) -> None:
    config = msgspec.structs.replace(FAST, window_records=16, fetch_records=40, uncommitted_records=64)

    async def story() -> None:
        async with running(tmp_path, config=config) as cluster:
            leader = await cluster.leader()
            late = cluster.others(leader)[0].node_id
            await cluster.stop(late)
            for number in range(300):
                await leader.write(f"{number}")
            # What left the leader's memory is read from its database, also for appliers, in any thread.
            found: list[Entry] = []
            thread = threading.Thread(target=lambda: found.extend(leader.driver.records(Txid(0), 20)))
            thread.start()
            thread.join()
            assert [entry.txid for entry in found] == list(range(1, 21))
            await cluster.start(late)
            await cluster.settled()
            pages, after = [], Txid(0)
            while page := cluster.nodes[late].driver.records(after, 50):
                pages.append(len(page))
                after = page[-1].txid
            assert after == leader.driver.commit_txid
            assert max(pages) <= 50

    asyncio.run(story())


def test_a_stopping_leader_hands_over_without_an_election_timeout(tmp_path: Path) -> None:
    config = msgspec.structs.replace(FAST, election_min_ms=5000, election_max_ms=6000, check_quorum_ms=5000)

    async def story() -> None:
        async with running(tmp_path, config=config) as cluster:
            leader = await cluster.leader()
            await leader.write("x")
            others = cluster.others(leader)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await cluster.stop(leader.node_id)
            await cluster.leader(others)
            assert loop.time() - began < 3

    asyncio.run(story())


def test_a_stopping_leader_gives_its_own_vote_to_its_successor(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as cluster:
            leader = await cluster.leader()
            entry = await leader.write("x")
            heir, away = cluster.others(leader)
            await cluster.stop(away.node_id)
            await until(lambda: heir.driver.node.durable_txid >= entry.txid, "the heir has everything")
            epoch = leader.driver.epoch
            # Of three votes there are only these two: without the leader's own, nobody is elected.
            await cluster.stop(leader.node_id)
            assert heir.driver.node.is_leader
            assert heir.driver.epoch == epoch + 1

    asyncio.run(story())


class DyingJournal(SqlJournal):
    """Refuses appends from the moment its disk is ``full``."""

    def __init__(self, url: URL) -> None:
        super().__init__(url, reader_engine(url), writer_engine(url))
        self.full = False

    def append(self, entries: Sequence[Entry]) -> None:
        if self.full:
            raise JournalUnavailable("the disk is full")
        super().append(entries)


def test_a_failed_write_ends_the_node_and_only_that(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as cluster:
            leader = await cluster.leader()
            victim = leader.node_id
            await cluster.stop(victim)
            node = await cluster.start(victim, lambda url: DyingJournal(parse(url)))
            await cluster.leader()
            journal = node.journal
            assert isinstance(journal, DyingJournal)
            journal.full = True
            others = cluster.others(node)
            writer = await cluster.leader()
            if writer is node:
                with pytest.raises(OutcomeUnknown):
                    await node.write("unknown")
            else:
                await writer.write("known")
            assert "full" in await asyncio.wait_for(node.driver.failed, 10)
            assert not node.driver.is_active
            with pytest.raises(NotLeader):
                node.driver.propose([draft("no")])
            survivor = await cluster.leader(others)
            await survivor.write("goes on")

    asyncio.run(story())


def test_proposing_while_told_of_a_commit_keeps_the_order(tmp_path: Path) -> None:
    async def story() -> None:
        format_disk(tmp_path / A, A, voters(A))
        proposed: list[Entry] = []

        def propose_more(_: Txid) -> None:
            if node.driver.is_active and len(proposed) < 5:
                proposed.extend(node.driver.propose([draft(f"chained {len(proposed)}")]))
                assert node.driver.head.last_txid == proposed[-1].txid

        node = Node(tmp_path / A, Network().of(A), on_commit=propose_more)
        await node.driver.start()
        await until(lambda: len(proposed) == 5 and node.driver.commit_txid == proposed[-1].txid, "all five")
        assert node.stored()[-5:] == proposed
        await node.stop()

    asyncio.run(story())


def test_a_node_that_cannot_go_on_with_a_record_acknowledges_nothing_and_ends(tmp_path: Path) -> None:
    async def story() -> None:
        def refuse_the_future(entries: Sequence[Entry]) -> None:
            if any(entry.payload == b"future" for entry in entries):
                raise NewerRelease("upgrade this node")

        network = Network()
        for node_id in (A, B):
            format_disk(tmp_path / node_id, node_id, voters(A, B))
        new = Node(tmp_path / A, network.of(A))
        old = Node(tmp_path / B, network.of(B), on_stored=refuse_the_future)
        nodes = [new, old]
        for node in nodes:
            network.drivers[node.node_id] = node.driver
            await node.driver.start()
        await until(lambda: any(node.driver.is_active for node in nodes), "a leader")
        leader = next(node for node in nodes if node.driver.is_active)
        await leader.write("known")
        (future,) = leader.driver.propose([draft("future")])
        assert "upgrade this node" in await asyncio.wait_for(old.driver.failed, 10)
        assert old.stored()[-1] == future  # kept, for the release that can read it
        if leader is new:
            await until(lambda: not new.driver.is_active, "it resigns: nobody acknowledges")
        assert max(node.driver.commit_txid for node in nodes) < future.txid
        for node in nodes:
            await node.stop()

    asyncio.run(story())
