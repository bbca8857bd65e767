"""Which DataNode holds which replica, as reported: the one door to ``locations.mdb``.

Soft state: whatever is lost here is filled again by block reports. It is written without fsync, so only
the memory of a running kernel vouches for it; after a reboot, or under another format, it starts empty.

Tables (big-endian keys):

=========  ==================  =====================================================
``block``  block id u64        replicas, 9 bytes each, the pipeline's head first
``node``   DataNode u32        block ids u64, as sorted duplicates
``dn``     DataNode u32        ``DataNodeRow`` as msgpack
``meta``   ``version``         u64: counts changes of ``dn``
=========  ==================  =====================================================
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, repeat
from pathlib import Path
from struct import Struct, unpack
from typing import Any, Final

import lmdb
import msgspec

from esdfs import writeback
from esdfs.blocks import DataNodeStatus
from esdfs.env_os import boot_id
from esdfs.errors import InsufficientStorage
from esdfs.namenode.blocks.admin import Admin
from esdfs.namenode.blocks.bodies import Load, PeerState, VolumeState
from esdfs.namenode.blocks.racks import DEFAULT_RACK
from esdfs.namenode.blocks.replicas import Replica, merge, pack_replicas, unpack_replicas, unpack_shared

DIRECTORY: Final = "locations.mdb"
FORMAT: Final = 2
BYTES_MAX: Final = 64 << 30

_READERS_MAX: Final = 256
_TABLES: Final = (b"block", b"node", b"dn", b"meta")
_U32: Final = Struct(">I")
_U64: Final = Struct(">Q")
_WRITES_A_STEP: Final = 32
"""Else the kernel writes everything 30 s later at once, and the journal's fsync, on the same disk, waits."""

_VERSION: Final = b"version"


class DataNodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A DataNode as this NameNode sees it.

    Attributes:
        number: The journal's short name for it.
        local_socket: For readers on its host; empty when it has none.
        storage_capacity, available_space, used_bytes: Bytes, as it last said. Used are those of replicas: the
            disk may be shared with others.
        last_heartbeat_us: For display; liveness is decided by a monotonic age.
        rack: Where it stands, like ``/rack-1``.
        status_why: What its status came from.
        admin: What an operator wants of it, and how far that is.
    """

    number: int
    node_id: str
    uuid: str
    incarnation: int
    hostname: str
    port: int
    local_socket: str = ""
    status: DataNodeStatus = DataNodeStatus.ACTIVE
    storage_capacity: int = 0
    available_space: int = 0
    used_bytes: int = 0
    last_heartbeat_us: int = 0
    blocks_stored: int = 0
    failed_volumes: int = 0
    slow_volumes: int = 0
    load: Load = Load()
    rack: str = DEFAULT_RACK
    status_why: str = ""
    admin: Admin = Admin()
    volumes: tuple[VolumeState, ...] = ()
    peers: tuple[PeerState, ...] = ()

    @property
    def address(self) -> str:
        """``host:port`` of its data channel."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{host}:{self.port}"


_encode = msgspec.msgpack.Encoder().encode
_row = msgspec.msgpack.Decoder(DataNodeRow).decode


def _neighbours(cursor: Any, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Keys with their values, if they lie side by side as those of a scan do, in a fraction of the time."""
    if not cursor.set_key(keys[0]):
        return []
    pairs = [*islice(cursor, len(keys))]
    return pairs if [key for key, _ in pairs] == keys else []


def _ids(keys: Sequence[bytes]) -> list[int]:
    return [*unpack(f">{len(keys)}Q", b"".join(keys))]


class Locations:
    """Replicas inside one write transaction."""

    def __init__(self, txn: Any, dbs: dict[bytes, Any]) -> None:
        self._txn = txn
        self._block = dbs[b"block"]
        self._node = dbs[b"node"]

    def replicas(self, block_id: int) -> list[Replica]:
        """All reported copies, the pipeline's head first."""
        return unpack_replicas(self._txn.get(_U64.pack(block_id), db=self._block))

    def put(self, block_id: int, replica: Replica) -> bool:
        """Add a copy, or replace what its DataNode had; whether that changed anything."""
        return bool(self._put(replica.number, [_U64.pack(block_id)], [pack_replicas(replica)]))

    def put_all(self, number: int, block_ids: Sequence[int], generations: Sequence[int]) -> Sequence[int]:
        """``put`` of many good copies on one DataNode; the ids of what was news."""
        packed = {generation: pack_replicas(Replica(number, generation)) for generation in {*generations}}
        keys, replicas = [*map(_U64.pack, block_ids)], [*map(packed.__getitem__, generations)]
        if len({*keys}) < len(keys):  # the last that is said of a block counts
            told = dict(zip(keys, replicas, strict=True))
            keys, replicas = [*told], [*told.values()]
        news = self._put(number, keys, replicas)
        return block_ids if len(news) == len(block_ids) else _ids(news)

    def _put(self, number: int, keys: list[bytes], replicas: list[bytes]) -> list[bytes]:
        """Keys of what was news."""
        told = [*zip(keys, replicas, strict=True)]
        block, holders, node = self._txn.cursor(self._block), self._txn.cursor(self._node), _U32.pack(number)
        first: set[bytes] = set()
        # After a cold start no copy of them is known: to look that up first would cost as much again.
        cold = bool(keys) and not block.set_key(keys[0])
        if cold and block.putmulti(sorted(told), overwrite=False)[1] == len(told):
            holders.putmulti([*zip(repeat(node), sorted(keys))])
            return keys
        held = dict(block.getmulti(keys))
        if cold:
            first = {key for key, one in told if held[key] == one and not holders.set_key_dup(node, key)}
        elif [*held.values()] == replicas:
            return []
        changed, added = merge(held, told)
        block.putmulti(sorted(changed))
        holders.putmulti([*zip(repeat(node), sorted({*added, *first}))])
        news = first.union(key for key, _ in changed)
        return [key for key in keys if key in news]

    def lead(self, block_id: int, pipeline: Sequence[Replica]) -> None:
        """Record the copies a pipeline acknowledged, in its order, before all others."""
        first = {replica.number for replica in pipeline}
        others = [replica for replica in self.replicas(block_id) if replica.number not in first]
        key = _U64.pack(block_id)
        for replica in pipeline:
            self._txn.put(_U32.pack(replica.number), key, db=self._node)
        self._txn.put(key, pack_replicas(*pipeline, *others), db=self._block)

    def remove(self, block_id: int, number: int) -> bool:
        """Drop a DataNode's copy; whether there was one."""
        replicas = self.replicas(block_id)
        left = [replica for replica in replicas if replica.number != number]
        if len(left) == len(replicas):
            return False
        key = _U64.pack(block_id)
        self._txn.delete(_U32.pack(number), key, db=self._node)
        if left:
            self._txn.put(key, pack_replicas(*left), db=self._block)
        else:
            self._txn.delete(key, db=self._block)
        return True


class LocationsStore:
    """The locations' one writer. Open it after any fork, in one process only.

    Args:
        directory: The NameNode's directory.
        boot: What vouches for unsynced writes: the kernel's boot id, unless a test says otherwise.
        bytes_max: LMDB's address space; reserves no disk.
    """

    def __init__(self, directory: Path, *, boot: str = "", bytes_max: int = BYTES_MAX) -> None:
        self.path = directory / DIRECTORY
        trust = self.path / "TRUST"
        mark = f"{FORMAT} {boot or boot_id()}"
        self._fresh = not (trust.exists() and trust.read_text(encoding="ascii") == mark)
        if self._fresh and self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        trust.write_text(mark, encoding="ascii")
        self._env = lmdb.open(
            str(self.path),
            map_size=bytes_max,
            max_dbs=len(_TABLES),
            max_readers=_READERS_MAX,
            sync=False,
            metasync=False,
            readahead=False,
        )
        self._writing_back = writeback.InSteps(self.path / "data.mdb", _WRITES_A_STEP)
        # Workers of an earlier process may have died inside a read: their slots would pin old pages.
        self._env.reader_check()
        self._dbs: dict[bytes, Any] = {
            name: self._env.open_db(name, dupsort=name == b"node", dupfixed=name == b"node")
            for name in _TABLES
        }

    @property
    def fresh(self) -> bool:
        """Whether it was opened empty: nothing of an earlier process is in it."""
        return self._fresh

    @contextmanager
    def write(self) -> Iterator[Locations]:
        """One transaction over replicas: all of it is visible to readers at once, or nothing on an error.

        Raises:
            InsufficientStorage: No room on disk or in the map; locations may be lost, nothing else.
        """
        try:
            with self._env.begin(write=True) as txn:
                yield Locations(txn, self._dbs)
            self._writing_back.wrote()
        except (lmdb.MapFullError, lmdb.DiskError) as error:
            raise InsufficientStorage(f"{self.path} cannot grow: {error}") from error

    def replicas(self, block_id: int) -> list[Replica]:
        """All reported copies, the pipeline's head first."""
        with self._env.begin(db=self._dbs[b"block"]) as txn:
            return unpack_replicas(txn.get(_U64.pack(block_id)))

    def replicas_of(self, block_ids: Sequence[int]) -> list[tuple[Replica, ...]]:
        """The same of many blocks, in one look."""
        keys = [*map(_U64.pack, block_ids)]
        with self._env.begin() as txn:
            cursor = txn.cursor(self._dbs[b"block"])
            dense = keys and block_ids[-1] - block_ids[0] < 2 * len(keys)
            pairs = (dense and _neighbours(cursor, keys)) or cursor.getmulti(keys)
        if len(pairs) == len(keys):
            return [unpack_shared(value) for _, value in pairs]
        found = dict(pairs)
        return [unpack_shared(found.get(key, b"")) for key in keys]

    def located(self) -> int:
        """How many blocks have any reported copy."""
        with self._env.begin() as txn:
            return int(txn.stat(self._dbs[b"block"])["entries"])

    def blocks_of(self, number: int, *, after: int = 0, limit: int) -> list[int]:
        """At most ``limit`` ids above ``after`` of the blocks a DataNode has copies of, ascending."""
        key = _U32.pack(number)
        with self._env.begin() as txn:
            cursor = txn.cursor(self._dbs[b"node"])
            if not cursor.set_range_dup(key, _U64.pack(after + 1)):
                return []
            return _ids([*islice(cursor.iternext_dup(), limit)])

    def blocks(self, *, after: int = 0, limit: int) -> list[int]:
        """At most ``limit`` ids above ``after`` of blocks with any copy, ascending."""
        with self._env.begin() as txn:
            cursor = txn.cursor(self._dbs[b"block"])
            if not cursor.set_range(_U64.pack(after + 1)):
                return []
            return _ids([*islice(cursor.iternext(values=False), limit)])

    def datanodes(self) -> dict[int, DataNodeRow]:
        """Every DataNode's row, by its number."""
        with self._env.begin() as txn:
            return _rows(txn, self._dbs[b"dn"])

    def put_datanodes(self, rows: Iterable[DataNodeRow]) -> None:
        """Add or replace DataNodes' rows; readers notice by the version."""

        def put(txn: Any, db: Any) -> None:
            for row in rows:
                txn.put(_U32.pack(row.number), _encode(row), db=db)

        self._change(put)

    def forget_datanode(self, number: int) -> None:
        """Drop a DataNode's row; its copies must be gone."""
        assert not self.blocks_of(number, limit=1), "a forgotten DataNode still has copies"
        self._change(lambda txn, db: txn.delete(_U32.pack(number), db=db))

    def _change(self, change: Any) -> None:
        try:
            with self._env.begin(write=True) as txn:
                change(txn, self._dbs[b"dn"])
                version = _version(txn, self._dbs[b"meta"]) + 1
                txn.put(_VERSION, _U64.pack(version), db=self._dbs[b"meta"])
        except (lmdb.MapFullError, lmdb.DiskError) as error:
            raise InsufficientStorage(f"{self.path} cannot grow: {error}") from error

    def used_bytes(self) -> int:
        """Of the map: pages ever used."""
        return int(self._env.info()["last_pgno"] + 1) * int(self._env.stat()["psize"])

    def close(self) -> None:
        """Release the environment."""
        self._writing_back.close()
        self._env.close()


class LocationsReader:
    """Read-only access beside the writer, from another process. Open it after the fork."""

    def __init__(self, directory: Path) -> None:
        self._env = lmdb.open(
            str(directory / DIRECTORY),
            map_size=BYTES_MAX,  # the default of 10 MiB would end what this reader can see
            readonly=True,
            max_dbs=len(_TABLES),
            max_readers=_READERS_MAX,
            readahead=False,
            create=False,
        )
        # Not in one transaction of ours: LMDB closes handles again that a read transaction opened.
        self._dbs = {
            name: self._env.open_db(name, create=False, dupsort=name == b"node", dupfixed=name == b"node")
            for name in _TABLES
        }
        self._seen = -1
        self._nodes: dict[int, DataNodeRow] = {}

    def replicas(self, block_id: int) -> list[Replica]:
        """All reported copies, the pipeline's head first; as of now."""
        with self._env.begin(db=self._dbs[b"block"]) as txn:
            return unpack_replicas(txn.get(_U64.pack(block_id)))

    def page(self, after: int, limit: int) -> list[tuple[int, list[Replica]]]:
        """At most ``limit`` blocks with an id above ``after`` and any copy, ascending, with their copies."""
        with self._env.begin() as txn:
            cursor = txn.cursor(self._dbs[b"block"])
            if not cursor.set_range(_U64.pack(after + 1)):
                return []
            return [(_U64.unpack(key)[0], unpack_replicas(value)) for key, value in islice(cursor, limit)]

    def datanodes(self) -> dict[int, DataNodeRow]:
        """Every known DataNode, by its number; heartbeat times are up to a second old."""
        with self._env.begin() as txn:
            version = _version(txn, self._dbs[b"meta"])
            if version != self._seen:
                self._nodes = _rows(txn, self._dbs[b"dn"])
                self._seen = version
        return self._nodes

    def close(self) -> None:
        """Release the environment."""
        self._env.close()


def open_reader(directory: Path) -> LocationsReader:
    """Open the locations of the NameNode in ``directory`` for reading.

    Raises:
        lmdb.Error: None there yet: the engine has not started.
    """
    return LocationsReader(directory)


def _version(txn: Any, meta: Any) -> int:
    value = txn.get(_VERSION, db=meta)
    return 0 if value is None else int(_U64.unpack(value)[0])


def _rows(txn: Any, dn: Any) -> dict[int, DataNodeRow]:
    return {_U32.unpack(key)[0]: _row(value) for key, value in txn.cursor(dn)}
