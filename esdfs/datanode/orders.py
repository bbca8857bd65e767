"""Carrying out what NameNodes order in their heartbeat answers."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

import msgspec
import structlog

from esdfs.datanode.replica import BlockKey
from esdfs.env import Clock
from esdfs.errors import EsdfsError, ReplicaExists
from esdfs.rpc.messages import BlockRequest, BlockResult, ReplicationRequest, Target

_log = structlog.get_logger()

_COPIES_AT_ONCE: Final = 2
_TRANSFERS_AT_ONCE: Final = 2
DELETE_VALID_S: Final = 20
"""Less than the NameNode's ``delete_settle_ms``: a full report after that settles what became of an order."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """An order. Unknown kinds are from a newer NameNode and are skipped.

    Attributes:
        kind: ``replicate``, ``transfer`` (a copy that balances, after which ours is ordered away) or
            ``delete``.
        block_id: Decimal form.
        targets: Of a copy: one pipeline, in this order.
        bytes_per_s: Of a transfer; 0 = no limit of its own.
        urgent: Ours is the only copy left: it is not to wait for others that we make.
    """

    kind: str
    block_id: str
    generation: int
    targets: tuple[Target, ...] = ()
    bytes_per_s: int = 0
    urgent: bool = False


class Hands(Protocol):
    """What carries orders out; all check the epoch."""

    def replicate(self, request: ReplicationRequest) -> BlockResult:
        """Push a copy."""
        ...

    def move(self, request: ReplicationRequest) -> BlockResult:
        """Push a copy that balances."""
        ...

    def limit_moves(self, bytes_per_s: int) -> None:
        """How fast all of these together may be."""
        ...

    def delete(self, request: BlockRequest) -> BlockResult:
        """Drop a replica."""
        ...


class Orders:
    """Runs commands on threads of its own; an order that is already running is not started twice.

    Args:
        hands: The DataNode.
        on_copy_failed: Told of the target that did not get its copy.
    """

    def __init__(self, hands: Hands, on_copy_failed: Callable[[BlockKey, str], None], clock: Clock) -> None:
        self._hands = hands
        self._clock = clock
        self._on_copy_failed = on_copy_failed
        self._lock = threading.Lock()
        self._running: set[tuple[str, str, int]] = set()
        self._copies = ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="copy")
        self._urgent = ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="urgent copy")
        # Apart: a transfer may be ordered to be slow, a copy that is missing may not wait for it.
        self._transfers = ThreadPoolExecutor(_TRANSFERS_AT_ONCE, thread_name_prefix="transfer")
        self._deletes = ThreadPoolExecutor(1, thread_name_prefix="delete")

    def start(self, command: Command, epoch: int, asked_ns: int) -> None:
        """Carry out an order of the leader of ``epoch``, soon.

        ``asked_ns``: When the heartbeat was sent that it answers. A deletion that has not begun
        ``DELETE_VALID_S`` after that never will: by then the NameNode may count on the replica again.
        """
        name = (command.kind, command.block_id, command.generation)
        kinds = {
            "replicate": (self._copy, self._urgent if command.urgent else self._copies),
            "transfer": (self._copy, self._transfers),
            "delete": (self._delete, self._deletes),
        }
        run, pool = kinds.get(command.kind, (None, self._copies))
        if run is None or not command.block_id.isdecimal():
            _log.warning("order not understood", kind=command.kind, block_id=command.block_id)
            return
        if command.kind == "transfer":
            self._hands.limit_moves(command.bytes_per_s)  # those under way may have begun far slower
        with self._lock:
            if name in self._running:
                return
            self._running.add(name)
        pool.submit(self._run, partial(run, command, epoch, asked_ns), command, name)

    def _run(self, run: Callable[[], None], command: Command, name: tuple[str, str, int]) -> None:
        try:
            run()
        except EsdfsError as error:
            _log.warning("order failed", kind=command.kind, block_id=command.block_id, reason=error.message)
        finally:
            with self._lock:
                self._running.discard(name)

    def _copy(self, command: Command, epoch: int, asked_ns: int) -> None:
        del asked_ns  # a copy is welcome whenever it is done
        key = BlockKey(int(command.block_id), command.generation)
        reached: set[str] = set()
        _log.info("copy begun", kind=command.kind, block_id=command.block_id, urgent=command.urgent)
        try:
            request = ReplicationRequest(
                block_id=key.block_id, generation=key.generation, targets=command.targets, epoch=epoch
            )
            if command.kind == "transfer":
                result = self._hands.move(request)
            else:
                result = self._hands.replicate(request)
            reached = {receipt.node_id for receipt in result.receipts}
            error = result.error()
            if isinstance(error, ReplicaExists):
                reached.add(command.targets[0].node_id)  # it has what the order wants it to have
            elif error is not None:
                raise error
            size_bytes = max((receipt.stored_bytes for receipt in result.receipts), default=0)
            _log.info("copy made", kind=command.kind, block_id=command.block_id, bytes=size_bytes)
        finally:
            for target in command.targets:
                if target.node_id not in reached:
                    self._on_copy_failed(key, target.node_id)

    def _delete(self, command: Command, epoch: int, asked_ns: int) -> None:
        if self._clock.monotonic_ns() - asked_ns > DELETE_VALID_S * 10**9:
            _log.warning("order to delete expired", block_id=command.block_id)
            return
        block_id = int(command.block_id)
        self._hands.delete(BlockRequest(block_id=block_id, generation=command.generation, epoch=epoch))

    def stop(self) -> None:
        """Drop what has not begun, wait for what has."""
        for pool in (self._urgent, self._copies, self._transfers, self._deletes):
            pool.shutdown(wait=True, cancel_futures=True)
