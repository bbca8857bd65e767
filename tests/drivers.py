"""Quorum nodes on real SQLite files, for tests; and a network in memory that can be cut."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from esdfs.env_os import OsClock, OsRng
from esdfs.ids import Epoch, Micros, NodeId, Position, Txid
from esdfs.journal.answers import Request, Response
from esdfs.journal.chain import seal
from esdfs.journal.driver import QuorumDriver, Transport
from esdfs.journal.engines import sqlite_url
from esdfs.journal.entry import Draft, Entry, Identity
from esdfs.journal.floor import FILE, AckFloor
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import RoleChanged
from esdfs.journal.quorum.voters import Voter, VoterSet
from esdfs.journal.quorum_disk import load, next_incarnation
from esdfs.journal.sql import SqlJournal, open_journal
from tests.journals import EMPTY, NOON_US, in_sqlite
from tests.sim.machine import COMMAND, CONTROL, VOTERS_CHANGED

FAST = QuorumConfig(heartbeat_ms=50, election_min_ms=300, election_max_ms=600, check_quorum_ms=600)


def storage_of(node_id: NodeId) -> str:
    return f"storage of {node_id}"


def voters(*ids: NodeId) -> VoterSet:
    return VoterSet(Voter(node_id, storage_of(node_id)) for node_id in ids)


def draft(text: str) -> Draft:
    return Draft(OsClock().wall_us(), COMMAND, 1, text.encode())


def format_disk(directory: Path, node_id: NodeId, members: VoterSet) -> None:
    """A journal whose first record names the voters, the same on every node, and its floor."""
    directory.mkdir()
    journal = open_journal(in_sqlite(directory))
    identity = Identity("cluster", 1, node_id, storage_of(node_id))
    (first,) = seal(EMPTY, Epoch(0), [CONTROL.voters_changed(members, Micros(NOON_US))])
    journal.format(identity, [first])
    floor = AckFloor(directory / FILE, identity)
    floor.write(first.position)
    floor.close()
    journal.close()


class Node:
    """A driver and its files. ``applied`` is what it was told is committed."""

    def __init__(
        self,
        directory: Path,
        transport: Transport,
        *,
        config: QuorumConfig = FAST,
        on_commit: Callable[[Txid], None] | None = None,
        on_stored: Callable[[Sequence[Entry]], None] = lambda _: None,
        opened: Callable[[str], SqlJournal] = open_journal,
    ) -> None:
        self.journal = opened(sqlite_url(directory / "journal.db"))
        identity = self.journal.identity()
        assert identity is not None
        self.node_id = NodeId(identity.node_id)
        self.floor = AckFloor(directory / FILE, identity)
        self.roles: list[RoleChanged] = []
        self.driver = QuorumDriver(
            load(
                self.journal,
                self.floor,
                control=CONTROL,
                voters_kind=VOTERS_CHANGED,
                incarnation=next_incarnation(directory / "incarnation"),
                applied_txid=Txid(0),
                recent_records=config.uncommitted_records,
            ),
            config=config,
            control=CONTROL,
            journal=self.journal,
            floor=self.floor,
            transport=transport,
            clock=OsClock(),
            rng=OsRng(),
            on_commit=on_commit or (lambda _: None),
            on_role=self.roles.append,
            on_stored=on_stored,
        )

    async def write(self, text: str) -> Entry:
        (entry,) = self.driver.propose([draft(text)])
        await self.driver.committed(entry.txid, entry.epoch)
        return entry

    def stored(self) -> list[Entry]:
        return self.journal.read(Txid(0), limit=100_000)

    def committed(self) -> list[str]:
        found = self.driver.records(Txid(0), 100_000)
        return [entry.payload.decode() for entry in found if entry.kind == COMMAND]

    @property
    def last(self) -> Position:
        return self.driver.node.last

    async def stop(self) -> None:
        await self.driver.stop()
        self.close()

    def close(self) -> None:
        self.journal.close()
        self.floor.close()


class Network:
    """Joins drivers of one event loop. ``cut`` holds nodes that nobody hears and that hear nobody."""

    def __init__(self) -> None:
        self.drivers: dict[NodeId, QuorumDriver] = {}
        self.cut: set[NodeId] = set()
        self.sent = 0

    def of(self, node_id: NodeId) -> "NetworkEnd":
        return NetworkEnd(self, node_id)


class NetworkEnd:
    """``Transport`` of one node."""

    def __init__(self, network: Network, node_id: NodeId) -> None:
        self._network, self._node_id = network, node_id
        self._receive: Callable[[Response], None] | None = None
        self._calls: set[asyncio.Task[None]] = set()

    def start(self, receive: Callable[[Response], None]) -> None:
        self._receive = receive

    def send(self, to: NodeId, message: Request) -> None:
        self._network.sent += 1
        task = asyncio.get_running_loop().create_task(self._call(to, message))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call(self, to: NodeId, message: Request) -> None:
        ends = {self._node_id, to}
        if ends & self._network.cut or to not in self._network.drivers:
            return
        response = await self._network.drivers[to].answer(message)
        if response is not None and self._receive is not None and not ends & self._network.cut:
            self._receive(response)

    async def stop(self) -> None:
        self._receive = None
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)


async def until(condition: Callable[[], bool], what: str, *, within_s: float = 20) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - conditions of production code have no event
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise AssertionError(f"not within {within_s} s: {what}") from error
