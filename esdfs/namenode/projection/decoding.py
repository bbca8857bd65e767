"""A journal row as what the projection applies; also packed, for a process that decodes for another."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import astuple

from esdfs.errors import NewerRelease
from esdfs.namenode import events as ev
from esdfs.namenode.event_codec import pack, unpack
from esdfs.namenode.events import Event, Kind
from esdfs.namenode.features import at_record
from esdfs.namenode.namespace.outcome import outcome
from esdfs.namenode.upcasters import LEVEL_NEWEST

_encode: Final = msgspec.msgpack.Encoder().encode


class Decoded(NamedTuple):
    """A record.

    Attributes:
        answer: What its request is answered with if asked again; see ``answer``. b"" without a client.
    """

    txid: int
    epoch: int
    ts_us: int
    client_id: bytes
    seq: int
    answer: bytes
    chain: bytes
    events: tuple[Event, ...]


def decode(row: Sequence[Any]) -> Decoded:
    """A committed journal row: the columns of ``Entry``.

    Raises:
        NewerRelease: It is of a kind or a version unknown here. Never skip it: stop.
        JournalCorrupt: Not a message of its kind.
    """
    txid, epoch, ts_us, kind, version, client_id, seq, _, _, payload, _, chain = row
    try:
        events, commands, request_hash = unpack(kind, version, payload)
    except NewerRelease as error:
        raise at_record(error, txid) from error
    answered = answer(request_hash, txid, results_of(events, commands)) if client_id else b""
    return Decoded(txid, epoch, ts_us, client_id, seq, answered, chain, events)


def answer(request_hash: int, txid: int, results: list[dict[str, Any]]) -> bytes:
    """Value of the projection's ``results``: msgpack [request_hash, txid, [result…]]."""
    return _encode([request_hash, txid, results])


def results_of(events: Sequence[Event], commands: Sequence[int]) -> list[dict[str, Any]]:
    """One result per command of a request: that of its last event, or {} if it changed nothing."""
    if len(events) == 1 and not commands[0]:
        return [outcome(events[0])]
    results: list[dict[str, Any]] = [{} for _ in range(commands[-1] + 1)]
    for event, command in zip(events, commands, strict=True):
        results[command] = outcome(event)
    return results


# --- packed -------------------------------------------------------------------------------------
#
# The two kinds that a journal has millions of travel as arrays of their fields, and come back as an heir of
# their class that only the reading knows. All others travel as their payload: ``evolve`` stores some of them
# as they are, which must not depend on how they came.


class _Completed(ev.CompletedBlock, frozen=True, array_like=True, gc=False):
    """As an array."""


class _FileCompleted(ev.FileCompleted, frozen=True, array_like=True, tag=int(Kind.FILE_COMPLETED), gc=False):
    blocks: tuple[_Completed, ...]


class _FileOpened(ev.FileOpened, frozen=True, array_like=True, tag=int(Kind.FILE_OPENED), gc=False):
    """As an array."""


class _Other(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """Any other."""

    kind: int
    version: int
    payload: bytes


_Travelling = _FileCompleted | _FileOpened | _Other
_travelled: Final = msgspec.msgpack.Decoder(
    list[tuple[int, int, int, bytes, int, bytes, bytes, tuple[_Travelling, ...]]]
).decode


def packed(records: Sequence[Decoded]) -> bytes:
    """Some records as bytes."""
    return _encode([(*record[:-1], [_travel(event) for event in record.events]) for record in records])


def unpacked(data: bytes) -> list[Decoded]:
    """Back from ``packed``: equal in everything that is ever asked of them."""
    return [
        Decoded(
            *(txid, epoch, ts_us, client_id, seq, answer, chain),
            tuple([_arrived(event) if isinstance(event, _Other) else event for event in events]),
        )
        for txid, epoch, ts_us, client_id, seq, answer, chain, events in _travelled(data)
    ]


def _travel(event: Event) -> Any:
    if type(event) is ev.FileOpened:
        return (int(Kind.FILE_OPENED), *astuple(event))
    if type(event) is ev.FileCompleted:
        inode, parent, name, size_bytes, mtime_us, blocks, crc32c, replaced = astuple(event)
        arrays = [astuple(block) for block in blocks]
        return (int(Kind.FILE_COMPLETED), inode, parent, name, size_bytes, mtime_us, arrays, crc32c, replaced)
    return (0, *pack(event, level=LEVEL_NEWEST))


def _arrived(event: _Other) -> Event:
    (found,) = unpack(event.kind, event.version, event.payload).events
    return found
