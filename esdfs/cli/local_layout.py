"""Where the nodes of a local cluster live, which ports they get, and their settings."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec

from esdfs.cli.processes import Process
from esdfs.datanode.config import DataNodeConfig
from esdfs.env import Clock, Rng
from esdfs.errors import InvalidRequest
from esdfs.namenode.config import NameNodeConfig, load

# Below the ports that the kernel hands out to outgoing connections: a stopped node's port stays free.
_PORT_FIRST, _PORT_COUNT = 20_000, 10_000
_HOST: Final = "127.0.0.1"

WITNESS: Final = "witness-1"

T = TypeVar("T")


class NameNodeRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A NameNode, as started last. ``rest`` is "" for a witness."""

    id: str
    dir: str
    rest: str
    grpc: str
    kind: str = "voter"
    process: Process | None = None


class DataNodeRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A DataNode, as started last."""

    id: str
    dir: str
    address: str
    process: Process | None = None


NodeRecord = NameNodeRecord | DataNodeRecord


class ClusterRecord(msgspec.Struct, frozen=True):
    """``cluster.json``: what there is, and which processes ran it last."""

    namenodes: list[NameNodeRecord]
    datanodes: list[DataNodeRecord]


class Layout:
    """How to lay out a cluster that does not exist yet.

    Attributes:
        racks: DataNodes are spread over so many; 0 = they name none.
        journals: SQLAlchemy URL of each NameNode's journal; "" = SQLite in its directory.
        volumes: Of each DataNode, directories as if each were a disk.
        namenode, datanode: Settings of ``namenode.toml`` and ``datanode.toml`` over our own.
        of_node: Settings of single NameNodes over those of all, by node id.
    """

    def __init__(
        self,
        clock: Clock,
        rng: Rng,
        *,
        namenodes: int = 1,
        witness: bool = False,
        datanodes: int,
        racks: int = 0,
        volumes: int = 1,
        journals: Sequence[str],
        block_size_bytes: int,
        namenode: Mapping[str, Any],
        datanode: Mapping[str, Any],
        of_node: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        self._clock = clock
        self._rng = rng
        self.namenodes = namenodes
        self.witness = witness
        self.datanodes = datanodes
        self.racks = racks
        self.volumes = volumes
        self.journals = journals
        self.block_size_bytes = block_size_bytes
        self.namenode = namenode
        self.datanode = datanode
        self.of_node = of_node

    def make(self, root: Path) -> ClusterRecord:
        """Format the NameNode and lay out the DataNodes below ``root``; what is there already is kept.

        Raises:
            InvalidRequest: A setting is unknown or out of bounds.
            EsdfsError: The journal's database cannot be used.
        """
        # Checked before the journal is made: what is refused leaves nothing behind.
        _convert({"node_id": "dn-0", "volumes": ["v"], "namenodes": [], **self.datanode}, DataNodeConfig)
        (root / "logs").mkdir(parents=True, exist_ok=True)
        homes = [root / f"nn-{number}" for number in range(1, self.namenodes + 1)]
        if self.witness:
            homes.append(root / WITNESS)
        if unknown := sorted(set(self.of_node) - {home.name for home in homes}):
            raise InvalidRequest(
                f"--set {unknown[0]}.…: there is no such NameNode; there are {_names(homes)}"
            )
        if not (homes[-1] / "namenode.toml").exists():
            self._format(homes)
        return self.more_datanodes(root, ClusterRecord([_record(home) for home in homes], []), self.datanodes)

    def more_datanodes(self, root: Path, record: ClusterRecord, count: int) -> ClusterRecord:
        """``record`` with ``count`` further DataNodes, laid out below ``root``."""
        configs = [load(Path(namenode.dir)) for namenode in record.namenodes if namenode.rest]
        there = len(record.datanodes)
        numbers = range(there + 1, there + count + 1)
        more = [self._lay_out(root / f"dn-{number}", self._rack(number), configs) for number in numbers]
        return ClusterRecord(record.namenodes, [*record.datanodes, *more])

    def _rack(self, number: int) -> str:
        return f"/rack-{(number - 1) % self.racks + 1}" if self.racks else ""

    def _format(self, homes: list[Path]) -> None:
        from esdfs.journal.databases import create_if_absent  # noqa: PLC0415 - as below
        from esdfs.namenode.events import VoterEntry  # noqa: PLC0415 - as below
        from esdfs.namenode.formatting import (  # noqa: PLC0415 - the database's libraries are slow to load
            cluster_settings,
            format_namenode,
        )

        configs = [
            _convert(
                {
                    "node_id": home.name,
                    "dir": str(home),
                    "kind": "witness" if home.name == WITNESS else "voter",
                    "journal_url": journal,
                    "rest_port": free_port(self._rng),
                    "grpc_port": free_port(self._rng),
                    "safe_mode_min_ms": 0,  # a whole cluster that starts at once has nothing to wait for
                    **self.namenode,
                    **self.of_node.get(home.name, {}),
                },
                NameNodeConfig,
            )
            for home, journal in zip(homes, self.journals, strict=True)
        ]
        if len(configs) > 1:
            for config in configs:
                create_if_absent(config.database_url)
        voters = [
            VoterEntry(
                config.node_id,
                self._rng.uuid(),
                config.kind,
                config.grpc_address,
                config.rest_url,
            )
            for config in configs
        ]
        cluster = cluster_settings(
            self._rng,
            block_size_bytes=self.block_size_bytes,
            feature_level=min(config.features.newest for config in configs),
        )
        ts_us = self._clock.wall_us()
        for config in configs:
            format_namenode(
                config,
                cluster,
                clock=self._clock,
                rng=self._rng,
                voters=voters if len(voters) > 1 else (),
                ts_us=ts_us,
            )

    def _lay_out(self, home: Path, rack: str, namenodes: list[NameNodeConfig]) -> DataNodeRecord:
        given: dict[str, Any] = {
            "node_id": home.name,
            "host": _HOST,
            "port": free_port(self._rng),
            "volumes": [str(home / name) for name in _volume_names(self.volumes)],
            "namenodes": [f"http://{each.rest_host}:{each.rest_port}" for each in namenodes],
            "token": namenodes[0].token,
            "rack": rack,
            "heartbeat_interval_ms": namenodes[0].heartbeat_interval_ms,
            **self.datanode,
        }
        config = _convert(given, DataNodeConfig)
        if problems := config.validate():
            raise InvalidRequest("; ".join(problems))
        return write_datanode(home, config)


def write_datanode(home: Path, config: DataNodeConfig) -> DataNodeRecord:
    """``datanode.toml`` in a DataNode's home, for its owner only: it may hold a token."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "datanode.toml"
    file.touch(mode=0o600)
    values = [(name, getattr(config, name)) for name in config.__struct_fields__]
    lines = [f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in values]
    file.write_text("".join(lines), encoding="utf-8")
    return DataNodeRecord(home.name, str(home), f"{config.host}:{config.port}")


def free_port(rng: Rng) -> int:
    """A port of this machine that nobody listens on now."""
    while True:
        port = _PORT_FIRST + rng.randrange(_PORT_COUNT)
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
        return port


def _volume_names(count: int) -> list[str]:
    return ["data"] if count == 1 else [f"data-{number}" for number in range(1, count + 1)]


def _names(homes: Sequence[Path]) -> str:
    return ", ".join(home.name for home in homes)


def _convert(given: Mapping[str, Any], type_: type[T]) -> T:
    try:
        return msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{type_.__name__}: {error}") from error


def _record(home: Path) -> NameNodeRecord:
    config = load(home)
    return NameNodeRecord(home.name, str(home), config.rest_url, config.grpc_address, config.kind)
