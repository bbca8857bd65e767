"""What DataNodes say, and what they are answered.

What decodes is in bounds: it fits keys, counters and sums. Unknown keys are a newer DataNode's.
"""

from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from esdfs.errors import InvalidRequest
from esdfs.namenode.invalid import invalid_field

T = TypeVar("T")

REPORT_ENTRIES_MAX: Final = 50_000
"""Of one page; DataNodes send a tenth of it."""

_NUMBER_MAX: Final = (1 << 63) - 1
_MS_MAX: Final = 1e15
_VOLUMES_MAX: Final = 1_024
_PEERS_MAX: Final = 1_024
"""DataNodes tell of 64."""

_PAGE: Final = Meta(max_length=REPORT_ENTRIES_MAX)
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f"

# Patterns end with \Z: $ would also match before a last line feed.
BlockId = Annotated[int, Meta(ge=1, le=_NUMBER_MAX)]
Generation = Annotated[int, Meta(ge=0, le=_NUMBER_MAX)]
"""A wrong one, of a file that lies on a DataNode's disk, must not have its whole report refused."""
Number = Annotated[int, Meta(ge=0, le=_NUMBER_MAX)]
Bytes = Annotated[int, Meta(ge=0, le=_NUMBER_MAX)]
Ms = Annotated[float, Meta(ge=0, le=_MS_MAX)]
NodeId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=255)]
"""Of who registers: what a DataNode's settings allow, and in bytes what a key may have."""
Named = Annotated[str, Meta(min_length=1, max_length=255)]
"""Somebody who may not exist. No pattern: a heartbeat has dozens, and patterns are slow."""
Hostname = Annotated[str, Meta(pattern=rf"^[^\s{_CONTROL}-][^{_CONTROL}]*\Z", max_length=255)]
"""Also an argument of the topology script, which must not take it for an option."""
Line = Annotated[str, Meta(pattern=rf"^[^{_CONTROL}]*\Z", max_length=512)]
Uuid = Annotated[str, Meta(pattern=rf"^[^{_CONTROL}]+\Z", max_length=64)]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a DataNode is.

    Attributes:
        read_p50_ms, read_p99_ms: Readers wait so long for their first bytes.
        store_p50_ms, store_p99_ms: Writers wait so long, after their last byte, for all receipts.
    """

    streams: Number = 0
    read_bytes_s: Bytes = 0
    write_bytes_s: Bytes = 0
    fsync_p99_ms: Ms = 0.0
    read_p50_ms: Ms = 0.0
    read_p99_ms: Ms = 0.0
    store_p50_ms: Ms = 0.0
    store_p99_ms: Ms = 0.0


class VolumeState(msgspec.Struct, frozen=True, kw_only=True):
    """One disk of a DataNode.

    Attributes:
        used_bytes: Of replicas.
        failed_why: With the directory; "" = it has not failed, or an older DataNode does not say.
        slow: It works, but its fsyncs take too long: it gets no new blocks.
    """

    volume_id: Annotated[str, Meta(max_length=64)]
    capacity_bytes: Bytes = 0
    available_bytes: Bytes = 0
    used_bytes: Bytes = 0
    failed: bool = False
    failed_why: Line = ""
    slow: bool = False
    fsync_p99_ms: Ms = 0.0


Volumes = Annotated[tuple[VolumeState, ...], Meta(max_length=_VOLUMES_MAX)]


class PeerState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a DataNode reaches another one. ``rtt_ms``: of a connection; 0 = not known."""

    node_id: Named
    reachable: bool
    rtt_ms: Ms = 0.0


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

    node_id: NodeId
    uuid: Uuid
    incarnation: Number
    hostname: Hostname
    port: Annotated[int, Meta(ge=1, le=65_535)]
    cluster_id: Line = ""
    seq: Number = 0
    local_socket: Line = ""
    rack: Line = ""
    highest_block_id: Number = 0
    storage_capacity: Bytes = 0
    available_space: Bytes = 0
    used_bytes: Bytes = 0
    blocks_stored: Number = 0
    volumes: Volumes = ()


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A DataNode lives, and how it does."""

    incarnation: Number
    storage_capacity: Bytes = 0
    available_space: Bytes = 0
    used_bytes: Bytes = 0
    blocks_stored: Number = 0
    volumes: Volumes = ()
    load: Load = Load()
    peers: Annotated[tuple[PeerState, ...], Meta(max_length=_PEERS_MAX)] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A page of replicas. The order of entries within it carries no meaning.

    Attributes:
        full: A page of everything; after its ``last``, what was not named is not there.
        seq: Higher than that of everything its process told this NameNode before; what comes late is ignored.
        epoch: Of the orders it reflects: all of earlier leaders' were carried out, or never will be.
        stored: ``(block id, generation, logical length)``.
        failed_replications: ``(block id, generation, node id)`` of targets that did not get their copy.
    """

    incarnation: Number
    seq: Number = 0
    epoch: Number = 0
    full: bool = False
    first: bool = False
    last: bool = False
    stored: Annotated[tuple[tuple[BlockId, Generation, Bytes], ...], _PAGE] = ()
    removed: Annotated[tuple[tuple[BlockId, Generation], ...], _PAGE] = ()
    corrupt: Annotated[tuple[tuple[BlockId, Generation], ...], _PAGE] = ()
    failed_replications: Annotated[tuple[tuple[BlockId, Generation, Named], ...], _PAGE] = ()

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
    except msgspec.ValidationError as error:
        raise invalid_field(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
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
