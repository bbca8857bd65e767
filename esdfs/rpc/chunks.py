"""Checkpoint files between NameNodes, in pieces that ride on ``SyncMetadata``."""

from typing import Final, NamedTuple, Protocol

from esdfs._proto import namenode_pb2 as pb
from esdfs.blocks import MIB
from esdfs.checksum import crc32c
from esdfs.errors import CheckpointDamaged, CheckpointGone, IdentityConflict
from esdfs.ids import Epoch, Position, Txid

CHUNK_BYTES: Final = MIB
"""Most bytes in one piece."""


class ChunkAsked(NamedTuple):
    """A piece of the checkpoint with this position and SHA-256."""

    last: Position
    sha256: bytes
    offset: int
    max_bytes: int


class ChunkSource(Protocol):
    """Who has checkpoint files.

    Attributes:
        cluster_id: Of the cluster they are of.
    """

    cluster_id: str

    async def chunk(self, asked: ChunkAsked) -> bytes:
        """The bytes from ``asked.offset`` on; empty at the file's end.

        Raises:
            CheckpointGone: This checkpoint is not here.
        """
        ...


async def answer_chunk(request: pb.SyncRequest, source: ChunkSource | None) -> pb.SyncResponse:
    """What a node answers to a request for a piece.

    Raises:
        IdentityConflict: The asker belongs to another cluster.
        CheckpointGone: See ``ChunkSource.chunk``.
    """
    chunk = request.chunk
    if source is None:
        raise CheckpointGone("this node keeps no checkpoints", txid=chunk.last_txid)
    if request.envelope.cluster_id != source.cluster_id:
        raise IdentityConflict(f"this is cluster {source.cluster_id}, not {request.envelope.cluster_id}")
    last = Position(Epoch(chunk.last_epoch), Txid(chunk.last_txid))
    asked = ChunkAsked(last, chunk.sha256, chunk.offset, min(chunk.max_bytes, CHUNK_BYTES))
    data = await source.chunk(asked)
    return pb.SyncResponse(chunk=pb.Chunk(offset=asked.offset, data=data, crc32c=crc32c(data)))


def chunk_request(cluster_id: str, asked: ChunkAsked) -> pb.SyncRequest:
    """The request for a piece."""
    return pb.SyncRequest(
        envelope=pb.Envelope(cluster_id=cluster_id),
        chunk=pb.ChunkRequest(
            last_epoch=asked.last.epoch,
            last_txid=asked.last.txid,
            sha256=asked.sha256,
            offset=asked.offset,
            max_bytes=asked.max_bytes,
        ),
    )


def chunk_in(response: pb.SyncResponse, asked: ChunkAsked) -> bytes:
    """The bytes of a piece.

    Raises:
        CheckpointDamaged: They are not what was sent, or not what was asked for. Ask again.
        CheckpointGone: The other one does not know about pieces.
    """
    if not response.HasField("chunk"):
        raise CheckpointGone("the other NameNode hands out no checkpoints: is it of an older release?")
    chunk = response.chunk
    if chunk.offset != asked.offset or crc32c(chunk.data) != chunk.crc32c:
        raise CheckpointDamaged(f"a piece of a checkpoint at byte {asked.offset} was damaged on its way")
    return bytes(chunk.data)
