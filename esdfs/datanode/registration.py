"""A DataNode's membership: it belongs to a cluster, and says so to every NameNode of it."""

import threading
from collections.abc import Callable, Iterator

import structlog

from esdfs.datanode.config import DataNodeConfig
from esdfs.datanode.fence import EpochFence
from esdfs.datanode.figures import Figures
from esdfs.datanode.incarnation import next_incarnation
from esdfs.datanode.namenode_link import Broadcast, HeartbeatAnswer, NameNodeLink, Registered
from esdfs.datanode.opening import cluster_of
from esdfs.datanode.orders import Orders
from esdfs.datanode.peers import PeerTable
from esdfs.datanode.reports import Report, full_report
from esdfs.datanode.store import BlockStore
from esdfs.env import Clock, Rng
from esdfs.errors import DiskFailed, EpochFenced, EsdfsError, IdentityConflict

_log = structlog.get_logger()


class DataNodeRegistration:
    """Registers with all NameNodes and keeps them informed, one thread each.

    All of them are told everything, so that a follower that becomes leader knows where the replicas are.

    Args:
        address: Where others reach us: host and port.
        local_socket: Path of the Unix socket for clients of this host; empty = none.
        on_fatal: Told the reason why this DataNode must not go on.
    """

    def __init__(
        self,
        config: DataNodeConfig,
        store: BlockStore,
        fence: EpochFence,
        figures: Figures,
        peers: PeerTable,
        orders: Orders,
        broadcast: Broadcast,
        *,
        address: tuple[str, int],
        local_socket: str,
        clock: Clock,
        rng: Rng,
        on_fatal: Callable[[str], None],
    ) -> None:
        self._config = config
        self._store = store
        self._fence = fence
        self._figures = figures
        self._peers = peers
        self._orders = orders
        self._address = address
        self._local_socket = local_socket
        self._on_fatal = on_fatal
        self._adopting = threading.Lock()
        self._incarnation = next_incarnation(store.volumes, clock)
        self._clock, self._rng = clock, rng
        self._growing = threading.Lock()
        self._started = False
        self._stopped = False
        self._links = [self._link(url) for url in config.namenodes]
        self._broadcast = broadcast
        broadcast.links = list(self._links)
        self._threads: list[threading.Thread] = []

    def _link(self, url: str) -> NameNodeLink:
        return NameNodeLink(
            url,
            self._config.node_id,
            self._incarnation,
            token=self._config.token,
            interval_ms=self._config.heartbeat_interval_ms,
            full_report_interval_s=self._config.full_report_interval_s,
            clock=self._clock,
            rng=self._rng,
            register_body=self._register_body,
            heartbeat_body=self._figures.heartbeat,
            full_report=self._full_report,
            on_registered=self._on_registered,
            on_answer=self._on_answer,
            epoch=lambda: self._fence.settled,
        )

    def cluster_id(self) -> str:
        """Ours; empty until a NameNode told us."""
        return cluster_of(self._store.volumes)

    def register(self) -> int:
        """Register with every NameNode, once; with how many it worked.

        Raises:
            IdentityConflict: One of them will never have us.
        """
        return self._each(NameNodeLink.register)

    def heartbeat(self) -> int:
        """Heartbeat to every NameNode, once; with how many it worked.

        Raises:
            IdentityConflict: Another process took our place.
        """
        return self._each(NameNodeLink.heartbeat)

    def _each(self, exchange: Callable[[NameNodeLink], object]) -> int:
        worked = 0
        for link in self._links:
            try:
                exchange(link)
                worked += 1
            except IdentityConflict:
                raise
            except EsdfsError as error:
                _log.warning("NameNode not reached", url=link.url, reason=error.message)
        return worked

    def start_heartbeat_thread(self) -> None:
        """Keep every NameNode informed from now on, until `stop`."""
        with self._growing:
            self._started = True
            for link in self._links:
                self._start(link)

    def _start(self, link: NameNodeLink) -> None:
        thread = threading.Thread(target=self._run, args=(link,), name=f"link {link.url}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _meet(self, urls: tuple[str, ...]) -> None:
        """NameNodes that joined since we were configured: tell them everything, too."""
        with self._growing:
            known = {link.url for link in self._links}
            for url in urls:
                if url.rstrip("/") in known or self._stopped or not self._started:
                    continue
                _log.info("another NameNode", url=url)
                link = self._link(url)
                self._links.append(link)
                # Replaced, never changed: others walk it at the same time.
                self._broadcast.links = list(self._links)
                self._start(link)

    def _run(self, link: NameNodeLink) -> None:
        try:
            link.run()
        except IdentityConflict as error:
            self._on_fatal(error.message)

    def stop(self) -> None:
        """End the threads; waits for requests under way."""
        with self._growing:
            self._stopped = True
        for link in self._links:
            link.stop()
        for thread in self._threads:
            thread.join()
        for link in self._links:
            link.close()

    # --- what is said ---

    def _register_body(self) -> dict[str, object]:
        host, port = self._address
        return {
            "uuid": self._store.volumes[0].version.node_uuid,
            "cluster_id": self.cluster_id(),
            "hostname": host,
            "port": port,
            "local_socket": self._local_socket,
            "rack": self._config.rack,
            "highest_block_id": self._store.highest_block_id(),
            **self._figures.space(),
        }

    def _full_report(self) -> Iterator[Report]:
        return full_report(self._store.replicas(), self._store.corrupt())

    # --- what is heard ---

    def _on_registered(self, answer: Registered) -> None:
        with self._adopting:
            mine = self.cluster_id()
            if mine and answer.cluster_id != mine:
                raise IdentityConflict(
                    f"{self._config.node_id} has data of cluster {mine}, {answer.cluster_id} wants it"
                )
            for volume in self._store.volumes:
                if not volume.failed:
                    volume.adopt(answer.cluster_id)
        _log.info("registered", cluster=answer.cluster_id, number=answer.number, epoch=answer.epoch)

    def _on_answer(self, answer: HeartbeatAnswer, asked_ns: int) -> None:
        self._meet(answer.namenodes)
        if answer.peers:
            self._peers.know(answer.peers)
        if answer.epoch > self._fence.highest:
            try:
                self._fence.admit(answer.epoch)
            except DiskFailed as error:  # what we have to report is all the more important
                _log.error("orders not taken", reason=error.message)
                return
        if answer.commands and answer.epoch < self._fence.highest:
            reason = EpochFenced(f"orders of epoch {answer.epoch}, now is {self._fence.highest}")
            _log.warning("orders of a deposed leader refused", reason=reason.message)
            return
        for command in answer.commands:
            self._orders.start(command, answer.epoch, asked_ns)
