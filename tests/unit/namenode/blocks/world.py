"""A namespace that is a dictionary, and a block manager on real LMDB in a time of its own."""

import logging
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from esdfs.blocks import Block
from esdfs.errors import IdentityConflict
from esdfs.ids import Micros, Nanos
from esdfs.namenode import events as ev
from esdfs.namenode.blocks.admin import Admin
from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.manager import BlockManager, NeedsJournal
from esdfs.namenode.blocks.policy import Policy
from esdfs.namenode.blocks.replicas import Replica
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.namespace.allocated import Allocated
from esdfs.namenode.namespace.inodes import BlockRecord, OpenFile

T = TypeVar("T")
BLOCK_BYTES = 1 << 20
SILENT = structlog.wrap_logger(
    structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
).bind()  # once, not at every word


class Clock:
    """Stands still until moved."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def monotonic_ns(self) -> Nanos:
        return Nanos(self.now_ms * 1_000_000)

    def wall_us(self) -> Micros:
        return Micros(self.now_ms * 1_000)

    def sleep(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


class SeededRng:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def randrange(self, stop: int) -> int:
        return self._random.randrange(stop)

    def random(self) -> float:
        return self._random.random()

    def choice(self, items: Sequence[T]) -> T:
        return self._random.choice(items)

    def token_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def uuid(self) -> str:
        return self._random.randbytes(16).hex()


class Index:
    """``BlockIndex`` in dictionaries."""

    def __init__(self, *, replication: int = 2, minimum: int = 2, allow_degraded: bool = False) -> None:
        self.records: dict[int, BlockRecord] = {}
        self.numbers: dict[str, tuple[int, str]] = {}
        self.next_id = 1
        self.skipped: tuple[tuple[int, int], ...] = ()
        self.reign = 1
        self.files: dict[int, OpenFile] = {}
        self.wishes: dict[int, ev.DataNodeStateSet] = {}
        self._cluster = ev.ClusterFormatted("c-1", BLOCK_BYTES, replication, minimum, allow_degraded)

    def block(self, block_id: int) -> BlockRecord | None:
        return self.records.get(block_id)

    def blocks(self, block_ids: Sequence[int]) -> list[BlockRecord | None]:
        return [self.records.get(block_id) for block_id in block_ids]

    def generations(self, block_ids: Sequence[int]) -> list[int | None]:
        return [record and record.generation for record in self.blocks(block_ids)]

    def blocks_after(self, block_id: int, limit: int) -> tuple[Sequence[int], Sequence[BlockRecord]]:
        ids = [key for key in sorted(self.records) if key > block_id][:limit]
        return ids, [self.records[key] for key in ids]

    def blocks_of_file(self, inode: int) -> list[int]:
        return [key for key, record in self.records.items() if record.inode == inode]

    def open_files(self) -> list[OpenFile]:
        return list(self.files.values())

    def datanode_states(self) -> list[ev.DataNodeStateSet]:
        return [self.wishes[number] for number in sorted(self.wishes)]

    def allocated(self) -> Allocated:
        return Allocated(self.next_id, self.skipped)

    def cluster(self) -> ev.ClusterFormatted:
        return self._cluster

    def number_of(self, node_id: str, uuid: str) -> int | None:
        known = self.numbers.get(node_id)
        if known is None:
            return None
        if known[1] != uuid:
            raise IdentityConflict(f"{node_id} is another")
        return known[0]

    def epoch(self) -> int:
        return self.reign


def policy(**changes: Any) -> Policy:
    """Impatient, so that little time has to pass; safe mode ends with the first scan that may end it."""
    values: dict[str, Any] = {
        "inactive_after_ms": 5_000,
        "dead_after_ms": 15_000,
        "copy_timeout_ms": 20_000,
        "delete_answer_ms": 20_000,
        "delete_settle_ms": 10_000,
        "orphan_grace_ms": 10_000,
        "purge_grace_ms": 10_000,
        "hint_ms": 20_000,
        "safe_mode_min_ms": 0,
        "safe_mode_scan_ms": 0,
        "schedule_every_ms": 0,
    }
    return Policy(**(values | changes))


class World:
    """A block manager and what it talks to."""

    def __init__(self, directory: Path, *, seed: int = 1, index: Index | None = None, **changes: Any) -> None:
        self.directory = directory
        self.clock = Clock()
        self.index = index or Index()
        self.policy = policy(**changes)
        self.seed = seed
        self.racks: dict[str, str] = {}
        self.open()

    def open(self) -> None:
        self.store = LocationsStore(self.directory, bytes_max=1 << 26)
        self.manager = BlockManager(
            NameNodeConfig(node_id="nn-1", dir=str(self.directory)),
            self.store,
            self.index,
            self.clock,
            SeededRng(self.seed),
            SILENT,
            policy=self.policy,
        )

    def restart(self) -> None:
        """The NameNode's process ends and starts again, in a new reign."""
        self.manager.close()
        self.index.reign += 1
        self.open()

    def settle(self) -> None:
        """All waiting work is done."""
        while self.manager.tick():
            pass

    def wait(self, ms: int, *alive: str) -> None:
        """Time passes in seconds; ``alive`` DataNodes heartbeat."""
        end = self.clock.now_ms + ms
        while self.clock.now_ms < end:
            self.clock.now_ms += 1_000
            for node_id in alive:
                self.heartbeat(node_id)
            self.settle()

    # --- DataNodes ---

    def register(self, node_id: str, *, host: str = "", incarnation: int = 1, **changes: Any) -> int:
        body = {
            "node_id": node_id,
            "uuid": f"uuid of {node_id}",
            "cluster_id": "c-1",
            "incarnation": incarnation,
            "hostname": host or f"host of {node_id}",
            "port": 9000,
            "rack": self.racks.get(node_id, ""),
            "storage_capacity": 1 << 40,
            "available_space": 1 << 39,
            "blocks_stored": 0,
        } | changes
        packed = msgspec.msgpack.encode(body)
        try:
            answer = self.manager.register(packed)
        except NeedsJournal as needed:
            self.index.numbers[needed.node_id] = (len(self.index.numbers) + 1, needed.uuid)
            answer = self.manager.register(packed)
        return int(answer["number"])

    def heartbeat(self, node_id: str, *, incarnation: int = 1, **changes: Any) -> dict[str, Any]:
        body = {"incarnation": incarnation, "storage_capacity": 1 << 40, "available_space": 1 << 39} | changes
        return self.manager.heartbeat(node_id, msgspec.msgpack.encode(body))

    def report(self, node_id: str, *, incarnation: int = 1, **entries: Any) -> None:
        body = {"incarnation": incarnation, "epoch": self.index.reign} | entries
        self.manager.report(node_id, msgspec.msgpack.encode(body))

    def join(self, *node_ids: str, stored: Sequence[int] = ()) -> list[int]:
        """Register and report in full; all of them have ``stored``."""
        numbers = [self.register(node_id) for node_id in node_ids]
        for node_id in node_ids:
            entries = [(block_id, 1, BLOCK_BYTES) for block_id in stored]
            self.report(node_id, full=True, first=True, last=True, stored=entries)
        self.settle()
        return numbers

    def commands(self, node_id: str, kind: str) -> list[dict[str, Any]]:
        """Orders of a kind in the next heartbeat's answer."""
        return [order for order in self.heartbeat(node_id)["commands"] if order["kind"] == kind]

    # --- operators ---

    def want(self, node_id: str, state: str, for_ms: int = 0, why: str = "") -> None:
        """An operator's wish is committed."""
        number = self.index.numbers[node_id][0]
        until_us = self.clock.wall_us() + for_ms * 1_000 if for_ms else 0
        wish = ev.DataNodeStateSet(number, node_id, state, until_us, why)
        self.index.wishes[number] = wish
        self.manager.on_committed([wish])

    def admin(self, node_id: str) -> Admin:
        """What is shown of it soon: its row is written every second."""
        self.wait(2_000)
        return self.store.datanodes()[self.index.numbers[node_id][0]].admin

    def live(self, ms: int, *alive: str) -> Counter[str]:
        """Time passes, and these DataNodes do what they are ordered to; how many orders there were."""
        done = Counter[str]()
        end = self.clock.now_ms + ms
        while self.clock.now_ms < end:
            self.wait(1_000)
            for node_id in alive:
                for order in self.heartbeat(node_id)["commands"]:
                    done[order["kind"]] += 1
                    self.obey(node_id, order)
            self.settle()
        return done

    def obey(self, node_id: str, order: dict[str, Any]) -> None:
        block_id = int(order["block_id"])
        if order["kind"] == "delete":
            self.report(node_id, removed=[(block_id, order["generation"])])
            return
        for target in order["targets"]:
            self.report(target["node_id"], stored=[(block_id, order["generation"], BLOCK_BYTES)])

    # --- the namespace ---

    def write(self, *numbers: int, replication: int = 2, inode: int = 7, reported: bool = True) -> int:
        """A file of one block is completed on these DataNodes; if ``reported``, they say so, too."""
        block_id = self.allocate(*numbers, replication=replication, inode=inode)
        self.complete(block_id, *numbers)
        if reported:
            for number in numbers:
                self.say(number, block_id)
        return block_id

    def say(self, number: int, block_id: int) -> None:
        """A DataNode that is there reports a copy."""
        node = self.manager._nodes.get(number)
        if node is not None and node.registered:
            entry = block_id, 1, BLOCK_BYTES
            self.report(node.row.node_id, incarnation=node.row.incarnation, stored=[entry])

    def allocate(self, *targets: int, replication: int = 2, inode: int = 7) -> int:
        block_id = self.index.next_id
        self.index.next_id += 1
        self.index.records[block_id] = BlockRecord(inode, 1, 0, replication, False)
        block = ev.AllocatedBlock(block_id, 1, targets)
        self.index.files[block_id] = OpenFile(
            inode, 1, "f", 0o644, "ann", "users", replication, BLOCK_BYTES, "lease", False, (block,), 0
        )
        self.manager.on_committed([ev.BlocksAllocated(inode, (block,), ())])
        return block_id

    def complete(self, block_id: int, *numbers: int) -> None:
        record = self.index.records[block_id]
        del self.index.files[block_id]
        self.index.records[block_id] = record._replace(complete=True, length_bytes=BLOCK_BYTES)
        block = Block(block_id, 1, BLOCK_BYTES, BLOCK_BYTES, 0)
        done = ev.CompletedBlock(block, numbers)
        self.manager.on_committed([ev.FileCompleted(record.inode, 1, "f", BLOCK_BYTES, 0, (done,), 0, 0)])

    def abort(self, block_id: int) -> None:
        record = self.index.records.pop(block_id)
        del self.index.files[block_id]
        self.manager.on_committed([ev.FileAborted(record.inode, "a test", (block_id,))])

    def holders(self, block_id: int) -> list[int]:
        return [replica.number for replica in self.store.replicas(block_id)]

    def replicas(self, block_id: int) -> list[Replica]:
        return self.store.replicas(block_id)

    def blocks(self) -> dict[str, int]:
        found: dict[str, int] = self.manager.status()["blocks"]
        return found

    def close(self) -> None:
        self.manager.close()
