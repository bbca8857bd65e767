"""Start-up: the replicas of all volumes together, at most one of a block."""

from collections.abc import Iterable

import structlog

from esdfs.datanode import scan
from esdfs.datanode.reading import ReplicaReader
from esdfs.datanode.replica import BlockKey, Replica, ReplicaState
from esdfs.datanode.replica_map import ReplicaMap
from esdfs.datanode.volumes import Volume
from esdfs.env import Clock
from esdfs.errors import DiskFailed, EsdfsError, ReplicaCorrupt, ReplicaNotFound, VolumeFull

_log = structlog.get_logger()


def take(volumes: list[Volume], replicas: ReplicaMap, clock: Clock) -> list[BlockKey]:
    """Fill ``replicas`` with what the volumes hold; answers the damaged ones that were not replaced since.

    A volume that cannot be read, or changed as that takes, is out of service.
    """
    return _Inventory(volumes, replicas, clock).take()


class _Inventory:
    def __init__(self, volumes: list[Volume], replicas: ReplicaMap, clock: Clock) -> None:
        self._volumes = volumes
        self._replicas = replicas
        self._clock = clock
        self._corrupt: dict[BlockKey, None] = {}

    def take(self) -> list[BlockKey]:
        for index, volume in enumerate(self._volumes):
            if not volume.failed:
                self._take_in(index, volume)
        return [key for key in self._corrupt if not self._was_replaced(key)]

    def _was_replaced(self, key: BlockKey) -> bool:
        here = self._replicas.get(key.block_id)
        return here is not None and here.generation >= key.generation

    def _take_in(self, index: int, volume: Volume) -> None:
        try:
            with volume.changing("looking what it holds"):
                found = scan.scan(volume, index, self._clock)
        except (DiskFailed, VolumeFull) as error:
            volume.failed = volume.failed or error.message  # a full one is tried again at the next start
            return
        self._corrupt.update(dict.fromkeys(found.corrupt))
        self._put_all(found.replicas, volume)

    def _put_all(self, found: Iterable[Replica], volume: Volume) -> None:
        for replica in found:
            other = self._replicas.get(replica.block_id)
            if other is None:
                self._replicas.put(replica)
            elif other.generation == replica.generation:
                self._keep_a_good_one(replica, other)
            else:
                loser, winner = sorted((other, replica), key=lambda each: each.generation)
                self._replicas.put(winner)
                self._clear_away(loser, ReplicaState.TRASH)
            if volume.failed:
                return

    def _keep_a_good_one(self, *copies: Replica) -> None:
        """Of two equal copies keep one that verifies; a single byte decides, so it is read whole.

        A volume that had failed and was put back has replicas that were made anew on another meanwhile, maybe
        because they were damaged: the later one is tried first.
        """
        first, second = sorted(copies, key=lambda each: -each.finalized_us)
        verdict = self._verifies(first)
        if verdict:
            self._replicas.put(first)
            self._clear_away(second, ReplicaState.TRASH)
        elif verdict is not None:
            self._replicas.put(second)
            self._clear_away(first, ReplicaState.CORRUPT)
        elif self._volumes[first.volume].failed:
            self._replicas.put(second)
        # Else it cannot be told now: both stay for the next start.

    def _verifies(self, replica: Replica) -> bool | None:
        """Whether every byte is good; None = it cannot be read now."""
        try:
            with ReplicaReader(self._volumes[replica.volume], replica) as reader:
                for _ in reader.frames():
                    continue
        except (ReplicaCorrupt, ReplicaNotFound) as error:
            _log.error("replica found damaged", block_id=replica.block_id, reason=error.message)
            return False
        except EsdfsError as error:
            _log.warning("replica not verified", block_id=replica.block_id, reason=error.message)
            return None
        return True

    def _clear_away(self, loser: Replica, state: ReplicaState) -> None:
        try:
            scan.set_aside(self._volumes[loser.volume], loser.key, state, self._clock)
        except (DiskFailed, VolumeFull) as error:
            _log.warning("second copy of a block left", block_id=loser.block_id, reason=error.message)
