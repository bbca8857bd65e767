"""Which rack a DataNode stands on: settings, else a script, else what it says itself, else the default."""

import asyncio
from collections.abc import Mapping
from typing import Final

from structlog.typing import FilteringBoundLogger

from esdfs.env import Clock
from esdfs.namenode.blocks import bodies
from esdfs.namenode.children import Child
from esdfs.namenode.config import is_rack

DEFAULT_RACK: Final = "/default"

_SCRIPT_S: Final = 5.0
_WAIT_S: Final = 3.0
"""A registration waits so long for the script: its DataNode gives up after 10 s, and would begin anew."""

_RUNS_MAX: Final = 8
_AGAIN_S: Final = 60
_ANSWER_BYTES_MAX: Final = 64 << 10


class Racks:
    """What is known of racks. ``learn`` asks the script, once for each host; ``of`` answers at once.

    Args:
        topology: Rack by node id or by host, before all else.
        script: A program that is called with a host and prints its rack; "" = there is none.
    """

    def __init__(
        self, topology: Mapping[str, str], script: str, clock: Clock, logger: FilteringBoundLogger
    ) -> None:
        self._topology = topology
        self._script = script
        self._clock = clock
        self._log = logger
        self._learned: dict[str, str] = {}
        self._again_ns: dict[str, int] = {}  # of hosts that the script failed for
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_RUNS_MAX)

    def of(self, node_id: str, host: str, told: str) -> str:
        """A DataNode's rack; ``told`` is what it says itself."""
        known = self._known(node_id, host)
        if known:
            return known
        if told and not is_rack(told):
            self._log.warning("not a rack", node_id=node_id, rack=told[:80], why="a rack is like /rack-1")
            return DEFAULT_RACK
        return told or DEFAULT_RACK

    def by_now(self, node_id: str, host: str) -> str:
        """What settings and script say by now; "" = nothing. A script that failed is asked again."""
        known = self._known(node_id, host)
        if not known and host in self._again_ns:
            self._ask(host)
        return known

    async def learn(self, registration: bytes) -> None:
        """Ask the script about who registers. Without an answer in time the DataNode's own word counts.

        Who the script failed for waits no second time: it is asked again later, in the background.

        Raises:
            InvalidRequest: Not a registration.
        """
        if not self._script:
            return
        told = bodies.decode(bodies.registration, registration)
        host = told.hostname
        if self._known(told.node_id, host):
            return
        has_failed = host in self._again_ns
        asking = self._ask(host)
        if asking is not None and not has_failed:
            await asyncio.wait({asking}, timeout=_WAIT_S)

    def _known(self, node_id: str, host: str) -> str:
        return self._topology.get(node_id) or self._topology.get(host) or self._learned.get(host, "")

    def _ask(self, host: str) -> "asyncio.Task[None] | None":
        """The one run for this host, begun if there is none; None when the last one failed just now."""
        if host in self._asking:
            return self._asking[host]
        if self._clock.monotonic_ns() < self._again_ns.get(host, 0):
            return None
        task = asyncio.get_running_loop().create_task(self._look_up(host), name=f"rack of {host}")
        self._asking[host] = task
        task.add_done_callback(lambda _: self._asking.pop(host))
        return task

    async def _look_up(self, host: str) -> None:
        async with self._turns:
            rack = ""
            try:
                rack = await _run(self._script, host)
                why = "" if is_rack(rack) else f"it said {rack[:80]!r}"
            except (OSError, TimeoutError) as error:
                why = str(error) or f"no answer within {_SCRIPT_S:.0f} s"
        if why:
            self._log.warning("topology script failed", script=self._script, host=host, why=why)
            self._again_ns[host] = self._clock.monotonic_ns() + _AGAIN_S * 10**9
            return
        self._again_ns.pop(host, None)
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
