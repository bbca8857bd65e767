"""What a DataNode says of itself when it registers and with every heartbeat."""

from typing import Final

import msgspec

from esdfs.datanode.load import Load
from esdfs.datanode.peers import PeerTable
from esdfs.datanode.store import BlockStore
from esdfs.datanode.volumes import Volume
from esdfs.env import Clock

_LINE_MAX: Final = 512


class Figures:
    """Bodies for the REST interface of NameNodes."""

    def __init__(self, store: BlockStore, load: Load, peers: PeerTable, clock: Clock) -> None:
        self._store = store
        self._load = load
        self._peers = peers
        self._clock = clock

    def space(self) -> dict[str, object]:
        """Room and use. Available is what new blocks can have: a slow volume takes none."""
        volumes = [volume for volume in self._store.volumes if not volume.failed]
        open_to_new = [volume for volume in volumes if not volume.fsyncs.slow]
        return {
            "storage_capacity": sum(volume.capacity_bytes() for volume in volumes),
            "available_space": sum(volume.available_bytes() for volume in open_to_new),
            "used_bytes": sum(volume.used_bytes for volume in volumes),
            "blocks_stored": self._store.count(),
            "volumes": [self._volume(volume) for volume in self._store.volumes],
        }

    def heartbeat(self) -> dict[str, object]:
        """Everything that changes."""
        load = msgspec.structs.asdict(self._load.take())
        return {**self.space(), "load": load, "peers": self._peers.told()}

    def _volume(self, volume: Volume) -> dict[str, object]:
        return {
            "volume_id": volume.volume_id,
            "capacity_bytes": 0 if volume.failed else volume.capacity_bytes(),
            "available_bytes": volume.available_bytes(),
            "used_bytes": volume.used_bytes,
            "failed": bool(volume.failed),
            "failed_why": _line(f"{volume.root}: {volume.failed}") if volume.failed else "",
            "slow": volume.fsyncs.slow and not volume.failed,
            "fsync_p99_ms": round(volume.fsyncs.p99_ns(self._clock.monotonic_ns()) / 1e6, 3),
        }


def _line(text: str) -> str:
    """What a NameNode takes: one line, not too long."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_LINE_MAX]
