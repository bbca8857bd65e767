"""Which rack a DataNode stands on: settings, else a script, else what it says itself, else the default."""

import asyncio
from collections.abc import Mapping
from typing import Final

from structlog.typing import FilteringBoundLogger

from esdfs.namenode.blocks import bodies
from esdfs.namenode.children import Child
from esdfs.namenode.config import is_rack

DEFAULT_RACK: Final = "/default"

_SCRIPT_S: Final = 5.0
_ANSWER_BYTES_MAX: Final = 64 << 10


class Racks:
    """What is known of racks. ``learn`` asks the script, once for each host; ``of`` answers at once.

    Args:
        topology: Rack by node id or by host, before all else.
        script: A program that is called with a host and prints its rack; "" = there is none.
    """

    def __init__(self, topology: Mapping[str, str], script: str, logger: FilteringBoundLogger) -> None:
        self._topology = topology
        self._script = script
        self._log = logger
        self._learned: dict[str, str] = {}
        self._asking = asyncio.Lock()

    def of(self, node_id: str, host: str, told: str) -> str:
        """A DataNode's rack; ``told`` is what it says itself."""
        known = self._topology.get(node_id) or self._topology.get(host) or self._learned.get(host)
        if known:
            return known
        if told and not is_rack(told):
            self._log.warning("not a rack", node_id=node_id, rack=told[:80], why="a rack is like /rack-1")
            return DEFAULT_RACK
        return told or DEFAULT_RACK

    async def learn(self, registration: bytes) -> None:
        """Ask the script about who registers. Without an answer in time the DataNode's own word counts.

        Raises:
            InvalidRequest: Not a registration.
        """
        if not self._script:
            return
        told = bodies.decode(bodies.registration, registration)
        async with self._asking:
            if not {told.node_id, told.hostname} & {*self._topology, *self._learned}:
                await self._ask(told.hostname)

    async def _ask(self, host: str) -> None:
        try:
            rack = await _run(self._script, host)
        except (OSError, TimeoutError) as error:
            # Not remembered: the next registration asks again.
            why = str(error) or f"no answer within {_SCRIPT_S:.0f} s"
            self._log.warning("topology script failed", script=self._script, host=host, why=why)
            return
        if not is_rack(rack):
            self._log.warning(
                "topology script failed", script=self._script, host=host, why=f"it said {rack[:80]!r}"
            )
            return
        self._learned[host] = rack


async def _run(script: str, host: str) -> str:
    child = await Child.start([script, host], piped=True)
    assert child.stdout is not None, "started with a pipe"
    try:
        async with asyncio.timeout(_SCRIPT_S):
            said = await child.stdout.read(_ANSWER_BYTES_MAX)
            status = await child.wait()
    finally:
        await child.end(within_s=1.0)
    if status:
        raise OSError(f"exit status {status}")
    lines = said.decode(errors="replace").split()
    return lines[0] if lines else ""
