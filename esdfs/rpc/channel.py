"""Channels: how every client end of a gRPC connection is set up."""

import threading
from typing import Final, Self

import grpc

from esdfs.blocks import MIB

MESSAGE_BYTES_MAX: Final = 4 * MIB
"""No message is larger: a bulk frame is 1 MiB, a journal page is cut to fit."""

BOTH_ENDS: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # A dead peer (pulled cable, stopped machine) is noticed within 15 s even when no call is running.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A 1 MiB message in one HTTP/2 frame and not in 64.
    ("grpc.http2.max_frame_size", 2 * MIB),
]

CHANNEL_OPTIONS: Final[list[tuple[str, int]]] = [
    *BOTH_ENDS,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),  # who may retry what is decided by our errors
    ("grpc.use_local_subchannel_pool", 1),  # one cache's channels are not slowed by another's backoff
]


def open_channel(address: str) -> grpc.Channel:
    """A channel to ``host:port``; it connects on first use. The caller closes it."""
    return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)


class Channels:
    """One channel per address, shared by threads. Make it after any fork; close it when done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_address: dict[str, grpc.Channel] = {}
        self._closed = False

    def get(self, address: str) -> grpc.Channel:
        """The channel to ``address``, opened at first use."""
        with self._lock:
            assert not self._closed, "channels are closed"
            channel = self._by_address.get(address)
            if channel is None:
                channel = self._by_address[address] = open_channel(address)
            return channel

    def drop(self, address: str) -> None:
        """Close the channel to ``address``, if any; its running calls are cancelled."""
        with self._lock:
            channel = self._by_address.pop(address, None)
        if channel is not None:
            channel.close()

    def close(self) -> None:
        """Close all, for good. Idempotent."""
        with self._lock:
            channels = list(self._by_address.values())
            self._by_address.clear()
            self._closed = True
        for channel in channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
