"""Having DataNodes read and verify every replica of some files. What does not verify they set aside."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple

from esdfs.client.values import LocatedBlock, Location
from esdfs.errors import EsdfsError
from esdfs.rpc import datanode
from esdfs.rpc.channel import Channels
from esdfs.rpc.messages import BlockRequest

_AT_ONCE: Final = 8
_BATCH: Final = 256
_TIMEOUT_S: Final = 120.0


class Checked(NamedTuple):
    """A replica that was looked at.

    Attributes:
        code: Why it is not good, as an error's code; "" = every byte verified.
    """

    block_id: str
    node_id: str
    code: str
    message: str = ""


def check_replicas(channels: Channels, blocks: Iterable[LocatedBlock]) -> Iterator[Checked]:
    """Each replica that the NameNode would send a reader to, some at a time. Never raises for one of them."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
        waiting: list[Callable[[], Checked]] = []
        for block in blocks:
            waiting += [partial(_checked, channels, block, location) for location in block.locations]
            if len(waiting) >= _BATCH:
                yield from pool.map(_call, waiting)
                waiting.clear()
        yield from pool.map(_call, waiting)


def _call(check: Callable[[], Checked]) -> Checked:
    return check()


def _checked(channels: Channels, block: LocatedBlock, location: Location) -> Checked:
    request = BlockRequest(block_id=int(block.block_id), generation=block.generation, deep=True)
    try:
        result = datanode.check(channels.get(location.address), request, timeout_s=_TIMEOUT_S)
        error = result.error()
    except EsdfsError as failed:
        error = failed
    if error is None:
        return Checked(block.block_id, location.node_id, "")
    return Checked(block.block_id, location.node_id, error.code, error.message)
