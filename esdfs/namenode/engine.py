"""A batch of requests becomes records: decide, evolve speculatively, seal, and only then answer.

Pure steps over ``MetadataManager``; ``service`` calls them from its one thread:

``prepare`` opens the speculative state and carries every request out in it; the caller makes the drafts
durable (``Replication``); then ``commit`` makes the state visible, or ``abort`` forgets it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from esdfs.env import Clock
from esdfs.errors import EsdfsError, IdempotencyMismatch, InvalidRequest
from esdfs.journal.entry import Draft, Entry
from esdfs.namenode.commands import Command
from esdfs.namenode.event_codec import pack_all
from esdfs.namenode.events import Event
from esdfs.namenode.frames import Execute
from esdfs.namenode.metadata_manager import MetadataManager
from esdfs.namenode.namespace.decide import decide
from esdfs.namenode.namespace.evolve import evolve
from esdfs.namenode.namespace.outcome import outcome
from esdfs.namenode.projection.decoding import answer, results_of
from esdfs.namenode.projection.writer import Writer

COMMANDS_MAX = 1000

_encode = msgspec.msgpack.Encoder().encode
_remembered = msgspec.msgpack.Decoder(tuple[int, int, msgspec.Raw]).decode


class Internal(msgspec.Struct, frozen=True):
    """A change the NameNode itself wants: made from the state it will be applied to.

    Attributes:
        make: The event, or None when the state no longer asks for it.
        ends_batch: Nothing else is made visible together with it, after it.
    """

    make: Callable[[Writer], Event | None]
    ends_batch: bool = False


Request: TypeAlias = Execute | Internal


class Settled(msgspec.Struct, frozen=True):
    """What a request will be answered once its batch is committed."""

    txid: int
    result: msgspec.Raw
    error: EsdfsError | None = None
    replayed: bool = False


class Leases(Protocol):
    """Who renewed what, when; soft state of the leader."""

    def may_take_over(self, inode: int) -> bool:
        """Whether the soft limit of an open file's lease has passed."""
        ...


class Placer(Protocol):
    """Where new replicas go."""

    def place(
        self, count: int, replication: int, exclude: set[str], block_size_bytes: int
    ) -> list[tuple[int, ...]]:
        """DataNode numbers per block, pipeline order; raises ``NotEnoughDataNodes``."""
        ...

    @property
    def foreign_below(self) -> int:
        """See ``decide.Situation.foreign_below``."""
        ...

    def serving(self) -> frozenset[int]:
        """Numbers of the DataNodes that take new blocks now."""
        ...


class _Situation:
    """``decide.Situation`` of one request."""

    def __init__(self, principal: str, now_us: int, placer: Placer, leases: Leases) -> None:
        self.principal = principal
        self.now_us = now_us
        self._placer = placer
        self.may_take_over = leases.may_take_over
        self.serving = placer.serving
        self.foreign_below = placer.foreign_below

    def place(
        self, count: int, *, replication: int, exclude: list[str], block_size_bytes: int
    ) -> list[tuple[int, ...]]:
        if not count:
            return []
        return self._placer.place(count, replication, set(exclude), block_size_bytes)


class Batch:
    """Requests carried out speculatively, in order.

    Attributes:
        drafts: The records to make durable; empty when nothing changed.
        events: What each record holds.
        settled: One per request.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.drafts: list[Draft] = []
        self.events: list[Event] = []
        self.settled: list[Settled] = []

    @property
    def released(self) -> list[int]:
        """Blocks that nothing names any more, once this is committed."""
        return self._writer.released

    @property
    def rewanted(self) -> list[int]:
        """Blocks of which another number of copies is wanted, once this is committed."""
        return self._writer.rewanted

    def commit(self, entries: Sequence[Entry]) -> None:
        """Make the state visible: ``entries`` are the drafts, committed."""
        if not entries:
            self._writer.abort()
            return
        self._writer.sealed(entries[-1].chain)
        self._writer.commit()

    def abort(self) -> None:
        """Forget the state."""
        self._writer.abort()


class Engine:
    """Turns requests into batches."""

    def __init__(self, metadata: MetadataManager, placer: Placer, leases: Leases, clock: Clock) -> None:
        self._metadata = metadata
        self._placer = placer
        self._leases = leases
        self._clock = clock

    def prepare(self, requests: Sequence[Request]) -> Batch:
        """Carry ``requests`` out in the speculative state; no one sees it yet."""
        writer = self._metadata.speculate()
        batch = Batch(writer)
        epoch = self._metadata.replication.epoch
        # One clock reading per batch; the journal's timestamps never go back.
        now_us = max(self._clock.wall_us(), writer.meta.ts_us)
        try:
            for request in requests:
                try:
                    settled = self._one(writer, batch, request, epoch, now_us)
                except EsdfsError as error:
                    settled = Settled(writer.meta.applied_txid, NIL, error)
                batch.settled.append(settled)
        except BaseException:
            writer.abort()
            raise
        return batch

    def _one(self, writer: Writer, batch: Batch, request: Request, epoch: int, now_us: int) -> Settled:
        if isinstance(request, Internal):
            event = request.make(writer)
            if event is None:
                return Settled(writer.meta.applied_txid, NIL)
            level = writer.feature_level()  # a record that raises it is written as the one before it
            writer.begin_record(writer.meta.applied_txid + 1, epoch, now_us)
            evolve(writer, event, txid=writer.meta.applied_txid, ts_us=now_us)
            batch.events.append(event)
            batch.drafts.append(_draft(now_us, [event], [0], _BY_ITSELF, level=level))
            return Settled(writer.meta.applied_txid, msgspec.Raw(_encode([outcome(event)])))
        if request.client_id:
            if len(request.client_id) != 16:
                raise InvalidRequest("client_id must have 16 bytes")
            previous = writer.result(request.client_id, request.seq)
            if previous is not None:
                return _replay(previous, request)
        if not 1 <= len(request.commands) <= COMMANDS_MAX:
            raise InvalidRequest(f"a transaction has 1 to {COMMANDS_MAX} commands")
        situation = _Situation(request.principal, now_us, self._placer, self._leases)
        if len(request.commands) == 1:
            events, answers = self._single(writer, request.commands[0], situation, epoch, now_us)
            commands = [0] * len(events)
        else:
            with writer.attempt():
                events, commands, answers = self._all(writer, request.commands, situation, epoch, now_us)
        if events:
            if request.client_id:
                txid, results = writer.meta.applied_txid, results_of(events, commands)
                writer.remember(request.client_id, request.seq, answer(request.request_hash, txid, results))
            batch.events += events
            level = writer.feature_level()
            batch.drafts.append(_draft(now_us, events, commands, request, level=level))
        return Settled(writer.meta.applied_txid, msgspec.Raw(_encode(answers)))

    def _single(
        self, writer: Writer, command: Command, situation: _Situation, epoch: int, now_us: int
    ) -> tuple[list[Event], list[dict[str, Any]]]:
        decided = decide(writer, command, situation)
        if not decided.events:
            return [], [decided.unchanged]
        txid = writer.meta.applied_txid + 1
        writer.begin_record(txid, epoch, now_us)
        for event in decided.events:
            evolve(writer, event, txid=txid, ts_us=now_us)
        return list(decided.events), [outcome(decided.events[-1])]

    def _all(
        self,
        writer: Writer,
        commands: Sequence[Command],
        situation: _Situation,
        epoch: int,
        now_us: int,
    ) -> tuple[list[Event], list[int], list[dict[str, Any]]]:
        """All commands, each seeing those before it; the first refusal undoes them all."""
        events: list[Event] = []
        numbers: list[int] = []
        answers = []
        txid = 0
        for number, command in enumerate(commands):
            try:
                decided = decide(writer, command, situation)
            except EsdfsError as error:
                error.details.setdefault("command", number)
                raise
            if decided.events and not txid:
                txid = writer.meta.applied_txid + 1
                writer.begin_record(txid, epoch, now_us)
            for event in decided.events:
                evolve(writer, event, txid=txid, ts_us=now_us)
            events += decided.events
            numbers += [number] * len(decided.events)
            answers.append(outcome(decided.events[-1]) if decided.events else decided.unchanged)
        return events, numbers, answers


NIL = msgspec.Raw(b"\xc0")
"""The result of what changed nothing, or was refused."""
_BY_ITSELF = Execute(commands=[], principal="esdfs", peer="")


def _draft(
    ts_us: int, events: Sequence[Event], commands: Sequence[int], request: Execute, *, level: int
) -> Draft:
    kind, version, payload = pack_all(events, commands, request.request_hash, level=level)
    return Draft(
        ts_us=ts_us,
        kind=kind,
        version=version,
        payload=payload,
        client_id=request.client_id,
        seq=request.seq,
        principal=request.principal,
        peer=request.peer,
    )


def _replay(previous: bytes, request: Execute) -> Settled:
    request_hash, txid, results = _remembered(previous)
    if request_hash != request.request_hash:
        raise IdempotencyMismatch(
            "this idempotency key was used for another request: use a new key", txid=txid
        )
    return Settled(txid, results, replayed=True)
