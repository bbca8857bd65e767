"""The DataNode process."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Final

import msgspec

from esdfs.datanode.config import DataNodeConfig
from esdfs.datanode.disk_watch import DiskWatch
from esdfs.datanode.ending import Ending
from esdfs.datanode.fence import EpochFence
from esdfs.datanode.figures import Figures
from esdfs.datanode.load import Load
from esdfs.datanode.local import open_local, socket_path
from esdfs.datanode.mover import VolumeMover
from esdfs.datanode.namenode_link import Broadcast
from esdfs.datanode.opening import cluster_of, open_volumes
from esdfs.datanode.orders import Orders
from esdfs.datanode.pacing import Pace
from esdfs.datanode.peers import PeerTable, PeerWatch, WatchedPeers
from esdfs.datanode.registration import DataNodeRegistration
from esdfs.datanode.scrub import Scrubber
from esdfs.datanode.service import ChannelPeers, DataNodeService
from esdfs.datanode.store import BlockStore
from esdfs.env import Clock, Rng
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import InvalidRequest, Unavailable
from esdfs.rpc.channel import Channels
from esdfs.rpc.malloc import keep_large_buffers
from esdfs.rpc.server import bind, new_server
from esdfs.rpc.servicer import DataNodeServicer
from esdfs.telemetry import configure_logging

_CONTROL_THREADS: Final = 16
_GRACE_S: Final = 5.0


class DataNode:
    """All parts of one DataNode, wired.

    Args:
        ending: Rung if it cannot go on; ``fatal`` says why.

    Raises:
        EsdfsError: It cannot start; the message says why.
    """

    def __init__(self, config: DataNodeConfig, clock: Clock, rng: Rng, ending: Ending) -> None:
        problems = config.validate()
        if problems:
            raise InvalidRequest("; ".join(problems))
        self.config = config
        self.fatal = ""
        self._ending = ending
        self._stopping = threading.Event()
        self._clock = clock
        self._load = Load(clock)
        self._broadcast = Broadcast()
        volumes = open_volumes(
            [Path(volume) for volume in config.volumes],
            config.node_id,
            config.reserve_bytes,
            rng,
            capacity_bytes=config.capacity_bytes,
            slow_fsync_ms=config.slow_fsync_ms,
        )
        self.store = BlockStore(
            volumes,
            config.node_id,
            clock,
            listener=self._broadcast,
            sync_times=self._load,
            durable=config.durability == "fsync",
        )
        fence = EpochFence(volumes)
        usable = [volume for volume in volumes if not volume.failed]
        if not usable:
            self.store.close()
            reasons = "; ".join(f"{volume.root}: {volume.failed}" for volume in volumes)
            raise Unavailable(f"no volume can be used (remove FAILED from one that was mended): {reasons}")
        self._channels = Channels()
        peers = PeerTable(clock)
        self._peer_watch = PeerWatch(peers, clock)
        self._disk_watch = DiskWatch(volumes, clock, hangs_after_s=config.disk_hangs_after_s)
        service = DataNodeService(
            self.store,
            WatchedPeers(ChannelPeers(self._channels), peers),
            fence,
            self._load,
            node_id=config.node_id,
            cluster_id=self._cluster_id,
            copying=Pace(config.copy_bytes_per_s, clock, self._stopping.wait),
            moving=Pace(0, clock, self._stopping.wait),
            clock=clock,
        )
        self._server = new_server(config.streams_max + _CONTROL_THREADS, "rpc")
        DataNodeServicer(service, streams_max=config.streams_max).add_to(self._server)
        port = bind(self._server, config.host, config.port)
        self.address = advertised_host(config), port
        local_path = socket_path(config.local_socket_dir, usable[0].root, usable[0].version.node_uuid)
        self._local = open_local(local_path, self.store, self._load, self._cluster_id)
        self._orders = Orders(service, self._broadcast.replication_failed, clock)
        self._registration = DataNodeRegistration(
            config,
            self.store,
            fence,
            Figures(self.store, self._load, peers, clock),
            peers,
            self._orders,
            self._broadcast,
            address=self.address,
            local_socket=self._local.path if self._local else "",
            clock=clock,
            rng=rng,
            on_fatal=self._on_fatal,
        )
        self._scrubber = Scrubber(
            self.store,
            clock,
            period_s=config.scrub_period_s,
            bytes_per_s=config.scrub_bytes_per_s,
            idle_ns=self._load.idle_ns,
        )
        self._mover = VolumeMover(
            self.store,
            clock,
            Pace(config.balance_bytes_per_s, clock, self._stopping.wait),
            threshold=config.balance_threshold_percent / 100,
            look_s=config.scan_interval_s,
        )
        self._sweeper = threading.Thread(target=self._sweep, name="trash", daemon=True)

    def start(self) -> None:
        """Serve, report, scrub."""
        self._server.start()
        if self._local is not None:
            self._local.start()
        self._registration.start_heartbeat_thread()
        self._peer_watch.start()
        self._disk_watch.start()
        self._scrubber.start()
        self._mover.start()
        self._sweeper.start()

    def stop(self) -> None:
        """Let running streams end for some seconds, then give everything back."""
        self._stopping.set()
        self._registration.stop()
        self._server.stop(_GRACE_S).wait()
        if self._local is not None:
            self._local.stop()
        self._orders.stop()
        self._peer_watch.stop()
        self._disk_watch.stop()
        self._scrubber.stop()
        self._mover.stop()
        self._sweeper.join()
        self._channels.close()
        self.store.close()

    def _cluster_id(self) -> str:
        return cluster_of(self.store.volumes)

    def _on_fatal(self, reason: str) -> None:
        self.fatal = reason
        self._ending.ring()

    def _sweep(self) -> None:
        while not self._stopping.wait(self.config.scan_interval_s):
            self.store.empty_trash(self.config.trash_delay_s)


def advertised_host(config: DataNodeConfig) -> str:
    """What others dial."""
    if config.advertise_host:
        return config.advertise_host
    return socket.gethostname() if config.host in ("0.0.0.0", "::", "[::]") else config.host  # noqa: S104 - recognized, not bound


def main(config: DataNodeConfig) -> None:
    """Run a DataNode until SIGTERM or SIGINT; prints one line of JSON when it serves.

    Raises:
        EsdfsError: It cannot start, or another process or disk has its identity.
    """
    configure_logging(config.log_level)
    keep_large_buffers()
    ending = Ending()
    node = DataNode(config, OsClock(), OsRng(), ending)
    ending.catch(signal.SIGTERM, signal.SIGINT)
    node.start()
    host, port = node.address
    ready = {"id": config.node_id, "address": f"{host}:{port}", "pid": os.getpid()}
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()
    ending.wait()
    node.stop()
    if node.fatal:
        raise SystemExit(f"esdfs datanode {config.node_id}: {node.fatal}")


if __name__ == "__main__":
    main(msgspec.json.decode(sys.stdin.buffer.read(), type=DataNodeConfig))
