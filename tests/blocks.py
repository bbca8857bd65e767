"""Frames and stores that tests are made of."""

import random
from collections.abc import Iterator
from pathlib import Path

from esdfs.blocks import MIB
from esdfs.checksum import chunk_crcs, crc32c
from esdfs.compression import CODEC, GROUP_BYTES, compress_group
from esdfs.datanode import layout
from esdfs.datanode.load import Load
from esdfs.datanode.opening import open_volumes
from esdfs.datanode.replica import BlockKey
from esdfs.datanode.store import BlockStore
from esdfs.datanode.volumes import Volume
from esdfs.env_os import OsClock, OsRng
from esdfs.rpc.messages import Compression, Frame, Receipt, Target


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def plain_frames(
    block_id: int,
    data: bytes,
    *,
    generation: int = 1,
    targets: tuple[Target, ...] = (),
    cluster_id: str = "",
    frame_bytes: int = MIB,
) -> Iterator[Frame]:
    """The frames of an uncompressed block, as a client sends them."""
    starts = list(range(0, len(data), frame_bytes)) or [0]
    for at in starts:
        piece = data[at : at + frame_bytes]
        last = at == starts[-1]
        yield Frame(
            block_id=block_id,
            data=piece,
            offset=at,
            chunk_crcs=chunk_crcs(piece),
            total_size=len(data),
            generation=generation if at == 0 else 0,
            targets=targets if at == 0 else (),
            cluster_id=cluster_id if at == 0 else "",
            last=last,
            crc32c=crc32c(data) if last else 0,
        )


def compressed_frames(
    block_id: int, data: bytes, *, generation: int = 1, targets: tuple[Target, ...] = ()
) -> Iterator[Frame]:
    """The frames of a compressed block; its size is told on the last one only."""
    groups = [compress_group(data[at : at + GROUP_BYTES]) for at in range(0, len(data), GROUP_BYTES)]
    compression = Compression(CODEC, GROUP_BYTES, tuple(map(len, groups)), len(data), crc32c(data))
    stored_at = 0
    for number, group in enumerate(groups):
        last = number == len(groups) - 1
        yield Frame(
            block_id=block_id,
            data=group,
            offset=stored_at,
            chunk_crcs=chunk_crcs(group),
            compressed=True,
            compression=compression if last else None,
            generation=generation if number == 0 else 0,
            targets=targets if number == 0 else (),
            total_size=len(data) if last else 0,
            last=last,
            crc32c=crc32c(data) if last else 0,
        )
        stored_at += len(group)


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, BlockKey]] = []

    def stored(self, key: BlockKey, length_bytes: int) -> None:
        assert length_bytes >= 0
        self.events.append(("stored", key))

    def removed(self, key: BlockKey) -> None:
        self.events.append(("removed", key))

    def corrupt(self, key: BlockKey) -> None:
        self.events.append(("corrupt", key))


class Shelf:
    """A real store on real directories, that can be closed and opened again."""

    def __init__(
        self, root: Path, *, volumes: int = 1, reserve_bytes: int = 0, capacity_bytes: int = 0
    ) -> None:
        self.roots = [root / f"volume-{number}" for number in range(volumes)]
        self._reserve_bytes = reserve_bytes
        self._capacity_bytes = capacity_bytes
        self.open()

    def open(self) -> None:
        self.heard = Heard()
        self.volumes: list[Volume] = open_volumes(
            self.roots, "dn-1", self._reserve_bytes, OsRng(), capacity_bytes=self._capacity_bytes
        )
        self.store = BlockStore(
            self.volumes, "dn-1", OsClock(), listener=self.heard, sync_times=Load(OsClock())
        )

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def put(self, frames: Iterator[Frame]) -> Receipt:
        writer = None
        for frame in frames:
            writer = writer or self.store.start(frame)
            writer.accept(frame)
            writer.write(frame)
        assert writer is not None
        (receipt,) = self.store.finalize([writer])
        return receipt

    def read(self, block_id: int, **options: int) -> bytes:
        """The covering bytes, as stored."""
        return b"".join(bytes(frame.data) for frame in self.store.read(block_id, **options))

    def data_path(self, block_id: int, generation: int = 1) -> Path:
        (path,) = (p for v in self.volumes if (p := v.final_path(block_id, generation, "data")).exists())
        return path

    def files(self, directory: str) -> list[str]:
        return sorted(p.name for root in self.roots for p in (root / directory).rglob("*") if p.is_file())


def plant(data_path: Path, data: bytes) -> None:
    """Make a stored replica, uncompressed, one of other bytes which its own checksums fit."""
    name = layout.parse_name(data_path.name)
    assert name is not None
    size = len(data)
    meta = layout.Meta(name.block_id, name.generation, size, size, crc32c(data))
    data_path.write_bytes(data)
    encoded = layout.encode_meta(meta._replace(chunk_crcs=tuple(chunk_crcs(data))))
    data_path.with_suffix(".meta").write_bytes(encoded)


def flip(path: Path, at: int) -> None:
    """Flip one bit of a file."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x10
    path.write_bytes(raw)
