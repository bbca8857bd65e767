"""A NameNode's own settings: what may differ between nodes and change on restart.

What must be equal on every node (block size, replication, …) is in the journal's first record.
"""

import re
from pathlib import Path
from typing import Final, Literal

import msgspec

from esdfs.errors import InvalidRequest
from esdfs.ids import NodeId
from esdfs.namenode.features import SUPPORTED, FeatureRange, limited

CHECKPOINT_RECORDS_MIN: Final = 10
"""A checkpoint takes two records itself."""

_RACK: Final = re.compile(r"(/[^\s/]{1,64}){1,4}")
BALANCE_BYTES_PER_S_MIN: Final = 64 * 1024
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/]+):[1-9][0-9]{0,4}")


class NameNodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Read from ``namenode.toml`` in the node's directory.

    Attributes:
        dir: Where everything of this node lives.
        kind: "voter", or "witness": it keeps the journal and votes, but has no namespace and no REST.
        seeds: NameNodes to ask for the leader before this node's journal knows any: "nn-1=host:port".
        journal_url: SQLAlchemy URL; "" = ``journal.sqlite`` in ``dir``.
        grpc_port, rest_port: 0 = any free one.
        lease_soft_ms: After this long without renewal another client may take a file over.
        lease_hard_ms: After this long an open file is aborted.
        free_bytes_min: Below this much free disk the node refuses changes.
        peer_addresses: ``host:port`` by node id, where this node reaches another NameNode's gRPC instead of
            where that is registered: for address translation, or a network of the NameNodes' own.
        feature_level_max: Hold a rolling upgrade back: behave as a release that reads feature levels up to
            this one only; 0 = all that this release reads.
        checkpoint_every_records: A leader has checkpoints taken this often; 0 = never.
        journal_retain_records: Records kept before the newest checkpoint; older ones move from the journal
            into archive segments. 0 = keep everything in the journal.
        cursor_hold_s: Records that a named reader has not dealt with stay in the journal for so long,
            whatever ``journal_retain_records`` says.
        horizon_step_ms, horizon_step_records: The oldest txid that can be read follows the window this
            often, or after so many transactions.
        purge_grace_ms: Blocks of forgotten history, and replicas that no block of ours has, are deleted this
            much later: who began to read them may finish.
        topology: Racks by DataNode id or host: "host" = "/rack-1". Before what DataNodes say themselves.
        topology_script: A program that is called with a host and prints its rack; "" = none. It has five
            seconds, and is asked once for each host; again a minute later when it failed.
        balance_threshold: Move blocks whenever a DataNode's use (a part of its capacity, 0 to 1) is further
            than this from the cluster's; 0 = only when an operator says so.
        balance_bytes_per_s: Each DataNode sends at most so much of that, unless an operator says otherwise.
    """

    node_id: str
    dir: str
    kind: Literal["voter", "witness"] = "voter"
    seeds: tuple[str, ...] = ()
    journal_url: str = ""
    rest_host: str = "127.0.0.1"
    rest_port: int = 8870
    rest_workers: int = 2
    grpc_host: str = "127.0.0.1"
    grpc_port: int = 8871
    token: str = ""
    heartbeat_interval_ms: int = 1_000
    inactive_after_ms: int = 10_000  # ten heartbeats: a busy machine loses a few
    dead_after_ms: int = 60_000  # a reboot is not a death
    lease_soft_ms: int = 60_000
    lease_hard_ms: int = 1_200_000
    safe_mode_min_ms: int = 30_000
    free_bytes_min: int = 64 << 20
    projection_bytes_max: int = 1 << 40  # LMDB's address space, not disk
    peer_addresses: dict[str, str] = {}
    feature_level_max: int = 0
    checkpoint_every_records: int = 100_000
    journal_retain_records: int = 0
    cursor_hold_s: int = 7 * 86_400
    horizon_step_ms: int = 60_000
    horizon_step_records: int = 10_000
    purge_grace_ms: int = 60_000
    topology: dict[str, str] = {}
    topology_script: str = ""
    balance_threshold: float = 0.0
    balance_bytes_per_s: int = 20_000_000

    def validate(self) -> list[str]:
        """Everything wrong, each naming its setting; empty when all is well."""
        problems = []
        if not self.node_id or not self.node_id.isprintable() or "/" in self.node_id:
            problems.append("node_id must be a printable name without '/'")
        if not 1 <= self.rest_workers <= 64:
            problems.append("rest_workers must be between 1 and 64")
        if self.inactive_after_ms < 2 * self.heartbeat_interval_ms:
            problems.append(
                f"inactive_after_ms ({self.inactive_after_ms}) must be at least"
                f" 2 × heartbeat_interval_ms ({self.heartbeat_interval_ms})"
            )
        if self.dead_after_ms <= self.inactive_after_ms:
            problems.append(
                f"dead_after_ms ({self.dead_after_ms}) must be above"
                f" inactive_after_ms ({self.inactive_after_ms})"
            )
        if self.lease_hard_ms < self.lease_soft_ms:
            problems.append(
                f"lease_hard_ms ({self.lease_hard_ms}) must not be below lease_soft_ms ({self.lease_soft_ms})"
            )
        if not all(name and address.rpartition(":")[2].isdigit() for name, address in self._seeds()):
            problems.append('seeds must look like "nn-1=host:port"')
        if self.feature_level_max and not SUPPORTED.has(self.feature_level_max):
            problems.append(
                f"feature_level_max must be 0 or between {SUPPORTED.oldest} and {SUPPORTED.newest}"
            )
        if self.checkpoint_every_records and self.checkpoint_every_records < CHECKPOINT_RECORDS_MIN:
            problems.append(f"checkpoint_every_records must be 0 or at least {CHECKPOINT_RECORDS_MIN}")
        if self.journal_retain_records < 0:
            problems.append("journal_retain_records must not be negative; 0 keeps everything")
        if self.cursor_hold_s < 0:
            problems.append("cursor_hold_s must not be negative; 0 holds nothing")
        if self.horizon_step_ms < 100 or self.horizon_step_records < 1:
            problems.append("horizon_step_ms must be at least 100 and horizon_step_records at least 1")
        if self.purge_grace_ms < 0:
            problems.append("purge_grace_ms must not be negative")
        if not 0 <= self.balance_threshold < 1:
            problems.append("balance_threshold must be 0 (off) or a part of a DataNode's capacity, like 0.1")
        if self.balance_bytes_per_s < BALANCE_BYTES_PER_S_MIN:
            problems.append(f"balance_bytes_per_s must be at least {BALANCE_BYTES_PER_S_MIN}")
        problems += [
            f"{name} must be between 0 and 65535"
            for name in ("rest_port", "grpc_port")
            if not 0 <= getattr(self, name) <= 65535
        ]
        problems += [
            f"topology: the rack of {name} must be like /rack-1, not {rack!r}"
            for name, rack in self.topology.items()
            if not is_rack(rack)
        ]
        problems += [
            f"peer_addresses: {node_id} must be host:port, not {address!r}"
            for node_id, address in self.peer_addresses.items()
            if not _ADDRESS.fullmatch(address)
        ]
        return problems

    @property
    def features(self) -> FeatureRange:
        """The feature levels this node reads."""
        return limited(self.feature_level_max)

    @property
    def database_url(self) -> str:
        """The journal's SQLAlchemy URL."""
        return self.journal_url or f"sqlite:///{self.path / 'journal.sqlite'}"

    @property
    def path(self) -> Path:
        """``dir`` as an absolute path."""
        return Path(self.dir).absolute()

    @property
    def seed_addresses(self) -> dict[NodeId, str]:
        """``seeds`` by name, but for this node itself."""
        return {NodeId(name): address for name, address in self._seeds() if name != self.node_id}

    def _seeds(self) -> list[tuple[str, str]]:
        parts = [seed.partition("=") for seed in self.seeds]
        return [(name, address) for name, _, address in parts]

    @property
    def grpc_address(self) -> str:
        """Where other NameNodes reach this one."""
        return f"{self.grpc_host}:{self.grpc_port}"

    @property
    def rest_url(self) -> str:
        """Of its REST server; "" for a witness, which has none."""
        return "" if self.kind == "witness" else f"http://{self.rest_host}:{self.rest_port}"

    @property
    def socket_path(self) -> Path:
        """The engine's command socket."""
        return self.path / "engine.sock"


def is_rack(text: str) -> bool:
    """Whether it names a rack: like a path, ``/rack-1`` or ``/room-2/rack-1``."""
    return _RACK.fullmatch(text) is not None


def load(directory: Path) -> NameNodeConfig:
    """The configuration in ``directory``.

    Raises:
        InvalidRequest: Missing, unreadable, unknown keys, or out of bounds; says which.
    """
    file = directory / "namenode.toml"
    try:
        config = msgspec.toml.decode(file.read_bytes(), type=NameNodeConfig)
    except FileNotFoundError:
        raise InvalidRequest(
            f"{directory} is not a NameNode directory: run `esdfs namenode format`"
        ) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{file}: {error}") from error
    if problems := config.validate():
        raise InvalidRequest(f"{file}: " + "; ".join(problems))
    return config


def save(config: NameNodeConfig) -> None:
    """Write ``namenode.toml`` into the node's directory, readable by its owner only: it may hold a token."""
    lines = [f"{name} = {_toml(value)}" for name, value in _fields(config)]
    config.path.mkdir(parents=True, exist_ok=True)
    file = config.path / "namenode.toml"
    file.touch(mode=0o600)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: str | float | tuple[str, ...] | dict[str, str]) -> str:
    """JSON's strings and numbers are TOML's; its objects are not."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return msgspec.json.encode(value).decode()


def _fields(config: NameNodeConfig) -> list[tuple[str, str | float | tuple[str, ...] | dict[str, str]]]:
    return [(name, getattr(config, name)) for name in config.__struct_fields__]
