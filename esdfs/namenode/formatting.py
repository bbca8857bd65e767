"""Making a NameNode's directory: identity, and a journal with its first records."""

from collections.abc import Sequence

from esdfs.blocks import BLOCK_BYTES, BLOCK_BYTES_MAX, BLOCK_BYTES_MIN
from esdfs.env import Clock, Rng
from esdfs.errors import InvalidRequest
from esdfs.ids import ORIGIN, Micros, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import NO_CHAIN, Head, Identity
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.migrate import upgrade
from esdfs.journal.sql import open_journal
from esdfs.namenode.config import NameNodeConfig, save
from esdfs.namenode.control_records import FORMAT_EPOCH, draft
from esdfs.namenode.events import ClusterFormatted, VoterEntry, VotersChanged
from esdfs.namenode.upcasters import LEVEL_NEWEST


def cluster_settings(
    rng: Rng,
    *,
    cluster_id: str = "",
    block_size_bytes: int = BLOCK_BYTES,
    replication: int = 2,
    min_replication: int = 2,
    allow_degraded: bool = False,
    feature_level: int = LEVEL_NEWEST,
) -> ClusterFormatted:
    """What every node of a new cluster agrees on, for ever; but its feature level may be raised.

    Raises:
        InvalidRequest: Out of bounds; says which.
    """
    if not BLOCK_BYTES_MIN <= block_size_bytes <= BLOCK_BYTES_MAX:
        raise InvalidRequest(f"block size must be between {BLOCK_BYTES_MIN} and {BLOCK_BYTES_MAX} bytes")
    if not 1 <= min_replication <= replication <= 32:
        raise InvalidRequest("replication must be between min_replication and 32, min_replication at least 1")
    return ClusterFormatted(
        cluster_id or rng.uuid(),
        block_size_bytes,
        replication,
        min_replication,
        allow_degraded,
        feature_level,
    )


def format_namenode(
    config: NameNodeConfig,
    cluster: ClusterFormatted,
    *,
    clock: Clock,
    rng: Rng,
    voters: Sequence[VoterEntry] = (),
    ts_us: int = 0,
) -> Identity:
    """Make ``config.dir``: its settings, and a journal that starts with ``cluster``. Durable on return.

    ``voters`` are all NameNodes that vote, this one among them with the identity its disk is to have; when
    none are given, this one alone does. ``ts_us`` is stamped on the first records, which must be the same on
    every NameNode; 0 = now.

    Raises:
        InvalidRequest: The settings are wrong.
        JournalFenced: There is a formatted journal already; nothing is changed.
    """
    if problems := config.validate():
        raise InvalidRequest("; ".join(problems))
    level = cluster.feature_level
    if not config.features.has(level):
        raise InvalidRequest(f"{config.node_id} does not read feature level {level}, only {_text(config)}")
    storage_ids = [voter.storage_id for voter in voters if voter.node_id == config.node_id]
    if voters and len(storage_ids) != 1:
        raise InvalidRequest(f"{config.node_id} must be among the voters, once")
    storage_id = storage_ids[0] if voters else rng.uuid()
    voters = voters or [
        VoterEntry(config.node_id, storage_id, config.kind, config.grpc_address, config.rest_url)
    ]
    stamp = Micros(ts_us or clock.wall_us())
    config.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity(cluster.cluster_id, 1, config.node_id, storage_id)
    drafts = [draft(event, stamp, level=level) for event in (cluster, VotersChanged(tuple(voters)))]
    first = seal(Head(FORMAT_EPOCH, Txid(0), NO_CHAIN), FORMAT_EPOCH, drafts)
    upgrade(config.database_url)
    journal = open_journal(config.database_url)
    try:
        journal.format(identity, first)
    finally:
        journal.close()
    floor = AckFloor(config.path / FLOOR_FILE, identity)
    try:
        floor.write(first[-1].position)
    finally:
        floor.close()
    save(config)
    return identity


def join_namenode(config: NameNodeConfig, *, cluster_id: str, generation: int, rng: Rng) -> Identity:
    """Make ``config.dir`` for a node that joins an existing cluster: an empty journal on a new disk.

    It becomes an observer that asks ``config.seeds`` for the leader, and votes once an operator has added it.
    Durable on return.

    Raises:
        InvalidRequest: The settings are wrong.
        JournalFenced: There is a formatted journal already; nothing is changed.
    """
    problems = config.validate()
    if not config.seed_addresses:
        problems.append("who joins needs another NameNode as a seed")
    if not config.grpc_port or (config.rest_url and not config.rest_port):
        problems.append("give the ports: others must know them")
    if problems:
        raise InvalidRequest("; ".join(problems))
    config.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity(cluster_id, generation, config.node_id, rng.uuid())
    upgrade(config.database_url)
    journal = open_journal(config.database_url)
    try:
        journal.format(identity, [])
    finally:
        journal.close()
    floor = AckFloor(config.path / FLOOR_FILE, identity)
    try:
        # A disk that acknowledged nothing yet: known, and not merely unreadable.
        floor.write(ORIGIN)
    finally:
        floor.close()
    save(config)
    return identity


def _text(config: NameNodeConfig) -> str:
    return " to ".join(map(str, config.features))
