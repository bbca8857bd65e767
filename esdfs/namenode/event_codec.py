"""Events to journal payloads and back: the messages of proto/events.proto, canonically encoded.

The one place besides ``rpc`` that touches generated code: payloads are protobuf for ever, events are
plain values. A record holds one event, or a ``Transaction`` of several that share one txid.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError, Message

from esdfs._proto import events_pb2 as pb
from esdfs.blocks import Block
from esdfs.errors import JournalCorrupt
from esdfs.namenode import events as ev
from esdfs.namenode.cursor_codec import PAIRS as CURSOR_PAIRS
from esdfs.namenode.datanode_codec import PAIRS as DATANODE_PAIRS
from esdfs.namenode.events import Event, Kind
from esdfs.namenode.history_codec import PAIRS as HISTORY_PAIRS
from esdfs.namenode.upcasters import VERSIONS, upcasters, version_at


class Packed(NamedTuple):
    """A record's kind, version and payload."""

    kind: int
    version: int
    payload: bytes


class Unpacked(NamedTuple):
    """A record's events.

    Attributes:
        commands: For each event, which command of the request's list it carried out.
    """

    events: tuple[Event, ...]
    commands: tuple[int, ...]
    request_hash: int


def pack(event: Event, request_hash: int = 0, *, level: int) -> Packed:
    """One event as a record, in the shape of a feature level: what a later shape added is left out."""
    kind, to_message = _ENCODERS[type(event)]
    version = version_at(kind, level)
    assert version, f"kind {kind} may not be written at feature level {level}"
    if version != VERSIONS[kind]:
        to_message = _OLDER[kind, version]
    message = to_message(event)
    if request_hash:
        message.request_hash = request_hash
    return Packed(kind, version, message.SerializeToString(deterministic=True))


def pack_all(
    events: Sequence[Event], commands: Sequence[int], request_hash: int = 0, *, level: int
) -> Packed:
    """All events of one request as one record.

    Args:
        events: At least one.
        commands: Aligned with ``events``.
        request_hash: 0 = none.
        level: As for ``pack``.
    """
    if len(events) == 1 and commands[0] == 0:
        return pack(events[0], request_hash, level=level)
    message = pb.Transaction(request_hash=request_hash)
    for event, command in zip(events, commands, strict=True):
        kind, version, payload = pack(event, level=level)
        message.events.add(kind=kind, version=version, payload=payload, command=command)
    kind = Kind.TRANSACTION
    return Packed(kind, version_at(kind, level), message.SerializeToString(deterministic=True))


def unpack(kind: int, version: int, payload: bytes) -> Unpacked:
    """The events of a record.

    Raises:
        NewerRelease: A kind or version this program does not know. Never skipped: stop.
        JournalCorrupt: Not a message of its kind.
    """
    if version != VERSIONS.get(kind):
        payload = upcasters.upcast(kind, version, payload)
    if kind == _TRANSACTION:
        return _unpack_transaction(payload)
    message_type, to_event = _DECODERS[kind]
    try:
        message = message_type.FromString(payload)
    except DecodeError as error:
        raise _unparsed(kind, error) from error
    return Unpacked((to_event(message),), _FIRST, message.request_hash)


def kind_of(event: Event) -> int:
    """An event's kind."""
    return _ENCODERS[type(event)][0]


def kind_name(kind: int) -> str:
    """A kind as people read it: ``directory-made``."""
    try:
        return Kind(kind).name.lower().replace("_", "-")
    except ValueError:
        return f"kind-{kind}"


def _decoded(kind: int, message_type: Any, to_event: Callable[[Any], Event], payload: bytes) -> Event:
    try:
        return to_event(message_type.FromString(payload))
    except DecodeError as error:
        raise _unparsed(kind, error) from error


def _unparsed(kind: int, error: DecodeError) -> JournalCorrupt:
    return JournalCorrupt(f"payload of kind {kind} does not parse: {error}")


def _unpack_transaction(payload: bytes) -> Unpacked:
    try:
        message = pb.Transaction.FromString(payload)
    except DecodeError as error:
        raise JournalCorrupt(f"payload of a transaction does not parse: {error}") from error
    events: list[Event] = []
    commands: list[int] = []
    for packed in message.events:
        kind, version = packed.kind, packed.version
        known = _DECODERS.get(kind)
        if known is None or version != VERSIONS[kind]:
            events += unpack(kind, version, packed.payload).events
        else:  # as `unpack` does it, without what only a record of its own needs
            events.append(_decoded(kind, *known, packed.payload))
        commands.append(packed.command)
    return Unpacked(tuple(events), tuple(commands), message.request_hash)


# --- one pair per kind ----------------------------------------------------------------------------


def _allocated(message: Any) -> tuple[ev.AllocatedBlock, ...]:
    # Lists first: as generators these cost a replay of many files five percent.
    return tuple([ev.AllocatedBlock(b.block_id, b.generation, tuple(b.targets)) for b in message])


def _allocated_out(target: Any, blocks: Sequence[ev.AllocatedBlock]) -> None:
    for block in blocks:
        target.add(block_id=block.block_id, generation=block.generation, targets=block.targets)


def _block(message: pb.CompletedBlock) -> Block:
    return Block(
        message.block_id,
        message.generation,
        message.length_bytes,
        message.stored_bytes,
        message.crc32c,
        message.compressed,
    )


def _block_out(target: Any, block: Block, replicas: Sequence[int]) -> None:
    target.add(
        block_id=block.block_id,
        generation=block.generation,
        length_bytes=block.length_bytes,
        stored_bytes=block.stored_bytes,
        crc32c=block.crc32c,
        compressed=block.compressed,
        replicas=replicas,
    )


def _cluster_formatted(e: ev.ClusterFormatted) -> Message:
    message = _cluster_formatted_1(e)
    message.feature_level = e.feature_level
    return message


def _cluster_formatted_1(e: ev.ClusterFormatted) -> pb.ClusterFormatted:
    return pb.ClusterFormatted(
        cluster_id=e.cluster_id,
        block_size_bytes=e.block_size_bytes,
        replication=e.replication,
        min_replication=e.min_replication,
        allow_degraded=e.allow_degraded,
    )


def _to_cluster_formatted(m: pb.ClusterFormatted) -> Event:
    return ev.ClusterFormatted(
        m.cluster_id,
        m.block_size_bytes,
        m.replication,
        m.min_replication,
        m.allow_degraded,
        m.feature_level,
    )


def _leader_changed(e: ev.LeaderChanged) -> Message:
    return pb.LeaderChanged(
        leader_id=e.leader_id, storage_id=e.storage_id, release=e.release, feature_level=e.feature_level
    )


def _leader_changed_1(e: ev.LeaderChanged) -> Message:
    return pb.LeaderChanged(leader_id=e.leader_id, storage_id=e.storage_id)


def _to_leader_changed(m: pb.LeaderChanged) -> Event:
    return ev.LeaderChanged(m.leader_id, m.storage_id, m.release, m.feature_level)


def _checkpoint_marked(_: ev.CheckpointMarked) -> Message:
    return pb.CheckpointMarked()


def _to_checkpoint_marked(_: pb.CheckpointMarked) -> Event:
    return ev.CheckpointMarked()


def _checkpoint_taken(e: ev.CheckpointTaken) -> Message:
    return pb.CheckpointTaken(
        of_txid=e.of_txid,
        layout_format=e.layout_format,
        state_digest=e.state_digest,
        sha256=e.sha256,
        size_bytes=e.size_bytes,
    )


def _to_checkpoint_taken(m: pb.CheckpointTaken) -> Event:
    return ev.CheckpointTaken(m.of_txid, m.layout_format, m.state_digest, m.sha256, m.size_bytes)


def _feature_level_raised(e: ev.FeatureLevelRaised) -> Message:
    return pb.FeatureLevelRaised(level=e.level)


def _to_feature_level_raised(m: pb.FeatureLevelRaised) -> Event:
    return ev.FeatureLevelRaised(m.level)


def _voters_changed(e: ev.VotersChanged) -> Message:
    message = pb.VotersChanged()
    for voter in e.voters:
        message.voters.add(
            node_id=voter.node_id,
            storage_id=voter.storage_id,
            kind=voter.kind,
            grpc=voter.grpc,
            rest=voter.rest,
        )
    return message


def _to_voters_changed(m: pb.VotersChanged) -> Event:
    return ev.VotersChanged(
        tuple(ev.VoterEntry(v.node_id, v.storage_id, v.kind, v.grpc, v.rest) for v in m.voters)
    )


def _directory_made(e: ev.DirectoryMade) -> Message:
    return pb.DirectoryMade(
        parent=e.parent, name=e.name, inode=e.inode, mode=e.mode, owner=e.owner, group=e.group
    )


def _to_directory_made(m: pb.DirectoryMade) -> Event:
    return ev.DirectoryMade(m.parent, m.name, m.inode, m.mode, m.owner, m.group)


def _file_opened(e: ev.FileOpened) -> Message:
    message = pb.FileOpened(
        parent=e.parent,
        name=e.name,
        inode=e.inode,
        mode=e.mode,
        owner=e.owner,
        group=e.group,
        replication=e.replication,
        block_size_bytes=e.block_size_bytes,
        lease=e.lease,
        overwrite=e.overwrite,
    )
    _allocated_out(message.blocks, e.blocks)
    return message


def _to_file_opened(m: pb.FileOpened) -> Event:
    return ev.FileOpened(
        m.parent,
        m.name,
        m.inode,
        m.mode,
        m.owner,
        m.group,
        m.replication,
        m.block_size_bytes,
        m.lease,
        m.overwrite,
        _allocated(m.blocks),
    )


def _blocks_allocated(e: ev.BlocksAllocated) -> Message:
    message = pb.BlocksAllocated(inode=e.inode, abandoned=e.abandoned)
    _allocated_out(message.blocks, e.blocks)
    return message


def _to_blocks_allocated(m: pb.BlocksAllocated) -> Event:
    return ev.BlocksAllocated(m.inode, _allocated(m.blocks), tuple(m.abandoned))


def _file_completed(e: ev.FileCompleted) -> Message:
    message = pb.FileCompleted(
        inode=e.inode,
        parent=e.parent,
        name=e.name,
        size_bytes=e.size_bytes,
        mtime_us=e.mtime_us,
        crc32c=e.crc32c,
        replaced_inode=e.replaced_inode,
    )
    for completed in e.blocks:
        _block_out(message.blocks, completed.block, completed.replicas)
    return message


def _to_file_completed(m: pb.FileCompleted) -> Event:
    blocks = tuple([ev.CompletedBlock(_block(b), tuple(b.replicas)) for b in m.blocks])
    return ev.FileCompleted(
        m.inode, m.parent, m.name, m.size_bytes, m.mtime_us, blocks, m.crc32c, m.replaced_inode
    )


def _file_aborted(e: ev.FileAborted) -> Message:
    return pb.FileAborted(inode=e.inode, reason=e.reason, blocks=e.blocks)


def _to_file_aborted(m: pb.FileAborted) -> Event:
    return ev.FileAborted(m.inode, m.reason, tuple(m.blocks))


def _renamed(e: ev.Renamed) -> Message:
    return pb.Renamed(
        inode=e.inode,
        source_parent=e.source_parent,
        source_name=e.source_name,
        target_parent=e.target_parent,
        target_name=e.target_name,
        replaced_inode=e.replaced_inode,
    )


def _to_renamed(m: pb.Renamed) -> Event:
    return ev.Renamed(
        m.inode, m.source_parent, m.source_name, m.target_parent, m.target_name, m.replaced_inode
    )


def _deleted(e: ev.Deleted) -> Message:
    return pb.Deleted(
        inode=e.inode, parent=e.parent, name=e.name, directory=e.directory, recursive=e.recursive
    )


def _to_deleted(m: pb.Deleted) -> Event:
    return ev.Deleted(m.inode, m.parent, m.name, m.directory, m.recursive)


def _attributes_set(e: ev.AttributesSet) -> Message:
    return pb.AttributesSet(
        inode=e.inode,
        parent=e.parent,
        name=e.name,
        mode=e.mode,
        owner=e.owner,
        group=e.group,
        replication=e.replication,
        mtime_us=e.mtime_us,
    )


def _to_attributes_set(m: pb.AttributesSet) -> Event:
    return ev.AttributesSet(
        m.inode,
        m.parent,
        m.name,
        m.mode if m.HasField("mode") else None,
        m.owner if m.HasField("owner") else None,
        m.group if m.HasField("group") else None,
        m.replication if m.HasField("replication") else None,
        m.mtime_us if m.HasField("mtime_us") else None,
    )


def _file_linked(e: ev.FileLinked) -> Message:
    message = pb.FileLinked(
        inode=e.inode,
        parent=e.parent,
        name=e.name,
        mode=e.mode,
        owner=e.owner,
        group=e.group,
        replication=e.replication,
        block_size_bytes=e.block_size_bytes,
        size_bytes=e.size_bytes,
        mtime_us=e.mtime_us,
        crc32c=e.crc32c,
        source_inode=e.source_inode,
        source_txid=e.source_txid,
        replaced_inode=e.replaced_inode,
    )
    for block in e.blocks:
        _block_out(message.blocks, block, ())
    return message


def _to_file_linked(m: pb.FileLinked) -> Event:
    return ev.FileLinked(
        m.inode,
        m.parent,
        m.name,
        m.mode,
        m.owner,
        m.group,
        m.replication,
        m.block_size_bytes,
        m.size_bytes,
        m.mtime_us,
        m.crc32c,
        tuple(_block(b) for b in m.blocks),
        m.source_inode,
        m.source_txid,
        m.replaced_inode,
    )


def _subtree_linked(e: ev.SubtreeLinked) -> Message:
    return pb.SubtreeLinked(
        parent=e.parent,
        name=e.name,
        source_inode=e.source_inode,
        source_txid=e.source_txid,
        first_inode=e.first_inode,
        inode_count=e.inode_count,
    )


def _to_subtree_linked(m: pb.SubtreeLinked) -> Event:
    return ev.SubtreeLinked(m.parent, m.name, m.source_inode, m.source_txid, m.first_inode, m.inode_count)


_FIRST: Final = (0,)
_TRANSACTION: Final = int(Kind.TRANSACTION)

# Each pair of functions fits its own message and event; no one type says so for the whole table.
_PAIRS: Final[tuple[tuple[Kind, Any, Any, Any, Any], ...]] = (
    (
        Kind.CLUSTER_FORMATTED,
        ev.ClusterFormatted,
        pb.ClusterFormatted,
        _cluster_formatted,
        _to_cluster_formatted,
    ),
    (Kind.LEADER_CHANGED, ev.LeaderChanged, pb.LeaderChanged, _leader_changed, _to_leader_changed),
    (
        Kind.CHECKPOINT_MARKED,
        ev.CheckpointMarked,
        pb.CheckpointMarked,
        _checkpoint_marked,
        _to_checkpoint_marked,
    ),
    (
        Kind.CHECKPOINT_TAKEN,
        ev.CheckpointTaken,
        pb.CheckpointTaken,
        _checkpoint_taken,
        _to_checkpoint_taken,
    ),
    (
        Kind.FEATURE_LEVEL_RAISED,
        ev.FeatureLevelRaised,
        pb.FeatureLevelRaised,
        _feature_level_raised,
        _to_feature_level_raised,
    ),
    *DATANODE_PAIRS,
    (Kind.VOTERS_CHANGED, ev.VotersChanged, pb.VotersChanged, _voters_changed, _to_voters_changed),
    (Kind.DIRECTORY_MADE, ev.DirectoryMade, pb.DirectoryMade, _directory_made, _to_directory_made),
    (Kind.FILE_OPENED, ev.FileOpened, pb.FileOpened, _file_opened, _to_file_opened),
    (Kind.BLOCKS_ALLOCATED, ev.BlocksAllocated, pb.BlocksAllocated, _blocks_allocated, _to_blocks_allocated),
    (Kind.FILE_COMPLETED, ev.FileCompleted, pb.FileCompleted, _file_completed, _to_file_completed),
    (Kind.FILE_ABORTED, ev.FileAborted, pb.FileAborted, _file_aborted, _to_file_aborted),
    (Kind.RENAMED, ev.Renamed, pb.Renamed, _renamed, _to_renamed),
    (Kind.DELETED, ev.Deleted, pb.Deleted, _deleted, _to_deleted),
    (Kind.ATTRIBUTES_SET, ev.AttributesSet, pb.AttributesSet, _attributes_set, _to_attributes_set),
    (Kind.FILE_LINKED, ev.FileLinked, pb.FileLinked, _file_linked, _to_file_linked),
    (Kind.SUBTREE_LINKED, ev.SubtreeLinked, pb.SubtreeLinked, _subtree_linked, _to_subtree_linked),
    *HISTORY_PAIRS,
    *CURSOR_PAIRS,
)
_ENCODERS: Final[dict[type, tuple[int, Callable[[Any], Any]]]] = {
    event: (int(kind), encode) for kind, event, _, encode, _ in _PAIRS
}
_OLDER: Final[dict[tuple[int, int], Callable[[Any], Any]]] = {
    (int(Kind.CLUSTER_FORMATTED), 1): _cluster_formatted_1,
    (int(Kind.LEADER_CHANGED), 1): _leader_changed_1,
}
"""(kind, version) -> the encoder of a shape that is no longer the newest."""
_DECODERS: Final[dict[int, tuple[Any, Callable[[Any], Event]]]] = {
    int(kind): (message, decode) for kind, _, message, _, decode in _PAIRS
}
