"""Start-up: what replicas a volume holds, from file names and meta headers alone."""

import os
from collections.abc import Container
from pathlib import Path
from typing import Final

import msgspec
import structlog

from esdfs.datanode import layout
from esdfs.datanode.replica import BlockKey, Replica, ReplicaState
from esdfs.datanode.volumes import DAMAGED, Volume
from esdfs.env import Clock
from esdfs.errors import ReplicaCorrupt

_log = structlog.get_logger()

_DAY_US: Final = 86_400 * 1_000_000


class Found(msgspec.Struct):
    """A volume's replicas, and those found damaged."""

    replicas: list[Replica]
    corrupt: list[BlockKey]


def scan(volume: Volume, index: int, clock: Clock) -> Found:
    """Read a volume; settle what a crash left.

    A replica is finalized when its data file has its final name and the meta file beside it names it and its
    length. Whatever is in ``tmp``, and a meta file without data, was never acknowledged: it is moved to the
    trash, whose delay leaves people time to look, and never made visible.
    """
    found = Found([], [])
    for directory in _leaves(volume.root / ReplicaState.FINALIZED.value):
        names = set(_names(directory))
        for text in sorted(names):
            name = layout.parse_name(text)
            if name is None:
                _log.warning("not a file of ours", path=str(directory / text))
            elif name.suffix == "data":
                key = BlockKey(name.block_id, name.generation)
                try:
                    found.replicas.append(_inspect(volume, index, directory, key))
                except ReplicaCorrupt as error:
                    _log.error("replica found damaged", block_id=key.block_id, reason=error.message)
                    set_aside(volume, key, ReplicaState.CORRUPT, clock)
                    found.corrupt.append(key)
            elif f"{layout.stem(name.block_id, name.generation)}.data" not in names:
                set_aside(volume, BlockKey(name.block_id, name.generation), ReplicaState.TRASH, clock)
    for text in _names(volume.root / "tmp"):
        name = layout.parse_name(text)
        if name is not None:
            stem = layout.stem(name.block_id, name.generation, clock.wall_us())
            with volume.changing("moving a leftover"):
                volume.path(ReplicaState.TEMP, text).rename(
                    volume.path(ReplicaState.TRASH, f"{stem}.{name.suffix}")
                )
    for text in _names(volume.root / "corrupt"):
        name = layout.parse_name(text)
        if name is not None and name.suffix == "data":
            found.corrupt.append(BlockKey(name.block_id, name.generation))
    return found


def _names(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries)


def _leaves(root: Path) -> list[Path]:
    return [root / first / leaf for first in _names(root) for leaf in _names(root / first)]


def _inspect(volume: Volume, index: int, directory: Path, key: BlockKey) -> Replica:
    data_path = volume.final_path(key.block_id, key.generation, "data")
    if data_path.parent != directory:
        raise ReplicaCorrupt(f"block {key.block_id} lies in {directory.name}, where it does not belong")
    try:
        with data_path.with_suffix(".meta").open("rb") as file:
            meta = layout.decode_header(file.read(layout.HEADER_BYTES), key.block_id, key.generation)
            verified_us = os.fstat(file.fileno()).st_mtime_ns // 1000
        stat = data_path.stat()
    except FileNotFoundError as error:
        raise ReplicaCorrupt(f"block {key.block_id} has no meta file") from error
    except OSError as error:
        if error.errno not in DAMAGED:
            raise
        raise ReplicaCorrupt(f"block {key.block_id}: the disk cannot read its files") from error
    if stat.st_size != meta.stored_bytes:
        raise ReplicaCorrupt(f"block {key.block_id} has {stat.st_size} of {meta.stored_bytes} bytes")
    return Replica(
        block_id=key.block_id,
        generation=key.generation,
        volume=index,
        length_bytes=meta.length_bytes,
        stored_bytes=meta.stored_bytes,
        crc32c=meta.crc32c,
        finalized_us=stat.st_mtime_ns // 1000,
        verified_us=verified_us,
    )


def set_aside(volume: Volume, key: BlockKey, state: ReplicaState, clock: Clock) -> None:
    """Move a finalized replica's files to ``corrupt`` or ``trash``. A missing one is no error."""
    stem = layout.stem(key.block_id, key.generation, clock.wall_us())
    with volume.changing(f"moving a replica to {state.value}"):
        # The data file first: without it the replica is not there.
        for suffix in ("data", "meta"):
            path = volume.final_path(key.block_id, key.generation, suffix)
            try:
                path.rename(volume.path(state, f"{stem}.{suffix}"))
            except FileNotFoundError:
                _log.warning("replica lacked a file", path=str(path))


def unlink(volume: Volume, key: BlockKey) -> None:
    """Remove a replica's files for good: it is on another volume. A missing one is no error."""
    with volume.changing("removing a replica that was moved"):
        for suffix in ("data", "meta"):  # in this order: without its data file the replica is not there
            volume.final_path(key.block_id, key.generation, suffix).unlink(missing_ok=True)


def clear(
    volume: Volume,
    state: ReplicaState,
    now_us: int,
    older_than_us: int,
    spare: Container[BlockKey] = frozenset(),
) -> int:
    """Unlink what came to ``trash`` or ``corrupt`` before that wall time; answers how many files.

    What came on a day that is yet to come, because the clock was ahead, counts as having come now.
    """
    gone = 0
    with volume.changing(f"emptying {state.value}"):
        for text in _names(volume.root / state.value):
            name = layout.parse_name(text)
            if name is None or name.when_us > older_than_us:
                if name is not None and name.when_us > now_us + _DAY_US:
                    _restamp(volume, state, text, name, now_us)
                continue
            if BlockKey(name.block_id, name.generation) not in spare:
                volume.path(state, text).unlink(missing_ok=True)
                gone += 1
    return gone


def _restamp(volume: Volume, state: ReplicaState, text: str, name: layout.Name, now_us: int) -> None:
    """Let a dropped file be one that was dropped now, or a little before: two do not get one name."""
    while True:
        path = volume.path(state, f"{layout.stem(name.block_id, name.generation, now_us)}.{name.suffix}")
        if not path.exists():
            break
        now_us -= 1
    volume.path(state, text).rename(path)
