"""A thread that evens out how full a DataNode's volumes are: an added empty one fills.

A move is a new replica, verified while it is copied, durable under its final name before the map names it and
before the old one is unlinked. A DataNode killed in between finds two and keeps one (`BlockStore`).
"""

from typing import Final

import structlog
from msgspec.structs import replace

from esdfs.datanode import scan
from esdfs.datanode.background import Background
from esdfs.datanode.evening import VolumeUse, helps, uneven, worth_moving
from esdfs.datanode.pacing import Pace
from esdfs.datanode.replica import Replica
from esdfs.datanode.sending import outgoing
from esdfs.datanode.store import BlockStore
from esdfs.datanode.volumes import Volume
from esdfs.datanode.writer import BlockWriter
from esdfs.env import Clock
from esdfs.errors import EsdfsError
from esdfs.rpc.messages import Frame

_log = structlog.get_logger()

_BATCH: Final = 64


class VolumeMover(Background):
    """The thread; it stops within one frame, and drops what was begun.

    Args:
        threshold: Replicas move while the used shares of two volumes differ by more; 0 = never. Once begun,
            it goes on to half of that.
        pace: Of what is moved.
        look_s: Seconds between looks.
    """

    def __init__(
        self, store: BlockStore, clock: Clock, pace: Pace, *, threshold: float, look_s: float
    ) -> None:
        super().__init__("volumes")
        self._store = store
        self._clock = clock
        self._pace = pace
        self._threshold = threshold
        self._look_s = look_s

    def start(self) -> None:
        """Start the thread, if there is anything to even out."""
        if self._threshold > 0 and len(self._store.volumes) > 1:
            super().start()

    def _run(self) -> None:
        while not self._stop.wait(self._look_s):
            self.even_out()

    def even_out(self) -> int:
        """Move until the volumes are even, or nothing helps; answers how many replicas were moved."""
        pair = uneven(self._uses(), self._threshold)
        if pair is None:
            return 0
        shares = [f"{use.share:.1%}" for use in pair]
        _log.info("volumes are uneven", fullest=pair[0].number, emptiest=pair[1].number, shares=shares)
        moved = 0
        while pair is not None and not self._stop.is_set():
            batch = worth_moving(self._store.replicas(), *pair, _BATCH)
            count = sum(self._move_if_it_helps(replica, pair[1].number) for replica in batch)
            if not count:
                break
            moved += count
            pair = uneven(self._uses(), self._threshold / 2)
        _log.info("replicas moved between volumes", count=moved, even=pair is None)
        return moved

    def _move_if_it_helps(self, replica: Replica, to: int) -> bool:
        """``replica`` was chosen some time ago: look again."""
        uses = {use.number: use for use in self._uses()}
        source, target = uses.get(replica.volume), uses.get(to)
        if self._stop.is_set() or source is None or target is None:
            return False
        if not helps(source, target, replica.stored_bytes):
            return False
        return uneven([source, target], self._threshold / 2) is not None and self.move(
            replica, self._store.volumes[to]
        )

    def move(self, replica: Replica, volume: Volume) -> bool:
        """Move one replica; whether it is on ``volume`` now. Whatever goes wrong leaves it where it is."""
        writer: BlockWriter | None = None
        try:
            with self._store.open(replica.block_id, replica.generation) as reader:
                frames = self._store.checked(reader, reader.frames())
                for frame in outgoing(reader, frames):
                    writer = writer or self._begin(replica, frame, volume)
                    if self._stop.is_set() or not self._pace.spend(len(frame.data)):
                        return False
                    writer.accept(frame)
                    writer.write(frame)
            assert writer is not None, "a replica has a frame"
            return self._finish(replica, writer)
        except EsdfsError as error:
            _log.warning("replica not moved", block_id=replica.block_id, reason=error.message)
            return False
        finally:
            if writer is not None:
                writer.drop()  # does nothing after a good end

    def _begin(self, replica: Replica, first: Frame, volume: Volume) -> BlockWriter:
        self._store.claim(replica)
        promised_bytes = 0
        try:
            volume.promise(replica.stored_bytes)
            promised_bytes = replica.stored_bytes
            return BlockWriter(first, volume, promised_bytes, self._store.unclaim)
        except BaseException:
            volume.release(promised_bytes)
            self._store.unclaim(replica.key)
            raise

    def _finish(self, replica: Replica, writer: BlockWriter) -> bool:
        """Make the copy durable, name it instead of ``replica``, and unlink that one.

        If ``replica`` was deleted, replaced or set aside meanwhile, the copy goes instead.
        """
        self._store.harden([writer])
        copy = replace(
            replica,
            volume=self._store.volumes.index(writer.volume),
            finalized_us=self._clock.wall_us(),
            verified_us=0,  # on this disk it was never read
        )
        stays = self._store.exchange(replica, copy)
        goes = self._store.volumes[replica.volume if stays else copy.volume]
        try:
            if not goes.failed:
                scan.unlink(goes, writer.key)
        finally:
            writer.end()  # whatever became of the other one: what is named now is never dropped
        return stays

    def _uses(self) -> list[VolumeUse]:
        return [
            VolumeUse(
                index,
                volume.used_bytes,
                volume.capacity_bytes(),
                0 if volume.fsyncs.slow else volume.available_bytes(),
            )
            for index, volume in enumerate(self._store.volumes)
            if not volume.failed
        ]
