"""Having DataNodes read and verify replicas. What does not verify they set aside."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple

from esdfs.client.values import ReplicaAt
from esdfs.errors import EsdfsError
from esdfs.rpc import datanode
from esdfs.rpc.channel import Channels
from esdfs.rpc.messages import BlockContent, BlockRequest

_AT_ONCE: Final = 8
_BATCH: Final = 256
_TIMEOUT_S: Final = 120.0
_ASIDE_TIMEOUT_S: Final = 5.0
"""Of a reader that has other replicas to turn to. A DataNode goes on when it is over."""


class Checked(NamedTuple):
    """A replica that was looked at.

    Attributes:
        code: Why it is not good, as an error's code; "" = every byte verified, and they are what the block
            must be, if that is known.
    """

    block_id: str
    node_id: str
    code: str
    message: str = ""


def check_replicas(channels: Channels, replicas: Iterable[ReplicaAt]) -> Iterator[Checked]:
    """Have each of these replicas read, some at a time. Never raises for one of them."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
        waiting: list[ReplicaAt] = []
        for replica in replicas:
            waiting.append(replica)
            if len(waiting) == _BATCH:
                yield from pool.map(partial(_checked, channels), waiting)
                waiting.clear()
        yield from pool.map(partial(_checked, channels), waiting)


def complain(channels: Channels, replica: ReplicaAt) -> None:
    """Have a DataNode look at a replica that a reader could not use. Never raises, and does not wait long."""
    _checked(channels, replica, _ASIDE_TIMEOUT_S)


def _checked(channels: Channels, replica: ReplicaAt, timeout_s: float = _TIMEOUT_S) -> Checked:
    expected = None
    if replica.length_bytes is not None and replica.crc32c is not None:
        expected = BlockContent(replica.length_bytes, int(replica.crc32c, 16))
    request = BlockRequest(
        block_id=int(replica.block_id), generation=replica.generation, deep=True, expected=expected
    )
    try:
        result = datanode.check(channels.get(replica.address), request, timeout_s=timeout_s)
        error = result.error()
    except EsdfsError as failed:
        error = failed
    if error is None:
        return Checked(replica.block_id, replica.node_id, "")
    return Checked(replica.block_id, replica.node_id, error.code, error.message)
