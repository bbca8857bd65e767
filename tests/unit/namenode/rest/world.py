"""A namespace in memory and an engine that records what it is asked, for testing the edge alone."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
from falcon.testing import ASGIConductor, Result

from esdfs.blocks import Block, DataNodeStatus
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import Compacted, EsdfsError, FutureTxid, NotFound
from esdfs.ids import Epoch, Txid
from esdfs.journal.entry import Base, Entry
from esdfs.namenode.audit.index import IndexStore
from esdfs.namenode.audit.reading import AuditReader
from esdfs.namenode.blocks.admin import Admin
from esdfs.namenode.blocks.bodies import Load, PeerState, VolumeState
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.event_codec import pack
from esdfs.namenode.events import (
    ClusterFormatted,
    DataNodeAdded,
    DirectoryMade,
    RetentionSet,
    SnapshotCreated,
    VoterEntry,
)
from esdfs.namenode.frames import Answer, Body, Execute, Status
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord, Cursor, Inode, Version
from esdfs.namenode.projection.differing import Change
from esdfs.namenode.projection.horizon import Standing
from esdfs.namenode.rest.app import create_app
from esdfs.namenode.upcasters import LEVEL_NEWEST

MTIME_US = 1_769_860_800_123_456


def directory(inode: int, version: int = 1) -> Inode:
    return Inode(
        inode=inode,
        version=version,
        is_directory=True,
        mode=0o755,
        owner="ada",
        group="users",
        mtime_us=MTIME_US,
    )


def file(inode: int, version: int = 1, blocks: tuple[Block, ...] = (), replication: int = 2) -> Inode:
    return Inode(
        inode=inode,
        version=version,
        is_directory=False,
        mode=0o644,
        owner="ada",
        group="users",
        mtime_us=MTIME_US,
        size_bytes=sum(block.length_bytes for block in blocks),
        replication=replication,
        block_size_bytes=1 << 20,
        crc32c=0xABC,
        blocks=blocks,
    )


class State:
    """Paths and inodes after one transaction."""

    def __init__(self, paths: dict[str, Inode], applied_txid: int, txid: int) -> None:
        self.paths = paths
        self.applied_txid = applied_txid
        self.oldest_txid = 1
        self.epoch = 3
        self.snapshots: dict[str, SnapshotCreated] = {}
        self._txid = txid
        self.records: dict[int, BlockRecord] = {}
        self.linked: list[int] = []
        self.named: dict[str, Cursor] = {}

    def voters(self) -> tuple[VoterEntry, ...]:
        return ()

    def cluster(self) -> ClusterFormatted | None:
        return ClusterFormatted("c-1", 1 << 20, 2, 2, allow_degraded=False)

    def resolve(self, path: str) -> Inode:
        if path not in self.paths:
            raise NotFound(f"no such file or directory: {path}", path=path)
        return self.paths[path]

    def by_id(self, inode: int) -> tuple[str, Inode]:
        for path, found in self.paths.items():
            if found.inode == inode:
                return path, found
        raise NotFound(f"no file or directory has id {inode}")

    def path_of(self, inode: int) -> str | None:
        return next((path for path, found in self.paths.items() if found.inode == inode), None)

    def children(self, inode: int, after: str = "", limit: int = 1000) -> list[tuple[str, Inode]]:
        parent = self.path_of(inode)
        prefix = "/" if parent == "/" else f"{parent}/"
        names = {
            path[len(prefix) :]: found
            for path, found in self.paths.items()
            if path.startswith(prefix) and path != "/" and "/" not in path[len(prefix) :]
        }
        return sorted((name, found) for name, found in names.items() if name > after)[:limit]

    def history(self, path: str, limit: int = 1000) -> list[Version]:
        inode = self.resolve(path)
        return [Version(path, inode.version, 0, inode)][:limit]

    def retention(self) -> RetentionSet:
        return RetentionSet(7 * 86_400, 0)

    def standing(self, now_us: int) -> Standing:
        assert now_us, "a time"
        return Standing(1, 1, 1, 0, len(self.snapshots))

    def pin(self, name: str) -> SnapshotCreated | None:
        return self.snapshots.get(name)

    def pins(self) -> list[SnapshotCreated]:
        return [pin for _, pin in sorted(self.snapshots.items())]

    def touched(self, before: int, after: int, limit: int) -> int:
        del before, after, limit
        raise AssertionError("differences are the real projection's: test_server.py")

    def difference(self, before: int, after: int, path: str = "/") -> list[Change]:
        del before, after, path
        raise AssertionError("differences are the real projection's: test_server.py")

    def txid_at(self, ts_us: int) -> int:
        return self.applied_txid if ts_us >= MTIME_US else 0

    @property
    def settled_txid(self) -> int:
        return self.applied_txid

    def place_at(self, inode: int, txid: int) -> tuple[int, str] | None:
        del inode, txid
        return None

    def entry_at(self, parent: int, name: str, txid: int) -> Inode | None:
        del parent, name, txid
        return None

    def cursor(self, name: str) -> Cursor | None:
        return self.named.get(name)

    def cursors(self) -> list[Cursor]:
        return list(self.named.values())

    @property
    def allocated(self) -> Allocated:
        return Allocated(max(self.records, default=0) + 1)

    def block(self, block_id: int) -> BlockRecord | None:
        return self.records.get(block_id)

    def linked_blocks(self) -> Iterator[list[int]]:
        yield self.linked

    def datanode(self, number: int) -> DataNodeAdded | None:
        return DataNodeAdded(f"dn-{number}", "", number)


class Reader:
    """Every state there was, by txid."""

    def __init__(self) -> None:
        self.states: dict[int, dict[str, Inode]] = {1: {"/": directory(1)}}
        self.cursors: dict[str, Cursor] = {}
        self.snapshots: dict[str, SnapshotCreated] = {}
        self.records: dict[int, BlockRecord] = {}
        self.linked: list[int] = []

    def put(self, paths: dict[str, Inode]) -> int:
        """The next transaction's state."""
        txid = self.applied_txid() + 1
        self.states[txid] = {"/": directory(1)} | paths
        return txid

    def applied_txid(self) -> int:
        return max(self.states)

    @contextmanager
    def snapshot(self, as_of: int | None = None) -> Iterator[State]:
        newest = self.applied_txid()
        txid = newest if as_of is None else as_of
        if txid > newest:
            raise FutureTxid(f"txid {txid} is not there yet: the newest is {newest}")
        if txid < min(self.states):
            raise Compacted("compacted", oldest_txid=min(self.states))
        state = State(self.states[txid], newest, txid)
        state.named = self.cursors
        state.snapshots = self.snapshots
        state.records, state.linked = self.records, self.linked
        yield state


class Node(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    node_id: str
    address: str
    hostname: str = "host"
    port: int = 9000
    local_socket: str = ""
    status: DataNodeStatus = DataNodeStatus.ACTIVE
    status_why: str = ""
    storage_capacity: int = 100
    available_space: int = 60
    used_bytes: int = 30
    load: Load = Load(streams=2, read_p99_ms=20.0)
    volumes: tuple[VolumeState, ...] = (VolumeState(volume_id="v-1", slow=True),)
    peers: tuple[PeerState, ...] = (PeerState(node_id="dn-9", reachable=False),)
    last_heartbeat_us: int = MTIME_US
    blocks_stored: int = 0
    rack: str = "/rack-1"
    admin: Admin = Admin()


class Copy(msgspec.Struct, frozen=True):
    number: int
    generation: int
    corrupt: bool = False


class Locations:
    def __init__(self) -> None:
        self.nodes = {n: Node(number=n, node_id=f"dn-{n}", address=f"127.0.0.1:900{n}") for n in (1, 2, 3)}
        self.copies: dict[int, list[Copy]] = {}

    def replicas(self, block_id: int) -> list[Copy]:
        return self.copies.get(block_id, [])

    def page(self, after: int, limit: int) -> list[tuple[int, list[Copy]]]:
        return [(id_, self.copies[id_]) for id_ in sorted(self.copies) if id_ > after][:limit]

    def datanodes(self) -> dict[int, Node]:
        return self.nodes


Reply = Callable[[Body], Any] | EsdfsError | list[dict[str, Any]] | dict[str, Any]


class FakeEngine:
    """Answers every call with ``reply``: a result, an error, or a function of the call."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.calls: list[Body] = []
        self.reply: Reply = [{}]
        self.replayed = False
        self.closed = False
        self.txid: int | None = None

    @property
    def last_seen(self) -> tuple[int, int]:
        return 0, 0

    async def call(self, body: Body, *, timeout_ms: int = 10_000) -> Answer:
        assert timeout_ms > 0
        self.calls.append(body)
        if isinstance(self.reply, EsdfsError):
            raise self.reply
        if isinstance(body, Status) and not callable(self.reply):
            result: Any = STATUS
        else:
            result = self.reply(body) if callable(self.reply) else self.reply
        txid = self.txid or self._reader.applied_txid()
        raw = msgspec.Raw(msgspec.msgpack.encode(result))
        return Answer(len(self.calls), txid, 3, None, raw, self.replayed)

    async def close(self) -> None:
        self.closed = True

    def executed(self) -> Execute:
        """The only change asked for."""
        (found,) = [call for call in self.calls if isinstance(call, Execute)]
        return found


STATUS = {
    "node_id": "nn-1",
    "role": "leader",
    "epoch": 3,
    "last_txid": 9,
    "commit_txid": 9,
    "oldest_txid": 1,
    "history_oldest_txid": 1,
    "history_wanted_txid": 1,
    "history_purged_txid": 1,
    "history_held_versions": 0,
    "history_snapshots": 0,
    "chain": "ab" * 32,
    "cluster_id": "c-1",
    "safe_mode": False,
    "read_only": "",
    "blocks": {"total": 4, "under_replicated": 1, "missing": 0, "corrupt": 0, "pending": 0},
    "queues": {"one_left": 1},
    "done": {"copied": 7},
    "alarms": [{"block_id": "999", "generation": 1, "node_id": "dn-1", "why": "never allocated"}],
    "alarm_count": 3,
    "counters": {"requests": 7},
}


class Journal:
    def __init__(self, count: int = 5, oldest: int = 1) -> None:
        self.entries = [_entry(txid) for txid in range(oldest, count + 1)]

    def oldest_txid(self) -> Txid:
        return self.entries[0].txid

    def base(self) -> Base:
        return Base(last_txid=Txid(self.entries[0].txid - 1))

    def read(self, after: Txid, *, limit: int) -> list[Entry]:
        return [entry for entry in self.entries if entry.txid > after][:limit]

    def pick(self, txids: Sequence[int]) -> list[Entry]:
        return [entry for entry in self.entries if entry.txid in txids]

    def chains(self, txids: Sequence[int]) -> dict[int, bytes]:
        return {entry.txid: entry.chain for entry in self.pick(txids)}


def _entry(txid: int) -> Entry:
    packed = pack(DirectoryMade(1, f"d{txid}", txid + 10, 0o755, "ada", "users"), level=LEVEL_NEWEST)
    return Entry(
        Txid(txid),
        Epoch(1),
        MTIME_US + txid,
        packed.kind,
        packed.version,
        b"",
        0,
        "ada",
        "127.0.0.1",
        packed.payload,
        txid,
        bytes(32),
    )


class World:
    """One worker's application on all of it."""

    def __init__(self, directory: Path, token: str = "") -> None:
        IndexStore(directory, bytes_max=1 << 30).close()  # empty: every reader indexes for itself
        self.reader = Reader()
        self.locations = Locations()
        self.engine = FakeEngine(self.reader)
        self.journal = Journal()
        self.app = create_app(
            is_sole=lambda: True,
            reader=self.reader,
            locations=self.locations,
            engine=self.engine,
            journal=self.journal,
            audit=AuditReader(directory, self.journal, self.reader),
            digest=self._digest,
            beside=self._beside,
            settings=NameNodeConfig(node_id="nn-1", dir="nowhere", token=token),
            clock=OsClock(),
            rng=OsRng(),
        )
        self._runner = asyncio.Runner()
        self._conductor = ASGIConductor(self.app)

    async def _digest(self) -> bytes:
        return msgspec.json.encode({"txid": self.reader.applied_txid(), "digest": "ab" * 32})

    async def _beside(self, argv: list[str]) -> bytes:
        assert argv, "a program"
        return b"{}"

    def __enter__(self) -> Self:
        self._runner.run(self._conductor.__aenter__())
        return self

    def __exit__(self, *raised: object) -> None:
        self._runner.run(self._conductor.__aexit__(*raised))
        self._runner.close()

    def send(self, method: str, path: str, **kwargs: Any) -> Result:
        result: Result = self._runner.run(self._conductor.simulate_request(method, path, **kwargs))
        return result

    def get(self, path: str, **kwargs: Any) -> Result:
        return self.send("GET", path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> Result:
        return self.send("POST", path, json=json, **kwargs)
