"""A replica of ours as the stream that writes a copy of it: to another DataNode, or to another volume."""

from collections.abc import Iterator

from esdfs.datanode.reading import ReplicaReader
from esdfs.rpc.messages import Frame, Target


def outgoing(
    reader: ReplicaReader, frames: Iterator[Frame], rest: tuple[Target, ...] = (), cluster_id: str = ""
) -> Iterator[Frame]:
    """The ``frames`` of a whole replica (as read) as those of a StoreBlock stream.

    Args:
        reader: Of the replica.
        frames: All of its frames, verified.
        rest: The hops after the receiver.
        cluster_id: Ours.
    """
    stored_at = 0
    for number, frame in enumerate(frames):
        yield Frame(
            block_id=frame.block_id,
            data=frame.data,
            offset=stored_at,
            chunk_crcs=frame.chunk_crcs,
            total_size=frame.total_size,
            compressed=frame.compressed,
            compression=reader.meta.compression if frame.last else None,
            generation=reader.replica.generation if number == 0 else 0,
            targets=rest if number == 0 else (),
            last=frame.last,
            crc32c=frame.crc32c,
            cluster_id=cluster_id if number == 0 else "",
        )
        stored_at += len(frame.data)
