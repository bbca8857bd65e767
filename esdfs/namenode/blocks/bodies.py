"""What DataNodes say, and what they are answered. Strict on types; unknown keys are a newer DataNode's."""

from typing import Any, Final, TypeVar

import msgspec

from esdfs.errors import InvalidRequest

T = TypeVar("T")

REPORT_ENTRIES_MAX: Final = 50_000
"""Of one page; DataNodes send a tenth of it."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a DataNode is.

    Attributes:
        read_p50_ms, read_p99_ms: Readers wait so long for their first bytes.
        store_p50_ms, store_p99_ms: Writers wait so long, after their last byte, for all receipts.
    """

    streams: int = 0
    read_bytes_s: int = 0
    write_bytes_s: int = 0
    fsync_p99_ms: float = 0.0
    read_p50_ms: float = 0.0
    read_p99_ms: float = 0.0
    store_p50_ms: float = 0.0
    store_p99_ms: float = 0.0


class VolumeState(msgspec.Struct, frozen=True, kw_only=True):
    """One disk of a DataNode.

    Attributes:
        used_bytes: Of replicas.
        slow: It works, but its fsyncs take too long: it gets no new blocks.
    """

    volume_id: str
    capacity_bytes: int = 0
    available_bytes: int = 0
    used_bytes: int = 0
    failed: bool = False
    slow: bool = False
    fsync_p99_ms: float = 0.0


class PeerState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a DataNode reaches another one. ``rtt_ms``: of a connection; 0 = not known."""

    node_id: str
    reachable: bool
    rtt_ms: float = 0.0


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A DataNode's first words.

    Attributes:
        uuid: Of its disks; made when they were first used.
        cluster_id: "" when its disks belong to no cluster yet.
        incarnation: Of its process: a later one is higher.
        local_socket: For readers on its host; "" = none.
        seq: Numbers what its process tells this NameNode: reports numbered lower are from before.
        rack: As its own settings say; "" = they do not.
        highest_block_id: Of its replicas; 0 = it has none, or does not say.
    """

    node_id: str
    uuid: str
    incarnation: int
    hostname: str
    port: int
    cluster_id: str = ""
    seq: int = 0
    local_socket: str = ""
    rack: str = ""
    highest_block_id: int = 0
    storage_capacity: int = 0
    available_space: int = 0
    used_bytes: int = 0
    blocks_stored: int = 0
    volumes: tuple[VolumeState, ...] = ()


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A DataNode lives, and how it does."""

    incarnation: int
    storage_capacity: int = 0
    available_space: int = 0
    used_bytes: int = 0
    blocks_stored: int = 0
    volumes: tuple[VolumeState, ...] = ()
    load: Load = Load()
    peers: tuple[PeerState, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A page of replicas. The order of entries within it carries no meaning.

    Attributes:
        full: A page of everything; after its ``last``, what was not named is not there.
        seq: Higher than that of everything its process told this NameNode before; what comes late is ignored.
        epoch: Of the orders it reflects: all of earlier leaders' were carried out, or never will be.
        stored: ``(block id, generation, logical length)``.
        failed_replications: ``(block id, generation, node id)`` of targets that did not get their copy.
    """

    incarnation: int
    seq: int = 0
    epoch: int = 0
    full: bool = False
    first: bool = False
    last: bool = False
    stored: tuple[tuple[int, int, int], ...] = ()
    removed: tuple[tuple[int, int], ...] = ()
    corrupt: tuple[tuple[int, int], ...] = ()
    failed_replications: tuple[tuple[int, int, str], ...] = ()

    def size(self) -> int:
        """How many entries it has."""
        return len(self.stored) + len(self.removed) + len(self.corrupt) + len(self.failed_replications)


registration: Final = msgspec.msgpack.Decoder(Registration)
heartbeat: Final = msgspec.msgpack.Decoder(Heartbeat)
report: Final = msgspec.msgpack.Decoder(Report)


def decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    """A body, as msgpack.

    Raises:
        InvalidRequest: Says which field is wrong.
    """
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"body: {error}") from error


def replicate(
    block_id: int, generation: int, targets: list[tuple[str, str]], *, urgent: bool = False
) -> dict[str, Any]:
    """The order to copy a block to ``targets``, (node id, address) each; an urgent one before others."""
    return {
        "kind": "replicate",
        "block_id": str(block_id),
        "generation": generation,
        "targets": [{"node_id": node_id, "address": address} for node_id, address in targets],
        "urgent": urgent,
    }


def transfer(block_id: int, generation: int, target: tuple[str, str], bytes_per_s: int) -> dict[str, Any]:
    """The order to copy a block to ``target`` no faster than that; the copy here goes by another order."""
    return {
        **replicate(block_id, generation, [target]),
        "kind": "transfer",
        "bytes_per_s": bytes_per_s,
    }


def delete(block_id: int, generation: int) -> dict[str, Any]:
    """The order to drop a replica of at most ``generation``."""
    return {"kind": "delete", "block_id": str(block_id), "generation": generation}
