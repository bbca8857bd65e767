"""The synchronous gRPC server: assembly and the settings every server here shares."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

from esdfs.errors import Unavailable
from esdfs.rpc.channel import BOTH_ENDS

SERVER_OPTIONS: Final[list[tuple[str, int]]] = [
    *BOTH_ENDS,
    ("grpc.so_reuseport", 0),  # a second server on our port must fail, not share it
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # below the clients' keepalive time
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
]


def new_server(threads: int, name: str) -> grpc.Server:
    """A server whose calls run on ``threads`` threads; a running stream holds one of them."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    return grpc.server(pool, options=SERVER_OPTIONS)


def bind(server: grpc.Server, host: str, port: int) -> int:
    """Listen on ``host:port`` (0 = any free one) and answer which port it is.

    Raises:
        Unavailable: Somebody else listens there.
    """
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error}") from error
    if bound == 0:
        raise Unavailable(f"cannot listen on {host}:{port}: is another process using it?")
    return int(bound)
