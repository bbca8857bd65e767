"""StoreBlock: take a stream of blocks, write it here and pass it on at the same time, answer for both."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final, Protocol

import structlog
from msgspec.structs import replace

from esdfs.datanode.replica import BlockKey
from esdfs.datanode.store import BlockStore
from esdfs.datanode.writer import BlockWriter
from esdfs.errors import (
    DeadlineExceeded,
    DiskFailed,
    EsdfsError,
    IdentityConflict,
    InvalidRequest,
    PeerFailed,
    VolumeFull,
)
from esdfs.rpc.messages import BlockResult, Frame, Receipt, Target

_log = structlog.get_logger()

_AHEAD_FRAMES: Final = 4
"""How far the local disk may run ahead of the next hop. Bounds the memory of a stream."""

_LONGEST_S: Final = 3600.0
"""Of a stream whose sender set no deadline."""

_HOP_SHARE: Final = 0.9
"""Of the time we have the next hop gets so much: when it is over, somebody is left to say who was late."""


class Forward(Protocol):
    """A running StoreBlock to the next DataNode."""

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call back once it ended."""
        ...

    def cancel(self) -> None:
        """Give up; nothing is kept there."""
        ...

    def results(self) -> list[BlockResult]:
        """Wait for the answer; raises `EsdfsError`."""
        ...


class Peers(Protocol):
    """The other DataNodes."""

    def forward(self, target: Target, frames: Iterator[Frame] | Frame, timeout_s: float | None) -> Forward:
        """Start sending ``frames``, or the one frame that is the whole stream, to ``target``."""
        ...


class Caller(Protocol):
    """Whoever sends us the stream."""

    def alive(self) -> bool:
        """False once it is gone."""
        ...

    def remaining_s(self) -> float | None:
        """Seconds until it stops waiting; None = for ever."""
        ...


class _Outbox:
    """Frames on their way to the next hop: a bounded queue that its reader's end closes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._ended = False
        self._closed = False

    def put(self, frame: Frame, within_s: float | None) -> bool:
        """Wait for room; False when nobody reads any more, or nobody did for ``within_s``."""
        with self._changed:
            has_room = self._changed.wait_for(
                lambda: self._closed or len(self._frames) < _AHEAD_FRAMES, within_s
            )
            if self._closed or not has_room:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def end(self) -> None:
        """No frame follows."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """The reader is gone, or shall go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._ended or self._frames)
                if self._closed or not self._frames:
                    return
                frame = self._frames.popleft()
                self._changed.notify_all()
            yield frame


class _NextHop:
    """The rest of the pipeline, seen from here."""

    def __init__(self, peers: Peers, first: Frame, timeout_s: float | None, *, alone: bool) -> None:
        """``alone``: ``first`` is the whole stream, so it is sent now and `send` may not be called."""
        self.target = first.targets[0]
        self._rest = first.targets[1:]
        # It may have to wait for those behind it, and is to say so before we name it.
        self._patience_s = first.ack_timeout_ms * len(first.targets) / 1000 or None
        self._late = False
        self._outbox = _Outbox()
        self._done = threading.Event()
        if alone:
            self._forward = peers.forward(self.target, self._readdressed(first), timeout_s)
        else:
            self._forward = peers.forward(self.target, iter(self._outbox), timeout_s)
        self._forward.when_done(self._ended)

    def send(self, frame: Frame) -> bool:
        """Pass an accepted frame on; False when the hop ended early or stands still, which is a failure."""
        sent = self._outbox.put(self._readdressed(frame) if frame.targets else frame, self._patience_s)
        self._late = not sent and not self._done.is_set()
        return sent

    def _ended(self) -> None:
        self._done.set()  # first: whoever finds the outbox closed asks whether it was late
        self._outbox.close()

    def _readdressed(self, frame: Frame) -> Frame:
        return replace(frame, targets=self._rest, raw=None)

    def end(self) -> None:
        self._outbox.end()

    def cancel(self) -> None:
        self._forward.cancel()
        self._outbox.close()

    def results(self) -> list[BlockResult] | EsdfsError:
        """What became of the blocks there. Waits, if the sender said how long no longer than that."""
        if self._late or not self._done.wait(self._patience_s):
            self.cancel()
            _log.warning("next hop is late", node_id=self.target.node_id, patience_s=self._patience_s)
            return DeadlineExceeded(f"no sign of progress for {self._patience_s} s")
        try:
            return self._forward.results()
        except EsdfsError as error:
            return error


class Pipeline:
    """Receives streams for one DataNode."""

    def __init__(self, store: BlockStore, peers: Peers, node_id: str, cluster_id: Callable[[], str]) -> None:
        self._store = store
        self._peers = peers
        self._node_id = node_id
        self._cluster_id = cluster_id

    def receive(self, frames: Iterator[Frame], caller: Caller) -> list[BlockResult]:
        """Take all blocks of a stream. Blocks without an error are durable here and at every further target.

        A stream that ends badly (a broken connection, a bad frame, a failed hop, a full disk) leaves nothing
        finalized here. The one exception is a hop that fails while finalizing: by then so are we, and our
        receipt is in the answer beside the error.

        Raises:
            EsdfsError: Before any block was begun.
        """
        stream = _Stream(self, caller)
        try:
            failed = stream.take(frames)
            return failed if failed is not None else stream.finish()
        finally:
            stream.abandon()

    def check_cluster(self, frame: Frame) -> None:
        """Refuse a stream that was meant for another cluster's DataNode."""
        mine = self._cluster_id()
        if frame.cluster_id and mine and frame.cluster_id != mine:
            raise IdentityConflict(f"{self._node_id} belongs to cluster {mine}, not {frame.cluster_id}")

    @property
    def store(self) -> BlockStore:
        """Where the blocks go."""
        return self._store

    @property
    def peers(self) -> Peers:
        """Where they are passed on."""
        return self._peers

    @property
    def node_id(self) -> str:
        """Who we are."""
        return self._node_id


class _Stream:
    """One stream's state."""

    def __init__(self, pipeline: Pipeline, caller: Caller) -> None:
        self._pipeline = pipeline
        self._caller = caller
        self._writers: list[BlockWriter] = []
        self._keys: list[BlockKey] = []
        self._next: _NextHop | None = None
        self._finalized = False
        # A stream of one frame is forwarded as one message: half the work of a small file.
        self._alone = False

    def take(self, frames: Iterator[Frame]) -> list[BlockResult] | None:
        """Read the stream to its end; the answer when it ended badly."""
        try:
            first = next(frames, None)
            if first is not None and first.last and first.targets:
                second = next(frames, None)
                self._alone = second is None
                frames = chain([first] if second is None else [first, second], frames)
            elif first is not None:
                frames = chain([first], frames)
            for frame in frames:
                if not self._take(frame):
                    assert self._next is not None
                    return fold(self._keys, [], self._next.results(), self._next.target.node_id)
            if not self._writers:
                raise InvalidRequest("a stream without a block")
            if not self._writers[-1].arrival.finished:
                raise InvalidRequest(f"the stream ended within block {self._keys[-1].block_id}")
        except EsdfsError as error:
            if not self._keys:
                raise
            return self._refused(error)
        return None

    def _take(self, frame: Frame) -> bool:
        if not self._writers or self._writers[-1].arrival.finished:
            self._begin(frame)
        writer = self._writers[-1]
        if frame.block_id != writer.key.block_id:
            raise InvalidRequest(f"block {frame.block_id} begins before block {writer.key.block_id} ended")
        writer.accept(frame)
        if self._alone:
            # Only now that the frame was verified.
            self._pass_on(frame)
        passed_on = self._next is None or self._alone or self._next.send(frame)
        if passed_on:
            writer.write(frame)
        return passed_on

    def _begin(self, frame: Frame) -> None:
        if not self._writers:
            self._pipeline.check_cluster(frame)
            if frame.targets and not self._alone:
                self._pass_on(frame)
        self._keys.append(BlockKey(frame.block_id, frame.generation))
        self._writers.append(self._pipeline.store.start(frame))

    def _pass_on(self, first: Frame) -> None:
        timeout_s = _HOP_SHARE * min(self._caller.remaining_s() or _LONGEST_S, _LONGEST_S)
        self._next = _NextHop(self._pipeline.peers, first, timeout_s, alone=self._alone)

    def finish(self) -> list[BlockResult]:
        """All frames are here: make the blocks durable while the next hop does the same."""
        if self._next is not None:
            self._next.end()
        if not self._caller.alive():
            return self._refused(PeerFailed("the sender went away"))
        try:
            receipts = self._pipeline.store.finalize(self._writers)
        except EsdfsError as error:
            # The next hop may well succeed; its receipts are worth having.
            downstream = self._next.results() if self._next else []
            return self._refused(error, downstream)
        self._finalized = True
        if self._next is None:
            return fold(self._keys, receipts, [], "")
        return fold(self._keys, receipts, self._next.results(), self._next.target.node_id)

    def _refused(
        self, error: EsdfsError, downstream: list[BlockResult] | EsdfsError | None = None
    ) -> list[BlockResult]:
        """Every block failed here, and why."""
        mine = self._pipeline.node_id if isinstance(error, VolumeFull | DiskFailed) else ""
        _log.warning("stream refused", code=error.code, reason=error.message, blocks=len(self._keys))
        there = {r.block_id: r.receipts for r in downstream} if isinstance(downstream, list) else {}
        return [
            BlockResult(
                block_id=key.block_id,
                code=error.code,
                message=error.message,
                receipts=there.get(key.block_id, ()),
                failed_node_id=mine,
            )
            for key in self._keys
        ]

    def abandon(self) -> None:
        """Drop what was not finalized. Does nothing after a good end."""
        if self._finalized:
            return
        if self._next is not None:
            self._next.cancel()
        for writer in self._writers:
            try:
                writer.drop()
            except (EsdfsError, OSError) as error:
                # The answer stands, and the others hold room, files and the right to write their blocks.
                _log.warning("block not dropped", block=writer.key.block_id, reason=str(error))


def fold(
    keys: list[BlockKey], mine: list[Receipt], downstream: list[BlockResult] | EsdfsError, next_node_id: str
) -> list[BlockResult]:
    """One answer from our receipts and the next hop's answer (empty list = there is no next hop). Pure.

    A hop that failed is named: the next one when it did not answer or does not mention a block, else whom it
    names itself. One that was only late is told as that.
    """
    receipts = {receipt.block_id: receipt for receipt in mine}
    there = {} if isinstance(downstream, EsdfsError) else {result.block_id: result for result in downstream}
    folded = []
    for key in keys:
        own = receipts.get(key.block_id)
        result = there.get(key.block_id)
        beyond = result.receipts if result else ()
        failed, message, code = "", "", PeerFailed.code
        if next_node_id and (result is None or result.code):
            failed = result.failed_node_id if result and result.failed_node_id else next_node_id
            if isinstance(downstream, EsdfsError):
                message = f"{failed}: {downstream.message}"
                code = downstream.code if isinstance(downstream, DeadlineExceeded) else code
            elif result is None:
                message = f"{failed}: it did not answer for block {key.block_id}"
            else:
                message = f"{failed}: {result.message}"
                code = result.code if result.code == DeadlineExceeded.code else code
        folded.append(
            BlockResult(
                block_id=key.block_id,
                code=code if failed else "",
                message=message,
                receipts=((own,) if own else ()) + beyond,
                failed_node_id=failed,
            )
        )
    return folded
