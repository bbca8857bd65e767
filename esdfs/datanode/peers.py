"""Which other DataNodes we reach: from the streams we send, and by connecting to those we send none."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
import structlog

from esdfs.datanode.background import Background
from esdfs.datanode.pipeline import Forward, Peers
from esdfs.env import Clock
from esdfs.errors import DeadlineExceeded, EsdfsError, Unreachable
from esdfs.rpc.messages import BlockResult, Frame, Target

_log = structlog.get_logger()

STALE_S: Final = 60.0
"""A peer that was not heard of for so long is connected to."""

_CONNECT_S: Final = 1.0
_LOOK_S: Final = 2.0
_REPORTED_MAX: Final = 64


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one peer.

    Attributes:
        rtt_ms: Of the last connection made to it; 0 = none yet.
        tried_ns: When it last answered or did not.
    """

    node_id: str
    address: str
    reachable: bool = False
    rtt_ms: float = 0.0
    tried_ns: int | None = None


class PeerTable:
    """Thread-safe. Peers are those a NameNode named, and those a stream went to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._peers: dict[str, Peer] = {}

    def know(self, targets: Iterable[Target]) -> None:
        """A NameNode names our neighbours: the others are forgotten, unless a stream went to them of late."""
        with self._lock:
            before, self._peers = self._peers, {}
            oldest_ns = self._clock.monotonic_ns() - int(STALE_S * 1e9)
            for target in targets:
                old = before.pop(target.node_id, None)
                same = old is not None and old.address == target.address
                self._peers[target.node_id] = (
                    old if old is not None and same else Peer(node_id=target.node_id, address=target.address)
                )
            for node_id, old in before.items():
                if old.tried_ns is not None and old.tried_ns >= oldest_ns:
                    self._peers[node_id] = old

    def saw(self, target: Target, *, reachable: bool, rtt_ms: float = 0.0) -> None:
        """A peer answered, or did not."""
        with self._lock:
            old = self._peers.get(target.node_id)
            if old is not None and old.reachable != reachable and old.tried_ns is not None:
                _log.warning("peer", node_id=target.node_id, reachable=reachable)
            self._peers[target.node_id] = Peer(
                node_id=target.node_id,
                address=target.address,
                reachable=reachable,
                rtt_ms=rtt_ms or (old.rtt_ms if old is not None and reachable else 0.0),
                tried_ns=self._clock.monotonic_ns(),
            )

    def stale(self) -> list[Target]:
        """Peers nothing is known of, or nothing new; one that was not reached is tried again sooner."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            return [
                Target(peer.node_id, peer.address)
                for peer in self._peers.values()
                if peer.tried_ns is None
                or now_ns - peer.tried_ns >= int((STALE_S if peer.reachable else STALE_S / 6) * 1e9)
                or (peer.reachable and not peer.rtt_ms)
            ]

    def told(self) -> list[dict[str, object]]:
        """For heartbeats: the peers that were tried, by name."""
        with self._lock:
            tried = sorted(peer.node_id for peer in self._peers.values() if peer.tried_ns is not None)
            return [
                {"node_id": peer.node_id, "reachable": peer.reachable, "rtt_ms": peer.rtt_ms}
                for peer in (self._peers[node_id] for node_id in tried[:_REPORTED_MAX])
            ]


class WatchedPeers:
    """`Peers` that notes who answered."""

    def __init__(self, peers: Peers, table: PeerTable) -> None:
        self._peers = peers
        self._table = table

    def forward(self, target: Target, frames: Iterator[Frame] | Frame, timeout_s: float | None) -> Forward:
        """Start sending."""
        return _Watched(self._peers.forward(target, frames, timeout_s), target, self._table)


class _Watched:
    def __init__(self, forward: Forward, target: Target, table: PeerTable) -> None:
        self._forward = forward
        self._target = target
        self._table = table

    def when_done(self, callback: Callable[[], None]) -> None:
        self._forward.when_done(callback)

    def cancel(self) -> None:
        self._forward.cancel()

    def results(self) -> list[BlockResult]:
        try:
            results = self._forward.results()
        except (Unreachable, DeadlineExceeded):
            self._table.saw(self._target, reachable=False)
            raise
        except EsdfsError:
            raise  # it refused, or the stream was cancelled: no news of the way there
        self._table.saw(self._target, reachable=True)
        return results


class PeerWatch(Background):
    """A thread that connects to peers nothing is known of."""

    def __init__(self, table: PeerTable, clock: Clock) -> None:
        super().__init__("peers")
        self._table = table
        self._clock = clock

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            for target in self._table.stale():
                if self._stop.is_set():
                    return
                self.look(target)

    def look(self, target: Target) -> None:
        """Connect once, and note how long that took."""
        host, _, port = target.address.rpartition(":")
        before_ns = self._clock.monotonic_ns()
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
        except (OSError, ValueError) as error:
            _log.debug("peer not reached", node_id=target.node_id, reason=str(error))
            self._table.saw(target, reachable=False)
        else:
            rtt_ms = round((self._clock.monotonic_ns() - before_ns) / 1e6, 3)
            self._table.saw(target, reachable=True, rtt_ms=rtt_ms)
